"""A team that is limited to namespaces gets nothing outside of them, whatever its commit says of a kind (R29)."""

from __future__ import annotations

import asyncio
import uuid
from types import SimpleNamespace
from typing import Any

import pytest
from rig import CLUSTER, Hub, config_map
from testbed.controlplane import ControlPlane
from testbed.rest import Rest

from fleet.core.fleet import Mode, TeamRights
from fleet.core.ids import OverlayName, Revision, UnitName
from fleet.core.rollout import Apply, SyncRequest, UnitDesired, UnitPolicy
from fleet.core.sync_policy import SyncMode, SyncPolicy, Validate
from fleet.ports.kube import ServedKind
from fleet.ports.worker import UnitMemory
from fleet.reconcile.apply import Applier
from fleet.reconcile.memory import UnitState
from fleet.reconcile.not_ours import NotOurs
from fleet.reconcile.reading import read_bundle

ANY: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def definition(group: str, scope: str) -> dict[str, Any]:
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": ANY}}
    names = {"kind": "Rule", "plural": "rules", "singular": "rule", "listKind": "RuleList"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"rules.{group}"},
        "spec": {"group": group, "scope": scope, "names": names, "versions": [version]},
    }


def rule(group: str, namespace: str, name: str = "allow-all", **metadata: Any) -> dict[str, Any]:
    """A custom resource that says that it lives in the team's namespace."""
    return {
        "apiVersion": f"{group}/v1",
        "kind": "Rule",
        "metadata": {"name": name, "namespace": namespace, **metadata},
        "spec": {"allow": "*"},
    }


def team(*namespaces: str, kinds: tuple[str, ...] | None = None) -> TeamRights:
    return TeamRights("shop", ("teams/shop",), namespaces=namespaces, kinds=kinds)


@pytest.fixture
def client(api_server: ControlPlane) -> Rest:
    return api_server.client()


@pytest.fixture
def group() -> str:
    return f"g{uuid.uuid4().hex[:8]}.example.org"


async def define(client: Rest, group: str, scope: str) -> None:
    await asyncio.to_thread(client.apply, definition(group, scope))
    await asyncio.to_thread(client.wait, f"/apis/{group}/v1/rules", bool)


def is_refused(hub: Hub, unit: UnitName) -> bool:
    return unit in hub.units and hub.units[unit].reason == "NotAllowedForTeam"


async def test_a_teams_object_outside_of_namespaces_is_refused_with_its_whole_commit(
    hub: Hub, client: Rest, shop: str, group: str
) -> None:
    await define(client, group, "Cluster")
    maps, rights = f"/api/v1/namespaces/{shop}/configmaps", team(shop)
    unit = hub.want("web", [config_map(name, shop) for name in "abcdef"], team=rights)
    async with hub.worker():
        await hub.until_well(unit)
        kept = [config_map(name, shop) for name in "adef"]
        changed = [*kept, config_map("c", shop, {"x": "2"}), rule(group, shop)]
        hub.want("web", changed, commit="b", team=rights)
        await hub.until(lambda: is_refused(hub, unit), "refused")
        report = hub.units[unit]
        assert "kind Rule is outside namespaces" in report.message
        assert "team shop in fleet.yaml" in report.next_step
        assert any("NotAllowedForTeam" in link.reason for link in report.blocked_by)
        assert report.commit == Revision("a" * 40)
        client.delete(f"{maps}/a")  # what is as it was applied is healed all the same
        await asyncio.to_thread(client.wait, f"{maps}/a", bool)
        assert client.exists(f"{maps}/b")  # dropped by what was refused: it stays
        assert client.get(f"{maps}/c")["data"] == {"a": "1"}
        assert not client.exists(f"/apis/{group}/v1/rules/allow-all")
        hub.want("web", [*kept, config_map("c", shop)], commit="c", team=rights)
        await hub.until_well(unit)
    assert not client.exists(f"{maps}/b")


@pytest.mark.parametrize("kinds", [("Rule", "ConfigMap"), (), None], ids=["named", "in-a-namespace", "no-team"])
async def test_what_the_team_may_have_is_applied(
    hub: Hub, client: Rest, shop: str, group: str, kinds: tuple[str, ...] | None
) -> None:
    await define(client, group, "Cluster" if kinds != () else "Namespaced")
    rights = team(shop, kinds=kinds or None) if kinds is not None else None
    unit = hub.want("web", [rule(group, shop), config_map("a", shop)], team=rights)
    async with hub.worker():
        await hub.until_well(unit)
    path = f"namespaces/{shop}/rules" if kinds == () else "rules"
    assert client.exists(f"/apis/{group}/v1/{path}/allow-all")


