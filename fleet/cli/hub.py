"""`fleet hub`: run the hub in this process until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fleet.errors import UsageInvalid
from fleet.settings import Settings


def hub(given: dict[str, Any]) -> int:
    """Start with the given flags over the environment; returns when drained."""
    from fleet.hub.assembly import open_hub
    from fleet.hub.garbage import tend_garbage
    from fleet.hub.main import run_hub
    from fleet.telemetry import set_up_logs

    try:
        settings = Settings(**given)
        _ = settings.listen_address(), settings.metrics_address(), settings.allowed_networks()
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(step) for step in item['loc'])}: {item['msg']}"
            for item in error.errors(include_input=False)
        )
        raise UsageInvalid(
            "the hub's configuration is not as described", why=problems, next_step="docs/reference/configuration.md"
        ) from error
    except ValueError as error:
        raise UsageInvalid(
            "the hub's configuration is not as described", why=str(error), next_step="docs/reference/configuration.md"
        ) from error
    if not settings.repo:
        raise UsageInvalid("no fleet repo is named", next_step="fleet hub --repo URL, or --repo . for this checkout")
    if "://" not in settings.repo and ":" not in settings.repo:
        settings = settings.model_copy(update={"repo": str(Path(settings.repo).resolve())})
    set_up_logs(settings.log_level)

    async def serve() -> None:
        key = settings.data_dir / "key"
        was_there = key.exists()
        opened = await open_hub(settings)
        if key.exists() and not was_there:
            sys.stderr.write(f"made the key of the encrypted store; keep a copy of {key}\n")

        async def started(url: str) -> None:
            await opened.announce(url)
            sys.stdout.write(f"fleet hub on {url}, data in {settings.data_dir}\n")
            sys.stdout.flush()

        tending = asyncio.create_task(tend_garbage(), name="garbage")
        try:
            await run_hub(opened.hub, started=started, give_up=lambda: os._exit(1))
        finally:
            tending.cancel()

    asyncio.run(serve())
    return 0
