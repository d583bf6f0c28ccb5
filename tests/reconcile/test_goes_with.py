"""What goes along with an approved object is what the cluster holds then, whoever made or wants it (R5, R9, R10)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from rig import SECONDS, config_map
from simulated import SHOP, SimHub

from fleet.core.documents import text_at
from fleet.core.guard import Approved
from fleet.core.ids import ClusterName, Digest, ObjectRef, OverlayName, UnitName
from fleet.core.planning.approval import ApprovalState, Broken, Covered, Going, PlanApproval, judge_hold
from fleet.core.results import EMPTY_BUNDLE
from fleet.core.rollout import Apply
from fleet.core.status import HoldRequest

UNIT = UnitName(OverlayName("web"), ClusterName("eu-1"))
SPACE: dict[str, Any] = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "space"}}
KEPT = [config_map(f"kept-{number}", SHOP) for number in range(12)]
GROUP = "db.example.com"
THE_WEB = ObjectRef("apps", "Deployment", "space", "web")
THE_SPACE, THE_SET = ObjectRef("", "Namespace", "", "space"), ObjectRef("apps", "StatefulSet", SHOP, "db")


def definition(plural: str, kind: str) -> dict[str, Any]:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "scope": "Namespaced",
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }


def database(name: str, *owners: dict[str, str]) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": "space"}
    if owners:
        metadata["ownerReferences"] = list(owners)
    return {"apiVersion": f"{GROUP}/v1", "kind": "Database", "metadata": metadata, "spec": {"size": "2Ti"}}


def approvals(hold: HoldRequest) -> list[Approved]:
    return [Approved(item.ref, item.uid, item.content or Digest(""), item.inside) for item in hold.deletions]


def by_plan(hold: HoldRequest) -> PlanApproval:
    """An approval of this very list that was given before the merge."""
    going = tuple(Going(UNIT, item.ref, item.uid, item.content or Digest("")) for item in hold.deletions)
    bound = ApprovalState.BOUND
    return PlanApproval(Digest("d"), frozenset({UNIT}), going, frozenset(), "jo", "", 0, 1e12, bound, hold.commit)


async def held(hub: SimHub, documents: list[dict[str, Any]]) -> HoldRequest:
    """What a person is asked who drops the rest."""
    hub.want("web", documents, commit="b")
    return (await hub.until(lambda: hub.units[UNIT].holds, "a hold"))[0]


async def asked_anew(hub: SimHub, documents: list[dict[str, Any]], hold: HoldRequest) -> HoldRequest:
    """What a person is asked after the approval of another list."""
    hub.want("web", documents, commit="b", approved=approvals(hold))
    return (await hub.until(lambda: (now := hub.units[UNIT].holds) and now[0] != hold and now, "asked anew"))[0]


async def goes(hub: SimHub, documents: list[dict[str, Any]], hold: HoldRequest, ref: ObjectRef) -> None:
    hub.want("web", documents, commit="b", approved=approvals(hold))
    await hub.until(lambda: not stands(hub, ref), f"{ref} goes as it was shown")


async def serve(hub: SimHub) -> None:
    """Databases come to be a kind of the cluster, by an operator of somebody else's."""
    hub.cluster.create(definition("databases", "Database"))
    async with asyncio.timeout(SECONDS):
        while hub.cluster.registry.of(GROUP, "Database") is None:
            await asyncio.sleep(0.01)


def stands(hub: SimHub, ref: ObjectRef) -> bool:
    found = hub.cluster.get(ref.group, ref.kind, ref.namespace, ref.name)
    return found is not None and "deletionTimestamp" not in found["metadata"]


@pytest.mark.parametrize("known", [True, False], ids=["known before", "came since"])
async def test_objects_of_a_kind_that_came_since_the_connection_are_shown(first: SimHub, known: bool) -> None:
    if known:
        await serve(first)
    first.want("web", [SPACE, *KEPT])
    async with first.worker():
        await first.until_well(UNIT)
        if not known:
            await serve(first)
        first.cluster.create(database("orders"))
        hold = await held(first, KEPT)
        assert hold.deletions[0].goes_with == ("1 object, 1 of them not from this repo", "Database orders")
        assert isinstance(judge_hold(by_plan(hold), [hold], now=1), Broken)
        await goes(first, KEPT, hold, THE_SPACE)