async def test_a_kind_that_comes_later_is_judged_once_the_cluster_serves_it(
    hub: Hub, client: Rest, shop: str, group: str
) -> None:
    unit = hub.want("web", [rule(group, shop), config_map("a", shop)], team=team(shop))
    async with hub.worker():
        await hub.until(lambda: (s := hub.object(unit, "Rule", "allow-all")) and s.reason == "KindNotServed", "waits")
        bringer = hub.want("rules", [definition(group, "Cluster")], commit="b")
        await hub.until_well(bringer, seconds=60)
        await hub.until(lambda: is_refused(hub, unit), "refused", 60)
        await asyncio.sleep(0.5)
    assert not client.exists(f"/apis/{group}/v1/rules/allow-all")


async def test_a_teams_hook_outside_of_namespaces_is_refused_too(hub: Hub, client: Rest, shop: str, group: str) -> None:
    await define(client, group, "Cluster")
    hook = rule(group, shop, annotations={"fleet.internal/hook": "PreSync"})
    unit = hub.want("web", [hook, config_map("a", shop)], team=team(shop))
    async with hub.worker():
        await hub.until(lambda: is_refused(hub, unit), "refused")
        await asyncio.sleep(0.3)
    assert not client.exists(f"/apis/{group}/v1/rules/allow-all")
    assert not client.exists(f"/api/v1/namespaces/{shop}/configmaps/a")


async def test_what_a_team_claims_in_vain_stays_the_unit_that_has_it(
    hub: Hub, client: Rest, shop: str, group: str
) -> None:
    await define(client, group, "Cluster")
    platform = hub.want("platform", [rule(group, "")])
    unit = hub.want("web", [rule(group, shop), config_map("a", shop)], team=team(shop))
    async with hub.worker():
        await hub.until(lambda: is_refused(hub, unit), "refused")
        await hub.until_well(platform)
        client.merge(f"/apis/{group}/v1/rules/allow-all", {"spec": {"allow": "nothing"}})
        await asyncio.to_thread(
            client.wait, f"/apis/{group}/v1/rules/allow-all", lambda seen: seen and seen["spec"]["allow"] == "*"
        )
        await hub.until_well(platform)


async def test_a_persons_sync_passes_no_limit_of_a_team(hub: Hub, client: Rest, shop: str, group: str) -> None:
    await define(client, group, "Cluster")
    manual = SyncPolicy(mode=SyncMode.MANUAL, validate=Validate.SCHEMA)
    unit = hub.want("web", [rule(group, shop)], team=team(shop), sync=manual)
    async with hub.worker():
        await hub.until(lambda: is_refused(hub, unit), "refused")
        asked = hub.bundle_of([rule(group, shop)]).digest
        hub.send_desired(requests=[SyncRequest("op", unit, override=True, bundle=asked)])
        result = await hub.until(lambda: hub.results and hub.results[-1], "ended")
        assert (result.outcome, "NotAllowedForTeam" in result.message) == ("refused", True)
    assert not client.exists(f"/apis/{group}/v1/rules/allow-all")


async def test_observing_says_what_a_team_may_not_have(hub: Hub, client: Rest, shop: str, group: str) -> None:
    await define(client, group, "Cluster")
    hub.mode = Mode.OBSERVE
    unit = hub.want("web", [rule(group, shop)], team=team(shop))
    async with hub.worker():
        await hub.until(lambda: is_refused(hub, unit), "said")


class _Site:
    """As much of a site as a list of objects and a write ask for."""

    cluster = "eu-1"
    catalog_version = 1
    found: ServedKind | None = None

    def served(self, *_: Any) -> ServedKind | None:
        return self.found


@pytest.mark.parametrize("namespaced", [False, True])
async def test_where_a_kind_lives_is_asked_again_at_the_write(hub: Hub, group: str, namespaced: bool) -> None:
    """The list was made before the cluster served the kind; another unit's pass learnt it meanwhile."""
    bundle = hub.bundle_of([rule(group, "shop")])
    name, site = UnitName(OverlayName("web"), CLUSTER), _Site()
    desired = UnitDesired(name, Revision("a"), Apply(bundle.digest), UnitPolicy(team=team("shop")))
    unit = UnitState(name, UnitMemory(name), desired)
    site.library, site.mark = SimpleNamespace(bundle=hub.bundle), lambda _: SimpleNamespace()  # type: ignore[attr-defined]
    site.claims = SimpleNamespace(put=lambda _: frozenset())  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fleet.reconcile.reading.desired_digest_of", lambda *_: bundle.digest)
        patch.setattr("fleet.reconcile.reading.forget_settled", lambda *_: None)
        await read_bundle(site, unit, desired)  # type: ignore[arg-type]
    site.found = ServedKind(group, "v1", "Rule", "rules", namespaced, frozenset())
    (item,) = unit.wanted.values()
    applier = Applier(site)  # type: ignore[arg-type]
    if namespaced:
        applier.refuse_forbidden(unit, item)
        return
    with pytest.raises(NotOurs) as raised:
        applier.refuse_forbidden(unit, item)
    assert raised.value.error.reason == "NotAllowedForTeam"
