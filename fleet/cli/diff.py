"""`fleet diff UNIT|CLUSTER`: Git against the live objects, with a person's own kubeconfig; nothing is written.

Each object is tried out as a server-side dry-run, which stores nothing, unless its own managedFields tell that an apply
changes nothing; where a dry-run is not allowed, fields are compared with what can be read, marked approximate. The
cluster is met while the build runs, and where a unit has many objects of a kind in a namespace, one list reads them
all.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeAlias

from fleet.cli.checkout import local_renderer, open_checkout, render_all
from fleet.cli.output import clean
from fleet.core.adopt import counted, is_tracked_by_label, owners_of, tracked_line
from fleet.core.documents import Document, canonical, mapping_at, text_at
from fleet.core.exact import is_applied_already
from fleet.core.field_diff import FieldDrift, diff_documents, dry_run_diff
from fleet.core.fleet import Mode
from fleet.core.ids import Identity, ObjectRef, UnitName
from fleet.core.objects import (
    INSTALLATION_LABEL,
    OWNER_ANNOTATION,
    PART_OF_LABEL,
    Bundle,
    BundleObject,
    Mark,
    is_secret,
    seals_of,
    unsealed,
)
from fleet.core.options import PREFIX
from fleet.core.record import MarkKind, judge_mark, mark_body
from fleet.errors import AdmissionDenied, ClusterError, FleetError, Forbidden, KindNotServed, NotFound, UsageInvalid
from fleet.ports.kube import Catalog, Kube, ServedKind
from fleet.values import dataclass, field

if TYPE_CHECKING:
    from fleet.core.fleet import Unit

EXIT_SAME, EXIT_DIFFERENT, EXIT_ERROR = 0, 1, 2
IN_FLIGHT = 16
LISTED_FROM = 9  # so many objects of a kind and namespace are read by one list
_OUR_MARKS = (INSTALLATION_LABEL, PART_OF_LABEL, OWNER_ANNOTATION)


_Place: TypeAlias = "tuple[ServedKind, str]"  # a kind in a namespace


@dataclass(frozen=True, slots=True)
class Difference:
    """How one object stands: "+" absent live, "~" different, "=" equal, "!" not comparable.

    foreign: who owns a live object that carries no mark; None where it carries one. tracked: Argo CD would delete that
    with its Application also after we took it over.
    """

    ref: ObjectRef
    sign: str
    drifts: tuple[FieldDrift, ...] = ()
    note: str = ""
    foreign: tuple[str, ...] | None = None
    tracked: bool = False
    changes: bool = False  # more than what is said to us alone


@dataclass(slots=True)
class _Comparison:
    """One unit against one cluster."""

    unit: Unit
    kube: Kube
    catalog: Catalog
    mark: Mark
    secrets: Mapping[str, bytes]
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(IN_FLIGHT))
    listed: dict[_Place, dict[str, Document]] = field(default_factory=dict["_Place", "dict[str, Document]"])

    async def all(self, items: Sequence[BundleObject]) -> list[Difference]:
        """All objects, in their order."""
        counts = Counter(filter(None, map(self._place, items)))
        many = [place for place, count in counts.items() if count >= LISTED_FROM]
        await asyncio.gather(*(self._list(place) for place in many))
        return list(await asyncio.gather(*(self._one(item) for item in items)))

    async def _one(self, item: BundleObject) -> Difference:
        """Compare one object; a failure of one is shown and stops no other."""
        async with self.gate:
            try:
                return await self._compared(item)
            except ClusterError as error:
                return Difference(item.ref, "!", note=f"{error.reason}: {error.why or error.what}")

    def _place(self, item: BundleObject) -> _Place | None:
        kind = self.catalog.find(item.ref.group, item.ref.kind)
        if kind is None:
            return None
        return kind.at(item.version) if item.version in kind.versions else kind, item.ref.namespace

    async def _list(self, place: _Place) -> None:
        kind, namespace = place
        async with self.gate:
            try:
                found = await self.kube.list(kind, namespace=namespace)
            except ClusterError:
                return  # who may not list may still read by name, and is told there what is wrong
        # The items of a list do not say what they are.
        what: Document = {"apiVersion": f"{kind.group}/{kind.version}".lstrip("/"), "kind": kind.kind}
        self.listed[place] = {text_at(item, "metadata", "name"): {**item, **what} for item in found.items}

    async def _compared(self, item: BundleObject) -> Difference:
        place = self._place(item)
        if place is None:
            raise KindNotServed(
                f"kind {item.ref.kind} is not served",
                next_step="see whether its CRD is installed there: kubectl get crd",
            )
        kind, ref = place[0], item.ref
        listed = self.listed.get(place)
        live = listed.get(ref.name) if listed is not None else await self.kube.get(kind, ref.namespace, ref.name)
        if not item.options.reconcile or (live is not None and item.options.only_if_absent):
            return Difference(ref, "=")  # never changed
        if live is None:
            return Difference(ref, "+")
        is_foreign = judge_mark(live, self.mark).kind in (MarkKind.UNMARKED, MarkKind.COPIED)
        foreign = owners_of(live) if is_foreign else None
        body = mark_body(self._clear(item), self.mark)
        if is_applied_already(body, live):
            return Difference(ref, "=")
        try:
            answer = await self.kube.apply(kind, ref.namespace, ref.name, canonical(body), force=True, dry_run=True)
            drifts, note = dry_run_diff(_unmarked(live), _unmarked(answer.object)), ""
            changes = bool(dry_run_diff(_without_ours(live), _without_ours(answer.object)))
        except (Forbidden, AdmissionDenied, NotFound) as error:
            drifts = diff_documents(_unmarked(body), _unmarked(live))
            changes = bool(diff_documents(_without_ours(body), _without_ours(live)))
            note = f"approximate: {error.why or error.reason}"
        tracked = is_foreign and is_tracked_by_label(live, body)
        return Difference(ref, "~" if drifts else "=", drifts, note, foreign, tracked, changes)

    def _clear(self, item: BundleObject) -> Document:
        """The body with its Secret values, for the one request that needs them."""
        document = item.document()
        return unsealed(document, self.secrets) if is_secret(item.ref) else document


def diff(root: Path, target: str, *, context: str, output: str) -> int:
    """Print the differences; 0 same, 1 different, 2 error."""
    if output not in ("table", "name"):
        raise UsageInvalid(f"-o {output} is not for diff", next_step="table or name")
    try:
        return asyncio.run(_diff(root, target, context, output))
    except FleetError as error:
        from fleet.cli.output import print_error

        print_error(error)
        return EXIT_ERROR


async def _diff(root: Path, target: str, context: str, output: str) -> int:
    checkout = open_checkout(root)
    units = checkout.units_of(target)
    meeting = asyncio.create_task(_met(units[0], context), name="meet the cluster")
    try:
        async with local_renderer() as (renderer, vault):
            bundles = await render_all(checkout, units, renderer)
            sealed = {value for bundle in bundles if isinstance(bundle, Bundle) for value in _sealed_of(bundle)}
            secrets = await vault.get(sealed)
    except BaseException:
        meeting.cancel()
        await asyncio.gather(meeting, return_exceptions=True)
        raise
    kube, catalog = await meeting
    try:
        worst = EXIT_SAME
        for unit, bundle in zip(units, bundles, strict=True):
            if isinstance(bundle, FleetError):
                raise bundle
            mark = Mark(checkout.fleet.name, kube.identity, unit.name.overlay)
            comparison = _Comparison(unit, kube, catalog, mark, secrets)
            found, lacking = await asyncio.gather(comparison.all(bundle.objects), _lacking(comparison, bundle))
            worst = max(worst, print_differences(unit.name, found, sys.stdout, names_only=output == "name"))
            if lacking and output != "name":
                sys.stdout.write(clean(lacking) + "\n")
        return worst
    finally:
        await kube.close()


async def _lacking(comparison: _Comparison, bundle: Bundle) -> str:
    """What the hub's role lacks or has too much of, with the command that grants anew; "" where it fits, or is none."""
    from fleet.cli.grant import grant_differs

    cluster = comparison.unit.cluster
    read_only = cluster.mode is Mode.OBSERVE
    lines = await grant_differs(comparison.kube, comparison.catalog, bundle.objects, read_only=read_only)
    return "\n".join([*lines, f"Next: fleet cluster grant {cluster.name}"]) if lines else ""