async def test_an_approval_of_a_namespace_is_void_for_a_kind_that_came_since(first: SimHub) -> None:
    first.want("web", [SPACE, *KEPT])
    async with first.worker():
        await first.until_well(UNIT)
        hold = await held(first, KEPT)
        assert hold.deletions[0].goes_with == ("no objects",)
        await serve(first)
        first.cluster.create(database("orders"))
        again = await asked_anew(first, KEPT, hold)
        assert again.deletions[0].goes_with[1] == "Database orders"
        assert stands(first, THE_SPACE)
        await goes(first, KEPT, again, THE_SPACE)


async def test_what_git_still_wants_in_a_namespace_goes_along_and_is_in_no_plan(first: SimHub) -> None:
    wanted = config_map("wanted", "space")
    first.want("web", [SPACE, wanted, *KEPT])
    async with first.worker():
        await first.until_well(UNIT)
        hold = await held(first, [wanted, *KEPT])
        (item,) = hold.deletions
        assert item.goes_with == ("1 object", "from this repo, not in this list: ConfigMap wanted")
        assert isinstance(judge_hold(by_plan(hold), [hold], now=1), Broken)
        assert stands(first, THE_SPACE)


@pytest.mark.parametrize("wiped", [False, True], ids=["dropped", "wiped"])
async def test_what_another_unit_has_in_a_namespace_goes_along_and_is_named(first: SimHub, wiped: bool) -> None:
    own, other = config_map("own", "space"), UnitName(OverlayName("other"), UNIT.cluster)
    first.want("web", [SPACE, own, *KEPT])
    async with first.worker():
        await first.until_well(UNIT)
        first.want("other", [config_map("theirs", "space")])
        await first.until_well(other)
        if wiped:
            first.bundles[EMPTY_BUNDLE.digest] = EMPTY_BUNDLE
            first.want("web", commit="b", action=Apply(EMPTY_BUNDLE.digest, wipe="jo"), allow_empty=True)
            hold = (await first.until(lambda: first.units[UNIT].holds, "a hold"))[0]
        else:
            hold = await held(first, KEPT)
        space = next(item for item in hold.deletions if item.ref == THE_SPACE)
        assert space.goes_with == ("2 objects", "from this repo, not in this list: ConfigMap theirs")
        assert len(space.inside) == 1
        assert isinstance(judge_hold(by_plan(hold), [hold], now=1), Broken)


@pytest.mark.parametrize("inside", [True, False], ids=["with an object", "with none"])
async def test_what_git_wants_goes_along_with_a_definition_that_is_made_anew(first: SimHub, inside: bool) -> None:
    crd = definition("databases", "Database")
    crd["metadata"]["annotations"] = {"fleet.internal/replace": "enabled"}
    wanted = [{**SPACE}, *([database("orders")] if inside else [])]
    first.want("web", [crd, *wanted, *KEPT])
    async with first.worker():
        await first.until_well(UNIT)
        wide = {**crd, "spec": {**crd["spec"], "scope": "Cluster"}}
        hold = await held(first, [wide, *wanted, *KEPT])
        (item,) = hold.deletions
        if inside:
            line = "from this repo, not in this list: Database orders"
            assert item.goes_with == ("1 Database object in 1 namespace", line)
            assert len(item.inside) == 1
        else:
            assert (item.goes_with, item.inside) == (("no Database exists",), ())


