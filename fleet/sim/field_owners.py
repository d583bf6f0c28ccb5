"""Who owns which fields by a write: of an update what it changes, of an apply what it says, conflicts told."""

from __future__ import annotations

from fleet.core.documents import Document, at
from fleet.sim import fieldset, managed, rules
from fleet.sim.intake import gvk_of, place_of
from fleet.sim.kinds import Kind
from fleet.sim.managed import APPLY, UPDATE, ManagerId
from fleet.sim.schema import zero
from fleet.sim.statuses import ApiError, Cause, apply_conflict
from fleet.sim.typecheck import TypedError, check
from fleet.sim.writes import WriteOptions

_REPLICAS = ("f:spec", "f:replicas")


def applied(
    kind: Kind,
    live: Document,
    body: Document,
    managers: managed.Managers,
    options: WriteOptions,
    subresource: str,
) -> managed.Applied:
    """The live object with what an apply says of it, and who owns what then; raises ApiError."""
    try:
        check(body, kind.type)
    except TypedError as problem:
        raise ApiError(
            500, "", f"failed to create typed patch object ({place_of(body)}; {gvk_of(body)}): {problem}"
        ) from None
    manager = ManagerId(options.manager, APPLY, "", subresource)
    try:
        return managed.apply(
            live,
            body,
            kind.type,
            managers,
            manager,
            version=kind.api_version,
            force=options.force,
            reset=rules.resets(kind, subresource),
        )
    except managed.ApplyConflict as clash:
        causes = [
            Cause("FieldManagerConflict", f"conflict with {managed.print_manager(one.manager)}", one.path)
            for one in clash.conflicts
        ]
        raise apply_conflict(str(clash), causes) from None


def owners_after(
    kind: Kind, document: Document, old: Document, options: WriteOptions, subresource: str, time: str
) -> managed.Managers:
    """Who owns what after an update: nobody, where its sender strips the field, or nobody did before."""
    sent = at(document, "metadata", "managedFields")
    before = managed.read(old)
    if not subresource and isinstance(sent, list):
        if not sent or sent == [{}]:
            return {}
        try:
            before = managed.read(document) or before
        except managed.ManagedFieldsInvalid:
            before = managed.read(old)
    if not before:
        return {}
    if subresource == "scale" and not any(fieldset.owns(entry.fields, _REPLICAS) for entry in before.values()):
        return before  # the Scale had no owners, so nobody becomes one
    return managed.update(
        managed.bare(old),
        managed.bare(document),
        kind.type,
        before,
        ManagerId(options.manager, UPDATE, kind.api_version, subresource),
        version=kind.api_version,
        time=time,
        reset=rules.resets(kind, subresource),
    )


def are_same(left: managed.Managers, right: managed.Managers) -> bool:
    """Whether they own the same; times aside."""
    if left is right:
        return True
    return left.keys() == right.keys() and all(
        entry.fields == right[key].fields and entry.version == right[key].version for key, entry in left.items()
    )


def empty(kind: Kind) -> Document:
    """An object of this kind that says nothing."""
    if kind.custom is not None:
        return {"apiVersion": kind.api_version, "kind": kind.kind}
    return zero(kind.type)
