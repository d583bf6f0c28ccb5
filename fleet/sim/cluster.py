"""One simulated cluster: its store, its API server, its controllers, its faults and its ledger."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from random import Random

import orjson

from fleet.core.documents import Document, documents_at, mapping_at, parse_document, text_at
from fleet.sim import births, virtual
from fleet.sim.access import Access, User, service_account
from fleet.sim.apiserver import ApiServer
from fleet.sim.clock import Clock
from fleet.sim.controllers import Controllers
from fleet.sim.faults import Faults
from fleet.sim.kinds import Kind, Registry
from fleet.sim.ledger import Ledger
from fleet.sim.objects import Objects
from fleet.sim.patch import merge_patch
from fleet.sim.pods import default_container
from fleet.sim.port import Port
from fleet.sim.requests import Target
from fleet.sim.statuses import not_found
from fleet.sim.storage import Row, Snapshot, Store
from fleet.sim.watch import Watches
from fleet.sim.writes import WriteOptions, Written

ADMIN = User("admin", ("system:masters", "system:authenticated"))
_NAMESPACES = ("kube-system", "kube-public", "kube-node-lease", "default")


class SimCluster:
    """One cluster. Made and started by `Simulation`."""

    def __init__(
        self,
        name: str,
        random: Random,
        *,
        bookmark_seconds: float,
        history: int,
        ledger_limit: int,
        controllers: bool,
        ready_seconds: float,
    ) -> None:
        self.name = name
        self.random = random
        self.store = Store(history=history)
        self.registry = Registry()
        self.faults = Faults()
        self.clock = Clock(self.faults)
        self.objects = Objects(self.store, self.registry, random, self.clock)
        self.access = Access(self.store)
        self.ledger = Ledger(name, limit=ledger_limit)
        self.watches = Watches(self.store, bookmark_seconds=bookmark_seconds)
        self.token = births.token()
        self.access.tokens[self.token] = ADMIN
        self.logs: dict[tuple[str, str], str] = {}
        self.authority_pem = ""
        self.controllers = Controllers(self, manager=controllers, ready_seconds=ready_seconds)
        self._port = Port(name, self.faults)
        self._beat: asyncio.Task[None] | None = None
        self._false_identity = births.new_uid(random)
        self._seed(controllers=controllers)

    def _seed(self, *, controllers: bool) -> None:
        options = WriteOptions(manager="kube-apiserver")
        kind = self.kind("", "Namespace")
        for name in _NAMESPACES:
            body: Document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            self.objects.create(kind, "", body, options)
        rule: Document = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
        paths: Document = {"nonResourceURLs": ["*"], "verbs": ["*"]}
        role: Document = {"metadata": {"name": "cluster-admin"}, "rules": [rule, paths]}
        self.objects.create(self.kind("rbac.authorization.k8s.io", "ClusterRole"), "", role, options)
        if controllers:
            node: Document = {"metadata": {"name": "node-1"}, "status": {"capacity": {"cpu": "64", "memory": "256Gi"}}}
            self.objects.create(self.kind("", "Node"), "", node, WriteOptions(manager="kubelet"))
        self.store.compact()

    # What tests and the demo use

    @property
    def identity(self) -> str:
        """UID of the kube-system namespace."""
        return text_at(self.get("", "Namespace", "", "kube-system") or {}, "metadata", "uid")

    @property
    def port(self) -> int:
        """Where it listens; 0 before it does."""
        return self._port.number

    @property
    def address(self) -> str:
        """`127.0.0.1:PORT`."""
        return f"127.0.0.1:{self.port}"

    def kind(self, group: str, kind: str, version: str = "") -> Kind:
        """A kind that this cluster serves; raises KeyError."""
        found = self.registry.of(group, kind, version)
        if found is None:
            raise KeyError(f"{self.name} serves no {kind} in group {group!r}")
        return found

    def get(self, group: str, kind: str, namespace: str, name: str) -> Document | None:
        """An object as it stands, or None."""
        return self.objects.find(self.kind(group, kind), namespace, name)

    def list(self, group: str, kind: str, namespace: str = "") -> list[Document]:
        """All objects of a kind, sorted by namespace and name."""
        found = self.kind(group, kind)
        rows = sorted(self.store.rows(found.resource).items())
        return [self.objects.document(found, row) for key, row in rows if namespace in {"", key[0]}]

    def drift(
        self,
        group: str,
        kind: str,
        namespace: str,
        name: str,
        changes: Mapping[str, object],
        *,
        manager: str = "kubectl-edit",
        subresource: str = "",
    ) -> Document:
        """Change a live object as another writer would (a merge patch); the object afterwards."""
        found = self.kind(group, kind)
        change = parse_document(orjson.dumps(changes))

        def merged(old: Document) -> Document:
            made = merge_patch(old, change)
            return made if isinstance(made, dict) else old

        return self.objects.change(found, namespace, name, merged, WriteOptions(manager=manager), subresource).object

    def scale(self, kind: Kind, namespace: str, name: str, replicas: int, *, manager: str = "") -> Document:
        """Set replicas through the scale subresource, as an HPA does."""
        options = WriteOptions(manager=manager or "kube-controller-manager")
        target = Target("", "patch", kind.group, kind.version, namespace, kind.plural, name, "scale")

        def change(old: Document) -> Document:
            return {**old, "spec": {"replicas": replicas}}

        return virtual.write(self, kind, namespace, target, change, options)

    def inject_sidecar(self, name: str = "mesh", image: str = "sim.internal/mesh:1") -> None:
        """From now on each new pod gets one more container and a label, as by a mutating webhook."""

        def inject(kind: Kind, document: Document) -> None:
            spec = mapping_at(document, "spec")
            containers = documents_at(spec, "containers")
            if kind.resource != "pods" or any(text_at(one, "name") == name for one in containers):
                return
            sidecar: Document = {"name": name, "image": image, "resources": {}}
            default_container(sidecar)
            spec["containers"] = [*containers, sidecar]
            metadata = mapping_at(document, "metadata")
            metadata["labels"] = {**mapping_at(metadata, "labels"), f"sim.fleet.internal/{name}": "injected"}

        self.objects.injectors.append(inject)

    def create(self, document: Document, *, manager: str = "kubectl-create") -> Written:
        """Create an object as another writer would."""
        group, slash, version = text_at(document, "apiVersion").partition("/")
        if not slash:
            group, version = "", group
        kind = self.kind(group, text_at(document, "kind"), version)
        namespace = text_at(document, "metadata", "namespace") if kind.namespaced else ""
        return self.objects.create(kind, namespace, document, WriteOptions(manager=manager))

    def remove(self, group: str, kind: str, namespace: str, name: str, *, propagation: str = "Background") -> None:
        """Delete an object as another writer would."""
        self.objects.delete(self.kind(group, kind), namespace, name, propagation=propagation)

    def unserve(self, group: str, plural: str) -> None:
        """A CRD is gone: its kinds are served no more, their watches end."""
        self.registry.drop(group, plural)
        self.watches.close_resource(f"{plural}.{group}")

    def issue_token(self, namespace: str, name: str, uid: str = "") -> str:
        """A token of a ServiceAccount."""
        token = births.token()
        self.access.tokens[token] = service_account(namespace, name, uid)
        return token

    def user_token(self, name: str, *groups: str) -> str:
        """A token of a user with no rights but those that bindings give."""
        token = births.token()
        self.access.tokens[token] = User(name, (*groups, "system:authenticated"))
        return token

    def restore(self, snapshot: Snapshot, *, ahead: int = 0) -> None:
        """The store is put back to a snapshot of it, as etcd from a backup: all that was written since is undone.

        Kinds that are served, controllers and logs stay as they are. ahead: so many versions the history has gone on
        since, with writes that concern nobody.
        """
        self.store.restore(snapshot, ahead=ahead)
        self.cut()

    # Faults that change what is read

    def disguised(self, raw: bytes, target: Target, agent: str) -> bytes:
        """An object that was read, with a false UID where it is the cluster's identity and that fault is on."""
        return self.faults.disguised(raw, target, agent, self._false_identity)

    def past_row(self, kind: Kind, key: tuple[str, str], versions: int) -> Row:
        """An object (by namespace and name) as it was so many writes ago; raises ApiError 404 where it was not."""
        version = max(self.store.compacted, self.store.version - versions)
        row = self.store.rows_at(kind.resource, version).get(key)
        if row is None:
            raise not_found(kind.plural, kind.group, key[1])
        return row

    # Serving

    async def start(self, context: ssl.SSLContext, port: int = 0) -> None:
        """Listen on loopback."""
        await self._port.open(ApiServer(self).front, context, port)
        self._beat = asyncio.get_running_loop().create_task(self.watches.beat(), name=f"{self.name} bookmarks")
        self.controllers.start()

    def cut(self) -> None:
        """Break all open connections."""
        self.watches.close_all()
        self._port.cut()

    async def stop(self) -> None:
        """Close the port and everything open."""
        self.controllers.stop()
        self.faults.clear()
        self.watches.close_all()
        if self._beat is not None:
            self._beat.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._beat
        await self._port.close()
