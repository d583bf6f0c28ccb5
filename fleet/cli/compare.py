"""`fleet compare --overlay X`: where an overlay is the same on its clusters, and which line makes it differ elsewhere.

A difference is on purpose where the repo says so: a component, a variable, a line of a file that only the other
clusters read. What no line accounts for is told as such; a line is never guessed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from fleet.cli.blame_trace import Tools, Tracer
from fleet.cli.checkout import Checkout, local_renderer, open_checkout
from fleet.cli.output import Item, clean_line, show
from fleet.cli.places import Places
from fleet.cli.problems import counted, problem_item
from fleet.core.blame import Span, leaves_below
from fleet.core.documents import Json, canonical
from fleet.core.field_diff import FieldDrift
from fleet.core.fleet import Unit
from fleet.core.ids import ClusterName, Digest, OverlayName
from fleet.core.objects import Bundle, is_secret
from fleet.core.planning.change import ObjectChange, Sign, changes_of
from fleet.core.planning.field_words import FOLDED, field_in_words
from fleet.core.planning.words import clusters_in_words, label_of
from fleet.core.problems import Origin, Problem
from fleet.errors import FleetError, NotKnown, UsageInvalid
from fleet.ports.render import request_of
from fleet.render.inputs import Closure
from fleet.values import dataclass

EXIT_SAME, EXIT_DIFFERENT, EXIT_ERROR = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an object or one of its fields differs. origin None: no line accounts for it.

    value: the variables or facts of the cluster that make it; variants that differ by such values alone are one.
    content: stands for what it comes to, where nothing of that kind makes the difference: another is another variant.
    varies: the variables that make this differ from cluster to cluster of one variant.
    """

    sign: Sign
    label: str
    path: str
    text: str
    origin: Origin | None
    value: str = ""
    content: str = ""
    varies: str = ""

    @property
    def told(self) -> str:
        """The difference in words, of the first cluster."""
        return f"{self.text} (differs by {self.varies})" if self.varies and self.text else self.text

    @property
    def kind(self) -> tuple[str, str, str, str, Origin | None]:
        """What is equal for all clusters that differ for the same reason."""
        return self.label, self.path, self.value, self.content, None if self.value else self.origin


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
        contents = _Contents()
        for group in groups:
            units = tuple(unit for unit, _ in group)
            tools = Tools(renderer, vault)
            why = await _Reasons(checkout, tools, groups[0][0], group[0], contents).all() if found else ()
            key = tuple(reason.kind for reason in why)
            same = found.get(key) if why else None
            found[key] = _joined(same, units, why) if same else Variant(units, why)
    return list(found.values()), failed


def _joined(variant: Variant, units: tuple[Unit, ...], why: tuple[Reason, ...]) -> Variant:
    """A variant with more units, which differ from its first by variables alone."""
    pairs = zip(variant.reasons, why, strict=True)
    reasons = tuple(replace(reason, varies=reason.varies or other.varies) for reason, other in pairs)
    return Variant(variant.units + units, reasons)


class _Reasons:
    """Looks for what makes one unit differ from another of its overlay."""

    def __init__(
        self,
        checkout: Checkout,
        tools: Tools,
        first: tuple[Unit, Bundle],
        other: tuple[Unit, Bundle],
        contents: _Contents,
    ) -> None:
        renderer = tools.renderer
        self._tree, self._tools, self._renderer = checkout.tree, tools, renderer
        self._first, self._was = first
        self._other, self._now = other
        self._contents = contents
        self._places = Places(checkout.tree)
        before, after = (renderer.closure(self._tree, request_of(unit)) for unit in (self._first, self._other))
        self._only_there, self._only_here = _beside(before, after), _beside(after, before)
        self._patches = before.patch_files | after.patch_files

    async def all(self) -> tuple[Reason, ...]:
        """One reason for each object that is there or not, and for each field that does not just follow another."""
        changes = changes_of(self._was.objects, self._now.objects)
        components = await self._by_component()
        followers = {ref for change in changes for ref in change.users}
        names = {(change.renamed_from.name, change.ref.name) for change in changes if change.renamed_from}
        found: list[Reason] = []
        for change in changes:
            label = label_of(change)
            if change.sign is not Sign.CHANGE:
                files = self._only_here if change.sign is Sign.CREATE else self._only_there
                origin = components.get((change.ref.key, "")) or self._places.of(change.ref, change.api_version, files)
                found.append(Reason(change.sign, label, "", "", origin, "", *self._of_whole(change)))
                continue
            for drift in change.fields:
                if change.ref in followers and any(_is_swapped(drift, *pair) for pair in names):
                    continue
                value, origin = self._of_value(drift)
                origin = origin or components.get((change.ref.key, drift.path)) or await self._of_line(change, drift)
                content = ("", "") if value else self._of_field(change, drift)
                text = field_in_words(drift, FOLDED)
                found.append(Reason(change.sign, label, drift.path, text, origin, value, *content))
        return tuple(found)

    def _of_field(self, change: ObjectChange, drift: FieldDrift) -> tuple[str, str]:
        """What stands for a field's value, and by which variables it varies.

        A Secret's is not known, and may be made by variables where these are put in.
        """
        if drift.masked:
            return "" if _is_filled(self._other) else change.after, ""
        return self._contents.place_of(f"{label_of(change)} {drift.path}", self._other, _exact(drift.live))

    def _of_whole(self, change: ObjectChange) -> tuple[str, str]:
        """The same for a new object; what goes is the same for all."""
        if change.sign is not Sign.CREATE or (is_secret(change.ref) and _is_filled(self._other)):
            return "", ""
        body = next(item.body for item in self._now.objects if item.ref == change.ref)
        return self._contents.place_of(label_of(change), self._other, body.decode())

    async def _by_component(self) -> dict[tuple[str, str], Origin]:
        """What comes and goes with a component that only one of both has: that component makes it."""
        found: dict[tuple[str, str], Origin] = {}
        for unit, bundle, other in ((self._other, self._now, self._first), (self._first, self._was, self._other)):
            for component in unit.components:
                if component in other.components:
                    continue
                kept = tuple(path for path in unit.components if path != component)
                request = replace(request_of(unit), components=kept, allow_empty=True)
                try:
                    without = await self._renderer.render(self._tree, request)
                except FleetError:
                    continue  # it cannot be left out, so that nothing is learnt
                for key in _differing(changes_of(without.objects, bundle.objects)):
                    found.setdefault(key, _target_of(unit, component))
        return found

    def _of_value(self, drift: FieldDrift) -> tuple[str, Origin | None]:
        """The variable, or the fact of the cluster, that alone makes the difference; the one with the longest value.

        Else all of them that make it together, with the line of that one.
        """
        if not _is_filled(self._other):
            return "", None
        differing = _differing_variables(self._first, self._other)
        for name, (before, after) in differing.items():
            if _is_swapped(drift, before, after):
                return _named([name]), self._other.variables[name].origin
        text, names = _filled(_text(drift.desired), differing)
        if names and text == _text(drift.live):
            return _named(names), self._other.variables[names[0]].origin
        return "", None

    async def _of_line(self, change: ObjectChange, drift: FieldDrift) -> Origin | None:
        """The one line that makes the value of one side, proven by a trial, in the files that only this side reads.

        A line of the object's own document explains nothing: each side has a copy, and they went apart.
        """
        for unit, bundle, ref, files in (
            (self._other, self._now, change.ref, self._only_here),
            (self._first, self._was, change.renamed_from or change.ref, self._only_there),
        ):
            item = next((item for item in bundle.objects if item.ref == ref), None)
            if item is None or not files:
                continue
            tracer = Tracer(self._tree, unit, item, bundle, self._tools, among=files)
            leaf = next(iter(leaves_below(tracer.leaves, drift.path)), None)
            copy = self._places.of(ref, change.api_version, files - self._patches)
            parts = (await tracer.field(leaf)).verdict.parts if leaf is not None else ()
            found = {part.source.origin for part in parts if isinstance(part.source, Span)}
            if len(found) == 1 and (copy is None or copy.path not in {origin.path for origin in found}):
                return found.pop()
        return None


