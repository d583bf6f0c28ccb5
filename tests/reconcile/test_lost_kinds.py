"""What becomes of a kind that the cluster shows no more, everywhere or in one namespace (R5, R18, R19, R21)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis.strategies import dictionaries, lists, sampled_from, sets, tuples
from rig import config_map
from simulated import SHOP, SimHub
from two_hubs import WAITS_SECONDS, seen_there

from fleet.core.fold import MISSED_LIMIT
from fleet.core.ids import ObjectRef
from fleet.core.status import EventKind, Health, Sync
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


class Trouble:
    """Of the streams of one kind: from their next word on, until it is over."""

    def __init__(self, reason: str) -> None:
        self.reason, self.is_wanted, self.is_met = reason, False, False

    async def begins(self, stir: Callable[[], object]) -> None:
        """stir: what makes the streams say something."""
        self.is_wanted = True
        stir()
        await seen_there(lambda: self.is_met)

    def ends(self) -> None:
        self.is_wanted = self.is_met = False


class Broken:
    """A connection whose streams of one kind have trouble."""

    def __init__(self, kube: Any, kind: str, trouble: Trouble) -> None:
        self._kube, self._kind, self._trouble = kube, kind, trouble

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kube, name)

    async def follow(self, kind: ServedKind, **options: Any) -> AsyncIterator[Seen]:
        trouble = self._trouble
        while True:
            async for seen in self._kube.follow(kind, **options):
                if kind.kind == self._kind and trouble.is_wanted:
                    break
                yield seen
            while trouble.is_wanted:
                yield Lost(trouble.reason, "cannot list deployments: 500")
                trouble.is_met = True
                await asyncio.sleep(0.05)


def deployment() -> dict[str, Any]:
    container = {"name": "c", "image": "i"}
    template = {"metadata": {"labels": {"a": "d"}}, "spec": {"containers": [container]}}
    spec = {"replicas": 3, "selector": {"matchLabels": {"a": "d"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": SHOP}, "spec": spec}


def breaking(hub: SimHub, seconds: float, reason: str = "ServerFailed") -> Trouble:
    """Trouble of Deployments; what was told is believed for so long."""
    trouble = Trouble(reason)
    hub.between = lambda kube: Broken(kube, "Deployment", trouble)
    hub.limits = replace(hub.limits, watched_seconds=seconds / MISSED_LIMIT, report_seconds=0.1)
    return trouble


def scale_to_nothing(hub: SimHub) -> None:
    hub.cluster.drift("apps", "Deployment", SHOP, "d", {"spec": {"replicas": 0}})


def touch(hub: SimHub, group: str, kind: str, name: str) -> None:
    """Something that concerns nobody."""
    hub.cluster.drift(group, kind, SHOP, name, {"metadata": {"annotations": {"theirs": str(time.time())}}})


async def test_objects_of_a_kind_that_is_lost_are_unknown_after_three_intervals(first: SimHub) -> None:
    trouble = breaking(first, 1.5)
    web, other = first.want("web", [deployment(), config_map("a", SHOP)]), first.want("api", [config_map("b", SHOP)])
    async with first.worker():
        await first.until_well(web, other)
        began = time.monotonic()
        await trouble.begins(lambda: scale_to_nothing(first))
        await first.until(lambda: first.units[web].reason == "ServerFailed", "said")
        assert time.monotonic() - began > 0.5
        found = first.object(web, "Deployment", "d")
        assert (found.sync, found.health, found.reason) == (Sync.UNKNOWN, Health.UNKNOWN, "ServerFailed")
        assert (first.units[web].sync, first.units[web].health) == (Sync.UNKNOWN, Health.UNKNOWN)
        assert first.object(web, "ConfigMap", "a").health is Health.HEALTHY
        assert first.is_well(other)
        assert first.reports[-1].reachable
        assert first.told(EventKind.FAILED, "ServerFailed")
        trouble.ends()
        await first.until_well(web)
        await seen_there(lambda: first.cluster.get("apps", "Deployment", SHOP, "d")["spec"]["replicas"] == 3)


async def test_a_stream_that_is_well_again_in_time_changes_no_status(first: SimHub) -> None:
    trouble = breaking(first, 60.0)
    web = first.want("web", [deployment(), config_map("a", SHOP)])
    async with first.worker():
        await first.until_well(web)
        said = len(first.reports)
        await trouble.begins(lambda: touch(first, "apps", "Deployment", "d"))
        broke = time.time()
        await first.until(lambda: first.reports[-1].at > broke + WAITS_SECONDS / 2, "time passed")
        touch(first, "", "ConfigMap", "a")
        await first.until(lambda: first.reports[-1].at > broke + WAITS_SECONDS, "and the other kind told something")
        assert first.reports[-1].known_at <= broke, "it is as old as the stream that broke"
        trouble.ends()
        await first.until(lambda: first.reports[-1].known_at > broke, "known again")
        units = [unit for report in first.reports[said:] for unit in report.units]
        assert all((unit.sync, unit.health, unit.reason) == (Sync.SYNCED, Health.HEALTHY, "") for unit in units)
        assert not first.told(EventKind.FAILED)


async def test_a_commit_that_meets_a_kind_that_is_lost_says_at_once_what_is_not_applied(first: SimHub) -> None:
    trouble = breaking(first, 60.0)
    web = first.want("web", [deployment(), config_map("a", SHOP)])
    async with first.worker():
        await first.until_well(web)
        await trouble.begins(lambda: scale_to_nothing(first))
        first.want("web", [deployment(), config_map("a", SHOP, {"a": "2"})], commit="b")
        await first.until(lambda: first.units[web].sync is Sync.UNKNOWN and first.units[web].message, "said")
        found = first.units[web]
        assert "Deployment default/d is not applied" in found.message
        assert "cannot list deployments: 500" in found.message
        assert found.commit[0] == "a"
        trouble.ends()
        await first.until_well(web)


async def test_units_of_a_cluster_that_is_not_reached_stay_as_they_were_told(first: SimHub) -> None:
    """The hub says that it is not reached, and how each unit was; once it is, what no stream shows is Unknown."""
    trouble, maps = breaking(first, 0.6, "ClusterUnreachable"), Trouble("ClusterUnreachable")
    inner = first.between
    first.between = lambda kube: Broken(inner(kube) if inner else kube, "ConfigMap", maps)
    web = first.want("web", [deployment(), config_map("a", SHOP)])
    async with first.worker():
        await first.until_well(web)
        maps.is_wanted = True
        await trouble.begins(lambda: (scale_to_nothing(first), touch(first, "", "ConfigMap", "a")))
        await first.until(lambda: not first.reports[-1].reachable, "not reached")
        at = first.reports[-1].at
        await first.until(lambda: first.reports[-1].at > at + WAITS_SECONDS, "three intervals")
        assert (first.units[web].sync, first.units[web].health) == (Sync.SYNCED, Health.HEALTHY)
        maps.ends()
        await first.until(lambda: first.object(web, "Deployment", "d").health is Health.UNKNOWN, "Unknown")
        assert first.reports[-1].reachable
        assert first.object(web, "ConfigMap", "a").health is Health.HEALTHY
        trouble.ends()
        await first.until_well(web)
        assert not first.told(EventKind.FAILED), "it was not the unit that failed"


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