async def test_what_is_wanted_again_after_the_approval_does_not_go_along(first: SimHub) -> None:
    """The list had a line of its own for it, which is none any more."""
    inside = config_map("inside", "space")
    first.want("web", [SPACE, inside, *KEPT])
    async with first.worker():
        await first.until_well(UNIT)
        hold = await held(first, KEPT)
        first.want("web", [inside, *KEPT], commit="b", approved=approvals(hold))
        await first.until(
            lambda: (now := first.units[UNIT].holds) and len(now[0].deletions) == 1 and now[0].deletions[0].inside,
            "asked about what is inside",
        )
        assert stands(first, THE_SPACE)


async def test_what_goes_by_the_same_list_is_not_inside_as_well(first: SimHub) -> None:
    inside = [config_map(f"inside-{number}", "space") for number in range(3)]
    first.want("web", [SPACE, *inside, *KEPT])
    async with first.worker():
        await first.until_well(UNIT)
        hold = await held(first, KEPT)
        assert len(hold.deletions) == 4
        assert not any(item.inside for item in hold.deletions)
        assert judge_hold(by_plan(hold), [hold], now=1) == Covered()
        await goes(first, KEPT, hold, THE_SPACE)


@pytest.mark.parametrize("late", [True, False], ids=["comes amid it", "comes never"])
async def test_what_comes_amid_the_pass_that_deletes_the_rest_is_asked_about(
    first: SimHub, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """A long pass comes to the Namespace minutes after it was judged."""
    monkeypatch.setattr("fleet.reconcile.losses._LATELY_SECONDS", 0.0)

    class Meddling:
        def __init__(self, kube: Any) -> None:
            self._kube = kube

        def __getattr__(self, name: str) -> Any:
            return getattr(self._kube, name)

        async def delete(self, kind: Any, namespace: str, name: str, **options: Any) -> Any:
            if name == "inside" and late:
                first.cluster.create(config_map("late", "space"))
            return await self._kube.delete(kind, namespace, name, **options)

    first.between = Meddling
    inside = config_map("inside", "space")
    first.want("web", [SPACE, inside, *KEPT])
    async with first.worker():
        await first.until_well(UNIT)
        hold = await held(first, KEPT)
        if not late:
            await goes(first, KEPT, hold, THE_SPACE)
            return
        again = await asked_anew(first, KEPT, hold)
        assert again.deletions[0].goes_with[1] == "ConfigMap late"
        assert stands(first, THE_SPACE)


def deployment() -> dict[str, Any]:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "space"},
        "spec": spec,
    }


def owned_by(kind: str, owner: dict[str, Any]) -> dict[str, Any]:
    """Of the kind, and there for a while once it is deleted."""
    metadata: dict[str, Any] = {"name": "web-1", "namespace": "space", "finalizers": ["example.com/grace"]}
    reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], **owner["metadata"]}
    metadata["ownerReferences"] = [{name: reference[name] for name in ("apiVersion", "kind", "name", "uid")}]
    spec = deployment()["spec"]
    if kind == "Pod":
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec["template"]["spec"]}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": spec}


@pytest.mark.parametrize("foreign", [False, True], ids=["of the list", "of a node"])
async def test_what_an_object_of_the_list_leaves_behind_does_not_void_its_own_approval(
    first: SimHub, monkeypatch: pytest.MonkeyPatch, foreign: bool
) -> None:
    """The Deployment goes before the Namespace, and what it owned a little later."""
    monkeypatch.setattr("fleet.reconcile.losses._LATELY_SECONDS", 0.0)
    first.want("web", [SPACE, deployment(), *KEPT])
    async with first.worker():
        await first.until(lambda: UNIT in first.units and stands(first, THE_WEB), "applied")
        owner = first.cluster.get("apps", "Deployment", "space", "web") or {}
        replicas = first.cluster.create(owned_by("ReplicaSet", owner)).object
        first.cluster.create(owned_by("Pod", replicas))
        hold = await held(first, KEPT)
        space = next(item for item in hold.deletions if item.ref == THE_SPACE)
        assert (len(hold.deletions), space.inside) == (2, ())
        if not foreign:
            await goes(first, KEPT, hold, THE_SPACE)
            return
        static = owned_by("Pod", first.cluster.get("", "Node", "", "node-1") or {})
        static["metadata"]["name"] = "static"
        first.cluster.create(static)
        again = await asked_anew(first, KEPT, hold)
        assert "Pod static" in again.deletions[-1].goes_with
        assert stands(first, THE_SPACE)


