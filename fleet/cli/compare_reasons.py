"""Why an overlay comes out otherwise on one cluster than on another: the line that says so of each object and field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from fleet.cli.blame_trace import Tools, Tracer
from fleet.cli.checkout import Checkout
from fleet.cli.compare_values import (
    Contents,
    differing_variables,
    exact,
    filled_with,
    is_swapped,
    named,
    text_of,
    with_values,
)
from fleet.cli.places import Places
from fleet.core.blame import Span, leaves_below
from fleet.core.field_diff import FieldDrift
from fleet.core.fleet import Unit
from fleet.core.ids import UnitName
from fleet.core.objects import Bundle, is_secret
from fleet.core.planning.change import ObjectChange, Sign, changes_of
from fleet.core.planning.field_words import FOLDED, field_in_words
from fleet.core.planning.words import label_of
from fleet.core.problems import Origin
from fleet.core.results import takes_values
from fleet.errors import FleetError
from fleet.ports.render import request_of
from fleet.render.inputs import Closure
from fleet.values import dataclass

Place = tuple[str, str]  # an object's key, and the path of a field in it; "" for the whole object


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
        self._tried: dict[tuple[UnitName, tuple[str, ...]], Mapping[Place, str] | None] = {}

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
                is_new = change.sign is Sign.CREATE
                files, side = (self._only_here, self._now) if is_new else (self._only_there, self._was)
                place = self._places.of(change.ref, change.api_version, files, [item.ref for item in side.objects])
                origin = components.get((change.ref.key, "")) or place
                found.append(Reason(change.sign, label, "", "", origin, "", *await self._of_whole(change)))
                continue
            for drift in change.fields:
                if change.ref in followers and any(is_swapped(drift, *pair) for pair in names):
                    continue
                value, origin = await self._of_value(change, drift)
                origin = origin or components.get((change.ref.key, drift.path)) or await self._of_line(change, drift)
                content = ("", "") if value else await self._of_field(change, drift)
                text = field_in_words(drift, FOLDED, is_several=change.is_several)
                found.append(Reason(change.sign, label, drift.path, text, origin, value, *content))
        return tuple(found)

    async def _of_field(self, change: ObjectChange, drift: FieldDrift) -> tuple[str, str]:
        """What stands for a field's value, and by which variables it varies.

        A Secret's is not known, and may be made by variables where these are put in.
        """
        if drift.masked:
            return "" if takes_values(self._other) else change.after, ""

        async def trial(of: Unit, names: Sequence[str]) -> str | None:
            differences = await self._with_values(of, names)
            return differences.get(_place_of(change, drift)) if differences is not None else None

        what = f"{label_of(change)} {drift.path}"
        return await self._contents.place_of(what, self._other, exact(drift.live), trial)

    async def _of_whole(self, change: ObjectChange) -> tuple[str, str]:
        """The same for a new object; what goes is the same for all."""
        if change.sign is not Sign.CREATE or (is_secret(change.ref) and takes_values(self._other)):
            return "", ""

        async def trial(of: Unit, names: Sequence[str]) -> str | None:
            differences = await self._with_values(of, names)
            return differences.get(_place_of(change)) if differences is not None else None

        body = next(item.body for item in self._now.objects if item.ref == change.ref)
        return await self._contents.place_of(label_of(change), self._other, body.decode(), trial)

    async def _with_values(self, of: Unit, names: Sequence[str]) -> Mapping[Place, str] | None:
        """What still differs from the first unit where this one has these values of another, built once.

        Values by place, with the text of an object that is new; None where it cannot be built so.
        """
        key = of.name, tuple(sorted(names))
        if key not in self._tried:
            request = request_of(with_values(self._other, of, names))
            try:
                bundle = await self._renderer.render(self._tree, request)
            except FleetError:
                self._tried[key] = None
            else:
                self._tried[key] = _texts_of(self._was, bundle)
        return self._tried[key]

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

    async def _of_value(self, change: ObjectChange, drift: FieldDrift) -> tuple[str, Origin | None]:
        """The variable, or the fact of the cluster, that alone makes the difference; the one with the longest value.

        Else all of them that make it together, with the line of that one. Proven by a build in which this unit has the
        first one's value of it: nothing differs there then.
        """
        if not takes_values(self._other):
            return "", None
        differing = differing_variables(self._first, self._other)
        found = [[name] for name, (before, after) in differing.items() if is_swapped(drift, before, after)]
        text, several = filled_with(text_of(drift.desired), differing)
        if several and text == text_of(drift.live):
            found.append(several)
        for names in found:
            left = await self._with_values(self._first, names)
            if left is not None and _place_of(change, drift) not in left:
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
            copy = self._places.of(ref, change.api_version, files - self._patches, ())
            parts = (await tracer.field(leaf)).verdict.parts if leaf is not None else ()
            found = {part.source.origin for part in parts if isinstance(part.source, Span)}
            if len(found) == 1 and (copy is None or copy.path not in {origin.path for origin in found}):
                return found.pop()
        return None


def _place_of(change: ObjectChange, drift: FieldDrift | None = None) -> Place:
    """Where something differs, by the name that its object has in the first unit; without a field the whole object."""
    return (change.renamed_from or change.ref).key, drift.path if drift is not None else ""


def _texts_of(before: Bundle, after: Bundle) -> dict[Place, str]:
    """What differs: values of fields, and whole objects that are new."""
    found: dict[Place, str] = {}
    bodies = {item.ref: item.body.decode() for item in after.objects}
    for change in changes_of(before.objects, after.objects):
        found |= {_place_of(change, drift): exact(drift.live) for drift in change.fields}
        if change.sign is Sign.CREATE:
            found[_place_of(change)] = bodies[change.ref]
    return found


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
