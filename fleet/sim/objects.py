"""Writes and reads of one cluster's objects, as the registry does them: decode, default, judge, own, store.

Used by the HTTP front and by the simulated controllers alike, so that both go through the same rules.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from fleet.core.documents import Document, at, items_at, mapping_at, text_at
from fleet.sim import births, crds, field_owners, managed, rules
from fleet.sim.clock import Clock
from fleet.sim.codec import Notes
from fleet.sim.conversion import to_version
from fleet.sim.defaults import default
from fleet.sim.deletion import Preconditions, plan_delete
from fleet.sim.intake import decoded, gvk_of, place, read
from fleet.sim.kinds import Kind, Registry
from fleet.sim.managed import APPLY, UPDATE, ManagerId
from fleet.sim.pods import tolerate
from fleet.sim.statuses import (
    MODIFIED,
    ApiError,
    Cause,
    already_exists,
    bad_request,
    conflict,
    forbidden,
    invalid,
    not_found,
)
from fleet.sim.storage import Key, Row, Store
from fleet.sim.writes import WriteOptions, Written, check_uid, is_deletable, judge, warnings_for

Change = Callable[[Document], Document]


class Objects:
    """All reads and writes of one cluster."""

    def __init__(self, store: Store, registry: Registry, random: Random, clock: Clock) -> None:
        self.store, self.registry, self.random, self.clock = store, registry, random, clock
        self.allocator = births.Allocator(random)
        self.injectors: list[Callable[[Kind, Document], None]] = []  # mutating admission, as by a webhook

    # Reads

    def row(self, kind: Kind, namespace: str, name: str) -> Row:
        """The stored object; raises ApiError 404."""
        row = self.store.get(kind.resource, (namespace, name))
        if row is None:
            raise not_found(kind.plural, kind.group, name)
        return row

    def get(self, kind: Kind, namespace: str, name: str) -> Document:
        """The object at this kind's version; raises ApiError 404."""
        return self.document(kind, self.row(kind, namespace, name))

    def find(self, kind: Kind, namespace: str, name: str) -> Document | None:
        """The object, or None."""
        row = self.store.get(kind.resource, (namespace, name))
        return None if row is None else self.document(kind, row)

    def document(self, kind: Kind, row: Row) -> Document:
        """A stored object at this kind's version."""
        stored: Document = {"kind": kind.kind, "apiVersion": kind.stored_version, **row.document()}
        return stored if kind.stored_version == kind.api_version else to_version(stored, kind.api_version)

    # Writes

    def create(
        self, kind: Kind, namespace: str, body: Document, options: WriteOptions, *, managed_fields: bool = True
    ) -> Written:
        """POST. Without `managed_fields` nobody owns what is created (as of old controllers)."""
        notes = Notes()
        document = read(kind, body, notes, options.validation)
        place(kind, namespace, "", document)
        metadata = mapping_at(document, "metadata")
        if not text_at(metadata, "name") and text_at(metadata, "generateName"):
            metadata["name"] = text_at(metadata, "generateName")[:58] + births.name_suffix(self.random)
        managers: managed.Managers | None = None if managed_fields else {}
        return self._insert(kind, namespace, document, options, UPDATE, managers=managers, notes=notes)

    def replace(
        self, kind: Kind, namespace: str, name: str, body: Document, options: WriteOptions, subresource: str = ""
    ) -> Written:
        """PUT."""
        notes = Notes()
        document = read(kind, body, notes, options.validation)
        place(kind, namespace, name, document)
        row = self.store.get(kind.resource, (namespace, name))
        if row is None:
            if kind.resource not in rules.CREATE_ON_UPDATE or subresource:
                raise not_found(kind.plural, kind.group, name)
            return self._insert(kind, namespace, document, options, UPDATE, notes=notes)
        old = self.document(kind, row)
        version = text_at(document, "metadata", "resourceVersion")
        if not version and (kind.custom is not None or kind.resource in rules.CONDITIONAL):
            message = "Invalid value: 0: must be specified for an update"
            cause = Cause("FieldValueInvalid", message, "metadata.resourceVersion")
            raise invalid(kind, name, [cause])
        return self._update(kind, document, old, options, subresource, patching=False, notes=notes)

    def change(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        change: Change,
        options: WriteOptions,
        subresource: str = "",
    ) -> Written:
        """PATCH that is no apply: `change` makes the new document from the live one."""
        old = self.get(kind, namespace, name)
        notes = Notes()
        if options.trusted:
            return self._update(kind, dict(change(old)), old, options, subresource, notes=notes)
        document = read(kind, change(old), notes, options.validation)
        place(kind, namespace, name, document)
        return self._update(kind, document, old, options, subresource, notes=notes)

    def apply(
        self, kind: Kind, namespace: str, name: str, body: Document, options: WriteOptions, subresource: str = ""
    ) -> Written:
        """Server-side apply."""
        if text_at(body, "apiVersion") != kind.api_version or text_at(body, "kind") != kind.kind:
            raise bad_request(f"invalid object type: {gvk_of(body)}")
        said = text_at(body, "metadata", "name")
        if said != name:
            raise bad_request(f"the name of the object ({said}) does not match the name on the URL ({name})")
        body = {**body, "metadata": {**mapping_at(body, "metadata"), "name": name}}
        if at(body, "metadata", "managedFields") is not None:
            raise bad_request("metadata.managedFields must be nil")
        row = self.store.get(kind.resource, (namespace, name))
        if row is None:
            if subresource:
                raise not_found(kind.plural, kind.group, name)
            return self._apply_new(kind, namespace, name, body, options)
        return self._apply_over(kind, self.document(kind, row), body, options, subresource)

    def _apply_new(self, kind: Kind, namespace: str, name: str, body: Document, options: WriteOptions) -> Written:
        empty = field_owners.empty(kind)
        applied = field_owners.applied(kind, empty, body, {}, options, "")
        document = applied.object
        uid = text_at(document, "metadata", "uid")
        if uid:
            why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            raise conflict(kind.plural, kind.group, name, why)
        notes = Notes()
        document = decoded(kind, document, notes, applied=True)
        place(kind, namespace, name, document)
        return self._insert(kind, namespace, document, options, APPLY, managers=applied.managers, notes=notes)

    def _apply_over(
        self, kind: Kind, old: Document, body: Document, options: WriteOptions, subresource: str
    ) -> Written:
        live = managed.bare(old)
        managers = managed.read(old)
        if not managers:
            managers = managed.update(
                field_owners.empty(kind),
                live,
                kind.type,
                {},
                ManagerId("before-first-apply", UPDATE, kind.api_version, subresource),
                version=kind.api_version,
                time=self.clock.now(),
                reset=rules.resets(kind, subresource),
            )
        applied = field_owners.applied(kind, live, body, managers, options, subresource)
        notes = Notes()
        document = decoded(kind, applied.object, notes, applied=True)
        place(kind, text_at(old, "metadata", "namespace"), text_at(old, "metadata", "name"), document)
        return self._update(
            kind, document, old, options, subresource, managers=applied.managers, same=applied.same, notes=notes
        )

    def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        preconditions: Preconditions | None = None,
        propagation: str = "",
        grace_seconds: int | None = None,
        dry_run: bool = False,
    ) -> tuple[Document, bool]:
        """DELETE: the last state of the object, and whether it is gone (else a finalizer keeps it)."""
        row = self.row(kind, namespace, name)
        document = self.document(kind, row)
        if kind.resource == "namespaces" and name in {"default", "kube-system", "kube-public"}:
            raise forbidden("namespaces", "", name, "this namespace may not be deleted")
        planned = plan_delete(
            kind, document, preconditions or Preconditions(), propagation, grace_seconds, self.clock.now()
        )
        if not dry_run:
            if planned.gone:
                self._remove(kind, (namespace, name), document)
            elif planned.changed:
                self._put(kind, (namespace, name), planned.document)
        return planned.document, planned.gone

    # Parts of a write

    def _insert(
        self,
        kind: Kind,
        namespace: str,
        document: Document,
        options: WriteOptions,
        operation: str,
        *,
        managers: managed.Managers | None = None,
        notes: Notes,
    ) -> Written:
        name = text_at(document, "metadata", "name")
        self._admit_to_namespace(kind, namespace, name)
        if managers is None and text_at(document, "metadata", "resourceVersion"):
            raise ApiError(500, "", "resourceVersion should not be set on objects to be created")
        metadata = dict(mapping_at(document, "metadata"))
        for key in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion"):
            metadata.pop(key, None)
        metadata["uid"] = births.new_uid(self.random)
        metadata["creationTimestamp"] = self.clock.now()
        document["metadata"] = metadata
        document = rules.keep(kind, document, None, "")
        generation = rules.next_generation(kind, document, None, "")
        metadata.pop("generation", None)
        if generation:
            metadata["generation"] = generation
        if kind.custom is None:
            default(kind.resource, document)
        # Owned is what was sent and defaulted; what the strategy and admission add belongs to nobody.
        if managers is None:
            manager = ManagerId(options.manager, operation, kind.api_version, "")
            managers = managed.update(
                field_owners.empty(kind),
                managed.bare(document),
                kind.type,
                {},
                manager,
                version=kind.api_version,
                time=self.clock.now(),
                reset=rules.resets(kind, ""),
            )
        else:
            manager = ManagerId(options.manager, APPLY, "", "")
            if manager in managers:
                managers[manager].time = self.clock.now()
        births.born(kind.resource, document, self.clock.now())
        if kind.resource == crds.RESOURCE:
            document = crds.with_stored_version(document)
        for inject in self.injectors:
            inject(kind, document)
        if not options.trusted:
            judge(kind, document, None, "")
        if kind.resource == "services":
            self.allocator.fill(document, None, dry_run=options.dry_run)
        standing = self.store.get(kind.resource, (namespace, name))
        if standing is not None:
            problem = already_exists(kind.plural, kind.group, name)
            if at(standing.document(), "metadata", "deletionTimestamp") is not None:
                problem.message = f"object is being deleted: {problem.message}"
            raise problem
        document = managed.write(document, managers)
        if not options.dry_run:
            self._put(kind, (namespace, name), document)
        return Written(document, created=True, warnings=warnings_for(kind, document, notes, options))

    def _update(
        self,
        kind: Kind,
        document: Document,
        old: Document,
        options: WriteOptions,
        subresource: str,
        *,
        managers: managed.Managers | None = None,
        same: bool = False,
        patching: bool = True,
        notes: Notes,
    ) -> Written:
        name = text_at(old, "metadata", "name")
        namespace = text_at(old, "metadata", "namespace")
        metadata = dict(mapping_at(document, "metadata"))
        was = mapping_at(old, "metadata")
        version = text_at(metadata, "resourceVersion")
        if version and version != "0" and version != text_at(was, "resourceVersion"):
            raise conflict(kind.plural, kind.group, name, MODIFIED)
        check_uid(kind, metadata, was, patching=patching)
        for key in (
            "uid",
            "creationTimestamp",
            "selfLink",
            "resourceVersion",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generation",
        ):
            metadata.pop(key, None)
            if key in was:
                metadata[key] = was[key]
        document["metadata"] = metadata
        document = rules.keep(kind, document, old, subresource)
        metadata = mapping_at(document, "metadata")
        if kind.custom is None and subresource != "status" and not options.trusted:
            default(kind.resource, document)
        if not subresource:
            self._grow(kind, document, old, dry_run=options.dry_run)
        generation = rules.next_generation(kind, document, old, subresource)
        if generation:
            metadata["generation"] = generation
        for inject in self.injectors:
            inject(kind, document)
        time = self.clock.now()
        if managers is None:
            managers = field_owners.owners_after(kind, document, old, options, subresource, time)
        elif not same:
            mine = managers.get(ManagerId(options.manager, APPLY, "", subresource))
            if mine is not None:
                mine.time = time
        if not options.trusted:
            judge(kind, document, old, subresource)
        new = managed.bare(document)
        if new == managed.bare(old) and field_owners.are_same(managers, managed.read(old)):
            return Written(old, warnings=warnings_for(kind, document, notes, options))
        new = managed.write(new, managers)
        if "deletionTimestamp" in was and not items_at(new, "metadata", "finalizers") and is_deletable(kind, new):
            if not options.dry_run:
                self._remove(kind, (namespace, name), new)
            return Written(new, warnings=warnings_for(kind, document, notes, options))
        if not options.dry_run:
            self._put(kind, (namespace, name), new)
        return Written(new, warnings=warnings_for(kind, document, notes, options))

    def _grow(self, kind: Kind, document: Document, old: Document, *, dry_run: bool) -> None:
        """What strategies and admission do on an update."""
        match kind.resource:
            case "services":
                self.allocator.fill(document, old, dry_run=dry_run)
            case "pods":
                tolerate(document)
            case "daemonsets.apps":
                births.count_templates(document, old)
            case _:
                pass

    def _admit_to_namespace(self, kind: Kind, namespace: str, name: str) -> None:
        if not kind.namespaced:
            return
        row = self.store.get("namespaces", ("", namespace))
        if row is None:
            raise not_found("namespaces", "", namespace)
        if text_at(row.document(), "status", "phase") == "Terminating":
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            cause = Cause("NamespaceTerminating", f"namespace {namespace} is being terminated", "metadata.namespace")
            raise forbidden(kind.plural, kind.group, name, why, causes=[cause])

    def _put(self, kind: Kind, key: Key, document: Document) -> None:
        stored = document
        if kind.stored_version != kind.api_version:
            stored = to_version(document, kind.stored_version)
        self.store.put(kind.resource, key, stored)
        if stored is not document:
            version = text_at(stored, "metadata", "resourceVersion")
            mapping_at(document, "metadata")["resourceVersion"] = version

    def _remove(self, kind: Kind, key: Key, document: Document) -> None:
        self.store.delete(kind.resource, key)
        if kind.resource == "services":
            self.allocator.release(document)
