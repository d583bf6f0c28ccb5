"""Why an overlay comes out otherwise on one cluster than on another: the line that says so of each object and field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from fleet.cli.blame_trace import Tools, Tracer
from fleet.cli.checkout import Checkout
from fleet.cli.compare_values import (
    Contents,
    differing_variables,
    exact,
    filled_with,
    is_filled,
    is_swapped,
    named,
    text_of,
)
from fleet.cli.places import Places
from fleet.core.blame import Span, leaves_below
from fleet.core.field_diff import FieldDrift
from fleet.core.fleet import Unit
from fleet.core.objects import Bundle, is_secret
from fleet.core.planning.change import ObjectChange, Sign, changes_of
from fleet.core.planning.field_words import FOLDED, field_in_words
from fleet.core.planning.words import label_of
from fleet.core.problems import Origin
from fleet.errors import FleetError
from fleet.ports.render import request_of
from fleet.render.inputs import Closure
from fleet.values import dataclass


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


class Reasons:
    """Looks for what makes one unit differ from another of its overlay."""

    def __init__(
        self,
        checkout: Checkout,
        tools: Tools,
        first: tuple[Unit, Bundle],
        other: tuple[Unit, Bundle],
        contents: Contents,
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
                if change.ref in followers and any(is_swapped(drift, *pair) for pair in names):
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
            return "" if is_filled(self._other) else change.after, ""
        return self._contents.place_of(f"{label_of(change)} {drift.path}", self._other, exact(drift.live))

    def _of_whole(self, change: ObjectChange) -> tuple[str, str]:
        """The same for a new object; what goes is the same for all."""
        if change.sign is not Sign.CREATE or (is_secret(change.ref) and is_filled(self._other)):
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
        if not is_filled(self._other):
            return "", None
        differing = differing_variables(self._first, self._other)
        for name, (before, after) in differing.items():
            if is_swapped(drift, before, after):
                return named([name]), self._other.variables[name].origin
        text, names = filled_with(text_of(drift.desired), differing)
        if names and text == text_of(drift.live):
            return named(names), self._other.variables[names[0]].origin
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
