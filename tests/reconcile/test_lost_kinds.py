"""What becomes of a kind that the cluster shows no more, everywhere or in one namespace (R5, R18, R19, R21)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Any

from hypothesis import given
from hypothesis.strategies import dictionaries, lists, sampled_from, sets, tuples
from rig import config_map
from simulated import SHOP, SimHub
from two_hubs import WAITS_SECONDS, seen_there

from fleet.core.ids import ObjectRef
from fleet.core.status import Sync
from fleet.errors import Forbidden
from fleet.ports.kube import Lost, Seen, ServedKind
from fleet.reconcile.memory import KindView, LiveView, Part

TENANT = "tenant-new"


class Least:
    """A connection whose role holds Secrets in no namespace of these, nor everywhere."""

    def __init__(self, kube: Any, without: Collection[str]) -> None:
        self._kube, self._without = kube, without

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kube, name)

    def _check(self, kind: ServedKind, namespace: str) -> None:
        if kind.kind == "Secret" and (not namespace or namespace in self._without):
            raise Forbidden(f"cannot reach secrets in {namespace or 'all namespaces'}")

    async def follow(self, kind: ServedKind, *, namespace: str = "", **options: Any) -> AsyncIterator[Seen]:
        """Checked anew with each event, as a right that is taken away ends a watch."""
        while True:
            try:
                self._check(kind, namespace)
                async for seen in self._kube.follow(kind, namespace=namespace, **options):
                    self._check(kind, namespace)
                    yield seen
            except Forbidden as error:
                yield Lost(error.reason, error.brief)
                await asyncio.sleep(0.1)

    async def list(self, kind: ServedKind, *, namespace: str = "", **options: Any) -> Any:
        self._check(kind, namespace)
        return await self._kube.list(kind, namespace=namespace, **options)

    async def get(self, kind: ServedKind, namespace: str, name: str, **options: Any) -> Any:
        self._check(kind, namespace)
        return await self._kube.get(kind, namespace, name, **options)

    async def apply(self, kind: ServedKind, namespace: str, name: str, *arguments: Any, **options: Any) -> Any:
        self._check(kind, namespace)
        return await self._kube.apply(kind, namespace, name, *arguments, **options)


def secret(namespace: str, value: str = "1", name: str = "s") -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"p": value}}


def tenant_of(hub: SimHub) -> None:
    hub.cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": TENANT}})


def is_there(hub: SimHub, kind: str, name: str, namespace: str = SHOP) -> bool:
    return hub.cluster.get("", kind, namespace, name) is not None


async def test_a_namespace_without_rights_stops_no_unit_that_has_nothing_there(first: SimHub) -> None:
    tenant_of(first)
    first.between = lambda kube: Least(kube, {TENANT})
    old = [secret(SHOP), secret(SHOP, name="old"), config_map("a", SHOP)]
    web = first.want("web", old)
    async with first.worker():
        await first.until_well(web)
        tenant = first.want("tenant", [secret(TENANT)])
        found = await first.until(lambda: (u := first.units.get(tenant)) and u.reason == "Forbidden" and u, "named")
        assert TENANT in found.message
        assert first.units[web].sync is Sync.SYNCED
        first.want("web", [secret(SHOP, "2"), config_map("a", SHOP), config_map("n", SHOP)], commit="b")
        await first.until_well(web)
        assert is_there(first, "ConfigMap", "n")
        await seen_there(lambda: not is_there(first, "Secret", "old"))
        first.cluster.drift("", "Secret", SHOP, "s", {"data": {"p": "eA=="}})
        await seen_there(lambda: first.cluster.get("", "Secret", SHOP, "s")["data"] == {"p": "Mg=="})
        assert first.units[tenant].reason == "Forbidden"


async def test_a_unit_that_has_objects_in_a_namespace_without_rights_deletes_none_of_the_kind_anywhere(
    first: SimHub,
) -> None:
    tenant_of(first)
    without: set[str] = set()
    first.between = lambda kube: Least(kube, without)
    others = [config_map(name, SHOP) for name in "bcdefghijk"]  # so that what goes is few
    web = first.want("web", [secret(SHOP), secret(TENANT), config_map("a", SHOP), *others])
    async with first.worker():
        await first.until_well(web)
        without.add(TENANT)
        first.cluster.drift("", "Secret", TENANT, "s", {"metadata": {"annotations": {"a": "b"}}})  # ends its watch
        first.want("web", [config_map("a", SHOP, {"a": "2"}), *others], commit="b")
        await seen_there(lambda: first.cluster.get("", "ConfigMap", SHOP, "a")["data"] == {"a": "2"})
        await asyncio.sleep(WAITS_SECONDS)
        assert is_there(first, "Secret", "s")
        assert is_there(first, "Secret", "s", TENANT)
        without.clear()
        await seen_there(lambda: not is_there(first, "Secret", "s"))
        await seen_there(lambda: not is_there(first, "Secret", "s", TENANT))


NAMESPACES = ["", "a", "b", "c"]
PARTS = dictionaries(sampled_from(NAMESPACES), sampled_from(["", "NotListed", "Forbidden"]))
PLACES = sets(tuples(sampled_from(["Secret", "ConfigMap", "Role"]), sampled_from(NAMESPACES)))


@given(secrets=PARTS, maps=PARTS, places=PLACES, names=lists(sampled_from("xy"), min_size=1, max_size=2))
def test_a_kind_is_listed_only_where_each_of_its_objects_would_surely_show(
    secrets: dict[str, str], maps: dict[str, str], places: set[tuple[str, str]], names: list[str]
) -> None:
    view = LiveView()
    for kind, parts in {"Secret": secrets, "ConfigMap": maps}.items():
        served = ServedKind("", "v1", kind, f"{kind.lower()}s", True, frozenset({"list", "watch"}))
        view.kinds["", kind] = KindView(served, parts={ns: Part(ns, unknown) for ns, unknown in parts.items()})
    refs = {ObjectRef("", kind, namespace, name) for kind, namespace in places for name in names}
    shows = {"Secret": secrets, "ConfigMap": maps, "Role": dict[str, str]()}
    for kind in {kind for kind, _ in places}:
        parts = shows[kind]
        surely = all(parts.get(ns, parts.get("", "?")) == "" for other, ns in places if other == kind)
        assert (("", kind) in view.listed(refs)) is surely
    assert not view.listed(set())