async def test_what_is_kept_by_its_annotation_goes_along_with_its_namespace_all_the_same(first: SimHub) -> None:
    inside = config_map("inside", "space")
    inside["metadata"]["annotations"] = {"fleet.internal/prune": "disabled"}
    first.want("web", [SPACE, inside, *KEPT])
    async with first.worker():
        await first.until_well(UNIT)
        hold = await held(first, KEPT)
        assert [item.ref for item in hold.deletions] == [THE_SPACE]
        assert hold.deletions[0].goes_with[1] == "from this repo, not in this list: ConfigMap inside"
        assert hold.deletions[0].inside


@pytest.mark.parametrize(
    ("seen", "new"),
    [(False, False), (False, True), (True, False), (True, True)],
    ids=["nobody's", "the first owned", "nobody's beside owned", "one more owned"],
)
async def test_an_approval_of_a_definition_is_void_for_custom_resources_that_came_since(
    first: SimHub, seen: bool, new: bool
) -> None:
    """Those that have an owner come and go by themselves, and are one thing."""
    crd = definition("databases", "Database")
    ref = ObjectRef("apiextensions.k8s.io", "CustomResourceDefinition", "", f"databases.{GROUP}")
    node = first.cluster.get("", "Node", "", "node-1") or {}
    uid = text_at(node, "metadata", "uid")
    owner = {"apiVersion": "v1", "kind": "Node", "name": "node-1", "uid": uid}
    first.cluster.create(SPACE)
    first.want("web", [crd, *KEPT])
    async with first.worker():
        await first.until_well(UNIT)
        first.cluster.create(database("seen", *[owner] * seen))
        hold = await held(first, KEPT)
        assert hold.deletions[0].goes_with == ("1 Database object in 1 namespace, 1 of them not from this repo",)
        assert isinstance(judge_hold(by_plan(hold), [hold], now=1), Broken)
        first.cluster.create(database("new", *[owner] * new))
        if seen and new:
            await goes(first, KEPT, hold, ref)
            return
        again = await asked_anew(first, KEPT, hold)
        assert stands(first, ref)
        await goes(first, KEPT, again, ref)


def stateful_set(when_deleted: str) -> dict[str, Any]:
    labels = {"app": "db"}
    claims = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "db", "namespace": SHOP},
        "spec": {
            "replicas": 1,
            "serviceName": "db",
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "x"}]}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claims}],
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": when_deleted},
        },
    }


async def asked_about_the_set(hub: SimHub, when_deleted: str) -> HoldRequest:
    hub.want("web", [stateful_set(when_deleted), *KEPT])
    await hub.until_well(UNIT)
    assert hub.cluster.get("", "PersistentVolumeClaim", SHOP, "data-db-0") is not None
    return await held(hub, KEPT)


async def test_a_plan_does_not_say_which_claims_go_with_a_stateful_set(first: SimHub) -> None:
    async with first.worker():
        hold = await asked_about_the_set(first, "Delete")
        assert hold.deletions[0].goes_with[1].startswith("PVC data-db-0 10 GiB (")
        assert isinstance(judge_hold(by_plan(hold), [hold], now=1), Broken)
        await goes(first, KEPT, hold, THE_SET)


async def test_a_stateful_set_that_leaves_its_claims_goes_by_its_plan(first: SimHub) -> None:
    async with first.worker():
        hold = await asked_about_the_set(first, "Retain")
        assert hold.deletions[0].goes_with == ("1 pod", "PVC data-db-N 10 GiB of each pod stays")
        assert judge_hold(by_plan(hold), [hold], now=1) == Covered()
        await goes(first, KEPT, hold, THE_SET)