def _beside(one: Closure, other: Closure) -> frozenset[str]:
    """Files that one build reads and another does not."""
    return frozenset(one.files.keys() - other.files.keys())


def _target_of(unit: Unit, component: str) -> Origin:
    """The line that gives a unit a component."""
    for target in unit.overlay.targets or ():
        if component in target.components:
            return target.origin
    return next((use.origin for use in unit.cluster.overlays if component in use.components), unit.overlay.origin)


def _differing(changes: Sequence[ObjectChange]) -> Iterator[tuple[str, str]]:
    for change in changes:
        if change.sign is not Sign.CHANGE:
            yield change.ref.key, ""
        for drift in change.fields:
            yield change.ref.key, drift.path


def _is_filled(unit: Unit) -> bool:
    """Whether variables are put into its objects, or may be by a component."""
    return unit.overlay.substitute or bool(unit.components)


def _differing_variables(one: Unit, other: Unit) -> dict[str, tuple[str, str]]:
    """Variables, and facts of the cluster, whose values differ between two units; those with the longest values first.

    One character stands at too many places to account for anything.
    """
    found = {
        name: (_text(before.value), _text(after.value))
        for name, after in other.variables.items()
        if (before := one.variables.get(name)) is not None
        and before.value != after.value
        and len(_text(before.value)) > 1
    }
    return dict(sorted(found.items(), key=lambda item: -len(item[1][1])))


def _filled(text: str, values: Mapping[str, tuple[str, str]]) -> tuple[str, list[str]]:
    """A text of one unit with the values of another in their places, and the names of those that are in it."""
    swaps: dict[str, tuple[str, str]] = {}
    for name, (before, after) in values.items():
        swaps.setdefault(before, (name, after))
    if not swaps:
        return text, []
    used: dict[str, None] = {}

    def swap(found: re.Match[str]) -> str:
        name, after = swaps[found[0]]
        used[name] = None
        return after

    one_of_them = "|".join(map(re.escape, sorted(swaps, key=len, reverse=True)))
    filled = re.sub(one_of_them, swap, text)
    return filled, [name for name in values if name in used]


class _Contents:
    """Values and new objects of the variants so far: what differs by values of variables alone is the same."""

    def __init__(self) -> None:
        self._known: dict[str, list[tuple[Unit, str]]] = {}

    def place_of(self, what: str, unit: Unit, text: str) -> tuple[str, str]:
        """What is equal for all texts that are the same so, and the variables that make this one differ."""
        known = self._known.setdefault(what, [])
        for index, (other, its) in enumerate(known):
            if its == text:
                return str(index), ""
            if _is_filled(unit):
                filled, names = _filled(its, _differing_variables(other, unit))
                if filled == text:
                    return str(index), _named(names)
        known.append((unit, text))
        return str(len(known) - 1), ""


def _named(variables: Sequence[str]) -> str:
    return f"variable{'s' if len(variables) > 1 else ''} {', '.join(variables)}"


def _is_swapped(drift: FieldDrift, before: str, after: str) -> bool:
    """Whether a field differs by nothing but one text in the place of another."""
    return before in _text(drift.desired) and _text(drift.desired).replace(before, after) == _text(drift.live)


def _text(value: Json) -> str:
    return value if isinstance(value, str) else _exact(value)


def _exact(value: Json) -> str:
    return canonical(value).decode()


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
