"""`fleet compare --overlay X`: where an overlay is the same on its clusters, and which line makes it differ elsewhere.

A difference is on purpose where the repo says so: a component, a variable, a line of a file that only the other
clusters read. What no line accounts for is told as such; a line is never guessed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from fleet.cli.blame_trace import Tools
from fleet.cli.checkout import Checkout, local_renderer, open_checkout
from fleet.cli.compare_reasons import Reason, Reasons
from fleet.cli.compare_values import Contents
from fleet.cli.output import Item, clean_line, show
from fleet.cli.problems import counted, problem_item
from fleet.core.fleet import Unit
from fleet.core.ids import ClusterName, Digest, OverlayName
from fleet.core.objects import Bundle
from fleet.core.planning.words import clusters_in_words
from fleet.core.problems import Problem
from fleet.errors import FleetError, NotKnown, UsageInvalid
from fleet.ports.render import request_of
from fleet.values import dataclass

EXIT_SAME, EXIT_DIFFERENT, EXIT_ERROR = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Variant:
    """Clusters on which an overlay comes out alike. reasons: against the first variant; empty for the first."""

    units: tuple[Unit, ...]
    reasons: tuple[Reason, ...] = ()


def compare(root: Path, overlay: str, out: TextIO, *, output: str = "table") -> int:
    """Print variants, the one on most clusters first; 0 all the same, 1 different, 2 error."""
    if output not in ("table", "json", "yaml"):
        raise UsageInvalid(f"-o {output} is not for compare", next_step="table, json or yaml")
    checkout = open_checkout(root)
    units = [unit for name, unit in checkout.fleet.units.items() if name.overlay == overlay]
    if not units:
        known = ", ".join(sorted(checkout.fleet.overlays)[:5])
        raise NotKnown(f"overlay {overlay} runs on no cluster here", next_step=f"one of {known}; fleet validate")
    variants, failed = asyncio.run(_variants(checkout, units))
    unread = checkout.fleet.unknown.problems(OverlayName(overlay))
    if output == "table":
        for line in _lines(checkout, overlay, variants, failed, unread):
            out.write(clean_line(line) + "\n")
    else:
        show(_report(overlay, variants, failed, unread), output, (), out)
    return EXIT_ERROR if failed or unread else EXIT_DIFFERENT if len(variants) > 1 else EXIT_SAME


async def _variants(checkout: Checkout, units: Sequence[Unit]) -> tuple[list[Variant], list[tuple[Unit, FleetError]]]:
    failed: list[tuple[Unit, FleetError]] = []
    alike: dict[Digest, list[tuple[Unit, Bundle]]] = {}
    async with local_renderer() as (renderer, vault):
        for unit in units:
            try:
                bundle = await renderer.render(checkout.tree, request_of(unit))
            except FleetError as error:
                failed.append((unit, error))
                continue
            alike.setdefault(bundle.digest, []).append((unit, bundle))
        groups = sorted(alike.values(), key=lambda group: (-len(group), group[0][0].name))
        found: dict[tuple[object, ...], Variant] = {}
        contents = Contents()
        for group in groups:
            units = tuple(unit for unit, _ in group)
            tools = Tools(renderer, vault)
            why = await Reasons(checkout, tools, groups[0][0], group[0], contents).all() if found else ()
            key = tuple(reason.kind for reason in why)
            same = found.get(key) if why else None
            found[key] = _joined(same, units, why) if same else Variant(units, why)
    return list(found.values()), failed


def _joined(variant: Variant, units: tuple[Unit, ...], why: tuple[Reason, ...]) -> Variant:
    """A variant with more units, which differ from its first by variables alone."""
    pairs = zip(variant.reasons, why, strict=True)
    reasons = tuple(replace(reason, varies=reason.varies or other.varies) for reason, other in pairs)
    return Variant(variant.units + units, reasons)


def _lines(
    checkout: Checkout,
    overlay: str,
    variants: Sequence[Variant],
    failed: Sequence[tuple[Unit, FleetError]],
    unread: Sequence[Problem],
) -> Iterator[str]:
    count = sum(len(variant.units) for variant in variants)
    everywhere = "the same on these" if failed or unread else "the same everywhere"
    verdict = everywhere if len(variants) == 1 else f"{len(variants)} different results"
    yield f"{overlay} on {counted(count, 'cluster')}: {verdict}"
    for variant in variants:
        yield ""
        title = clusters_in_words(_clusters(variant), checkout.fleet.clusters, checkout.fleet)
        if not variant.reasons:
            yield f"{title}   compared with these"
            continue
        yield title
        for heading, is_known in (("on purpose", True), ("without explanation", False)):
            reasons = [reason for reason in variant.reasons if (reason.origin is not None) is is_known]
            if reasons:
                yield f"  {heading}"
            for reason in reasons:
                by = f"   by {reason.value}" if reason.value else ""
                place = f"   {reason.origin}" if reason.origin else ""
                yield f"    {reason.label}  {reason.told}".rstrip() + by + place
    for unit, error in failed:
        yield f"{unit.name} cannot be rendered: {error.what} ({error.where})"
    for problem in unread:
        yield f"not compared, because it cannot be read: {problem.what} ({problem.origin})"


def _clusters(variant: Variant) -> list[ClusterName]:
    return [unit.name.cluster for unit in variant.units]


def _report(
    overlay: str,
    variants: Sequence[Variant],
    failed: Sequence[tuple[Unit, FleetError]],
    unread: Sequence[Problem],
) -> Item:
    return {
        "apiVersion": "fleet.internal/v1",
        "kind": "OverlayComparison",
        "overlay": overlay,
        "variants": [
            {
                "clusters": _clusters(variant),
                "differences": [
                    {
                        "object": reason.label,
                        "field": reason.path or None,
                        "difference": reason.told or None,
                        "value": reason.value or None,
                        "onPurpose": reason.origin is not None,
                        "path": reason.origin.path if reason.origin else None,
                        "line": reason.origin.line if reason.origin else None,
                    }
                    for reason in variant.reasons
                ],
            }
            for variant in variants
        ],
        "failed": [{"unit": str(unit.name), "reason": error.reason, "what": error.what} for unit, error in failed],
        "notRead": [problem_item(problem) for problem in unread],
    }
