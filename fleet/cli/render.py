"""`fleet render UNIT`: what Git says for a unit; `--why`: where its path and values come from."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from fleet.cli.checkout import local_renderer, open_checkout, render_all
from fleet.cli.output import clean
from fleet.errors import FleetError, UsageInvalid


def render(root: Path, target: str, *, why: bool) -> int:
    """Print the objects as YAML, Secret values sealed; or the lines that decided."""
    checkout = open_checkout(root)
    if "@" not in target:
        raise UsageInvalid(f"{target} is no unit", next_step="write OVERLAY@CLUSTER")
    unit = checkout.units_of(target)[0]
    if why:
        from fleet.core.explain import explain_unit

        sys.stdout.write("".join(clean(line) + "\n" for line in explain_unit(checkout.fleet, unit.name)))
        return 0

    async def run() -> None:
        import yaml

        async with local_renderer() as (renderer, _):
            (bundle,) = await render_all(checkout, [unit], renderer)
        if isinstance(bundle, FleetError):
            raise bundle
        documents = [item.document() for item in bundle.objects]
        yaml.safe_dump_all(documents, sys.stdout, sort_keys=False, allow_unicode=True, explicit_start=True)

    asyncio.run(run())
    return 0
