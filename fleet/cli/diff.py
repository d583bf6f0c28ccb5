"""`fleet diff UNIT|CLUSTER`: Git against the live objects, with a person's own kubeconfig; nothing is written.

Each object is tried out as a server-side dry-run, which stores nothing; where that is not allowed, fields are compared
with what can be read, marked approximate.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from fleet.cli.checkout import local_renderer, open_checkout, render_all
from fleet.cli.output import clean
from fleet.core.diff import diff_documents, dry_run_diff
from fleet.core.documents import Document, canonical
from fleet.core.ids import Identity, ObjectRef, UnitName
from fleet.core.objects import Bundle, BundleObject, Mark, is_secret, seals_of, unsealed
from fleet.core.record import mark_body
from fleet.core.status import FieldDrift
from fleet.errors import AdmissionDenied, ClusterError, FleetError, Forbidden, KindNotServed, NotFound, UsageInvalid
from fleet.ports.kube import Catalog, Kube

if TYPE_CHECKING:
    from fleet.core.fleet import Unit

EXIT_SAME, EXIT_DIFFERENT, EXIT_ERROR = 0, 1, 2
IN_FLIGHT = 16
_OUR_MARKS = ("fleet.internal", "applyset.kubernetes.io")


@dataclass(frozen=True, slots=True)
class Difference:
    """How one object stands: "+" absent live, "~" different, "=" equal, "!" not comparable."""

    ref: ObjectRef
    sign: str
    drifts: tuple[FieldDrift, ...] = ()
    note: str = ""


@dataclass(slots=True)
class _Comparison:
    """One unit against one cluster."""

    unit: Unit
    kube: Kube
    catalog: Catalog
    mark: Mark
    secrets: Mapping[str, bytes]
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(IN_FLIGHT))

    async def of(self, item: BundleObject) -> Difference:
        """Compare one object; a failure of one is shown and stops no other."""
        async with self.gate:
            try:
                return await self._of(item)
            except ClusterError as error:
                return Difference(item.ref, "!", note=f"{error.reason}: {error.why or error.what}")

    async def _of(self, item: BundleObject) -> Difference:
        kind = self.catalog.find(item.ref.group, item.ref.kind)
        if kind is None:
            raise KindNotServed(f"kind {item.ref.kind} is not served")
        kind = kind.at(item.version) if item.version in kind.versions else kind
        live = await self.kube.get(kind, item.ref.namespace, item.ref.name)
        if live is None:
            return Difference(item.ref, "+")
        body = mark_body(self._clear(item), self.mark)
        try:
            answer = await self.kube.apply(
                kind, item.ref.namespace, item.ref.name, canonical(body), force=True, dry_run=True
            )
            drifts, note = dry_run_diff(live, answer.object), ""
        except (Forbidden, AdmissionDenied, NotFound) as error:
            drifts, note = diff_documents(body, live), f"approximate: {error.why or error.reason}"
        drifts = tuple(drift for drift in drifts if not any(mark in drift.path for mark in _OUR_MARKS))
        return Difference(item.ref, "~" if drifts else "=", drifts, note)

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
    async with local_renderer() as (renderer, vault):
        bundles = await render_all(checkout, units, renderer)
        sealed = {value for bundle in bundles if isinstance(bundle, Bundle) for value in _sealed_of(bundle)}
        secrets = await vault.get(sealed)
    kube = await _connect(units[0], context)
    try:
        catalog = await kube.discover()
        worst = EXIT_SAME
        for unit, bundle in zip(units, bundles, strict=True):
            if isinstance(bundle, FleetError):
                raise bundle
            mark = Mark(checkout.fleet.name, kube.identity, unit.name.overlay)
            comparison = _Comparison(unit, kube, catalog, mark, secrets)
            found = await asyncio.gather(*(comparison.of(item) for item in bundle.objects))
            worst = max(worst, print_differences(unit.name, found, sys.stdout, names_only=output == "name"))
        return worst
    finally:
        await kube.close()


def _sealed_of(bundle: Bundle) -> list[str]:
    return [value for item in bundle.objects if is_secret(item.ref) for value in seals_of(item.document())]


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
    if any(item.sign == "!" for item in different):
        return EXIT_ERROR
    return EXIT_DIFFERENT if different else EXIT_SAME


def _values(drift: FieldDrift) -> str:
    if drift.masked:
        return "changed"
    by = f"  live set by {drift.manager}" if drift.manager else ""
    return f"live {_short(drift.live)}  repo {_short(drift.desired)}{by}"


def _short(value: object) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= 60 else text[:59] + "…"