def _sealed_of(bundle: Bundle) -> list[str]:
    return [value for item in bundle.objects if is_secret(item.ref) for value in seals_of(item.document())]


def _without_ours(document: Document) -> Document:
    """Without all that is said to us alone, which `ifNoDiff` does not count."""
    return _without(document, lambda name: name in _OUR_MARKS or name.startswith(PREFIX))


def _unmarked(document: Document) -> Document:
    """Without our marks: an object that is not ours yet differs by more than them, or not at all."""
    return _without(document, lambda name: name in _OUR_MARKS)


def _without(document: Document, is_ours: Callable[[str], bool]) -> Document:
    metadata = dict(mapping_at(document, "metadata"))
    for part in ("labels", "annotations"):
        kept = {name: value for name, value in mapping_at(metadata, part).items() if not is_ours(name)}
        metadata.pop(part, None)
        if kept:
            metadata[part] = kept
    return {**document, "metadata": metadata}


async def _met(unit: Unit, context: str) -> tuple[Kube, Catalog]:
    kube = await _connect(unit, context)
    try:
        return kube, await kube.discover()
    except BaseException:
        await kube.close()
        raise


async def _connect(unit: Unit, context: str) -> Kube:
    """As the person: by --context, else by the context that is named like the cluster. Identity is compared (R1)."""
    from fleet.kube.connect import WritesAsPerson, connect_person

    cluster = unit.cluster
    expected: Identity | None = cluster.identity
    # A dry-run is a write to the transport, though it stores nothing; this command sends no other.
    return await connect_person(
        context=context or cluster.name, cluster=cluster.name, expected=expected, fence=WritesAsPerson()
    )


def print_differences(unit: UnitName, found: list[Difference], out: TextIO, *, names_only: bool = False) -> int:
    """Print one unit's differences, the different ones first; returns the exit code."""
    different = [item for item in found if item.sign != "="]
    for item in sorted(different, key=lambda item: item.ref):
        if names_only:
            out.write(clean(f"{item.sign} {item.ref}\n"))
            continue
        note = f"  ({item.note})" if item.note else ""
        out.write(clean(f"{item.sign} {item.ref}{note}") + "\n")
        for drift in item.drifts:
            out.write(clean(f"    {drift.path}  {_values(drift)}") + "\n")
    same = len(found) - len(different)
    out.write(f"{unit}: {len(different)} different, {same} equal\n")
    if hint := _adoption(found):
        out.write(clean(hint) + "\n")
    if any(item.sign == "!" for item in different):
        return EXIT_ERROR
    return EXIT_DIFFERENT if different else EXIT_SAME


def _adoption(found: Sequence[Difference]) -> str:
    """What `sync.adopt` would take over; "" where every object that is live carries a mark."""
    foreign = [(item, item.foreign) for item in found if item.foreign is not None]
    if not foreign:
        return ""
    others = sorted(str(item.ref) for item, _ in foreign if item.changes)
    equal = len(foreign) - len(others)
    named = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
    takes = f"ifNoDiff takes the {equal} equal" if equal else "ifNoDiff takes none"
    also = f", always also {named}" if others else ""
    owned = counted(owners for _, owners in foreign)
    lines = [f"{len(foreign)} not ours, owned by {owned}: sync.adopt {takes}{also}"]
    if tracked := sum(item.tracked for item, _ in foreign):
        lines.append(tracked_line(tracked))
    return "\n".join(lines)


def _values(drift: FieldDrift) -> str:
    if drift.masked:
        return "changed"
    by = f"  live set by {drift.manager}" if drift.manager else ""
    return f"live {_short(drift.live)}  repo {_short(drift.desired)}{by}"


def _short(value: object) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= 60 else text[:59] + "…"
