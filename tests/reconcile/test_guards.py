from __future__ import annotations

import asyncio
from typing import Any

import pytest
from rig import Hub, JournalEntry, config_map, notes
from testbed.controlplane import ControlPlane

from fleet.core.fleet import Mode
from fleet.core.guard import Approved
from fleet.core.ids import ClusterName, Identity, OverlayName, UnitName
from fleet.core.rollout import Desired, Detach, SyncRequest, UnknownDesired
from fleet.core.rollout import Hold as HoldOrder
from fleet.core.status import EventKind, Health, Standing, Sync
from fleet.core.sync_policy import (
    Adopt,
    Suspension,
    SyncMode,
    SyncPolicy,
    Validate,
    Window,
    WindowKind,
)
from fleet.reconcile.limits import WorkerLimits
from fleet.store.memory_journal import MemoryJournal

SCHEMA = SyncPolicy(validate=Validate.SCHEMA)
NO_DIFF = SyncPolicy(validate=Validate.SCHEMA, adopt=Adopt.IF_NO_DIFF)


def path(shop: str, name: str = "") -> str:
    return f"/api/v1/namespaces/{shop}/configmaps" + (f"/{name}" if name else "")


def names(client, shop: str) -> list[str]:
    return sorted(item["metadata"]["name"] for item in client.get(path(shop))["items"])


async def test_a_foreign_object_is_named_with_its_owner_and_left_alone(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    client.apply(config_map("mine", shop, {"a": "theirs"}), manager="helm")
    unit = hub.want("web", [config_map("mine", shop), config_map("b", shop)])
    async with hub.worker():
        status = await hub.until(lambda: (s := hub.object(unit, "ConfigMap", "mine")) and s.reason and s, "foreign")
        assert status.reason == "ObjectForeign"
        assert "helm" in status.message
        assert client.get(path(shop, "mine"))["data"] == {"a": "theirs"}
        assert client.get(path(shop, "b"))["data"] == {"a": "1"}
        assert hub.units[unit].reason == "ObjectForeign"


async def test_a_foreign_object_that_is_removed_is_made_at_the_next_try(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    client.apply(config_map("mine", shop, {"a": "theirs"}), manager="helm")
    unit = hub.want("web", [config_map("mine", shop), config_map("b", shop)])
    async with hub.worker():
        await hub.until(lambda: (s := hub.object(unit, "ConfigMap", "mine")) and s.reason == "ObjectForeign", "foreign")
        client.delete(path(shop, "mine"))
        await hub.until_well(unit, seconds=40)
        assert client.get(path(shop, "mine"))["data"] == {"a": "1"}


async def test_a_foreign_object_that_is_being_deleted_is_made_once_it_is_gone(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    client.create(config_map("mine", shop, {"a": "theirs"}, finalizers=["example.com/hold"]))
    client.delete(path(shop, "mine"))
    hub.limits = WorkerLimits(watch_seconds=0.2)
    unit = hub.want("web", [config_map("mine", shop), config_map("b", shop)])
    async with hub.worker():
        await hub.until(lambda: (s := hub.object(unit, "ConfigMap", "b")) and s.sync is Sync.SYNCED, "the other one")
        assert "is being deleted" in hub.object(unit, "ConfigMap", "mine").message
        client.merge(path(shop, "mine"), {"metadata": {"finalizers": None}})
        await hub.until_well(unit)
        assert client.get(path(shop, "mine"))["data"] == {"a": "1"}


def foundation(kind: str, shop: str) -> tuple[str, dict[str, Any]]:
    """Where all of its kind are on the server, and one of them."""
    if kind == "Namespace":
        return "/api/v1/namespaces", {"apiVersion": "v1", "kind": kind, "metadata": {"name": shop}}
    group = f"{shop}.example.com"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    spec = {
        "group": group,
        "names": {"kind": "Widget", "plural": "widgets"},
        "scope": "Namespaced",
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
    }
    version, metadata = "apiextensions.k8s.io/v1", {"name": f"widgets.{group}"}
    made = {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}
    return f"/apis/{version}/customresourcedefinitions", made


@pytest.mark.parametrize("sync", [SCHEMA, NO_DIFF], ids=["never", "ifNoDiff"])
@pytest.mark.parametrize("kind", ["Namespace", "CustomResourceDefinition"])
async def test_what_stands_on_somebody_elses_namespace_or_definition_is_applied(
    hub: Hub, api_server: ControlPlane, shop: str, kind: str, sync: SyncPolicy
) -> None:
    client, (place, made) = api_server.client(), foundation(kind, shop)
    if kind != "Namespace":  # that one is there
        client.apply(made, manager="helm")
    name = made["metadata"]["name"]
    uid = client.get(f"{place}/{name}")["metadata"]["uid"]
    wanted = {**made, "metadata": {"name": name, "labels": {"team": "shop"}}}
    unit = hub.want("web", [wanted, config_map("a", shop)], sync=sync)
    async with hub.worker():
        await hub.until(lambda: (s := hub.object(unit, "ConfigMap", "a")) and s.sync is Sync.SYNCED, "applied", 5)
        await hub.until(lambda: (s := hub.object(unit, kind, name)) and s.reason, "the other one named")
        assert client.exists(path(shop, "a"))
        live = client.get(f"{place}/{name}")["metadata"]
        assert (live["uid"], "team" in live.get("labels", {})) == (uid, False)


async def test_what_stands_on_a_definition_that_somebody_made_just_before_us_is_applied(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client, (place, made) = api_server.client(), foundation("CustomResourceDefinition", shop)
    name = made["metadata"]["name"]

    class Faster:
        def __init__(self, kube: Any) -> None:
            self._kube = kube

        def __getattr__(self, name: str) -> Any:
            return getattr(self._kube, name)

        async def apply(self, kind: Any, *what: Any, **options: Any) -> Any:
            if kind.kind == made["kind"] and not client.exists(f"{place}/{name}"):
                client.apply(made, manager="helm")
            return await self._kube.apply(kind, *what, **options)

    hub.between = Faster
    wanted = {**made, "metadata": {"name": name, "labels": {"team": "shop"}}}
    unit = hub.want("web", [wanted, config_map("a", shop)])
    async with hub.worker():
        await hub.until(lambda: (s := hub.object(unit, "ConfigMap", "a")) and s.sync is Sync.SYNCED, "applied")
        assert hub.object(unit, made["kind"], name).reason == "ObjectForeign"
        assert "team" not in client.get(f"{place}/{name}")["metadata"].get("labels", {})


@pytest.mark.parametrize("meddled", [True, False])
async def test_what_comes_between_first_contact_and_our_create_is_not_taken_over(
    hub: Hub, api_server: ControlPlane, shop: str, meddled: bool
) -> None:
    client = api_server.client()

    class Meddling(MemoryJournal):
        async def commit(self, entry: JournalEntry) -> None:
            await super().commit(entry)
            if meddled and any(row.ref.name == "mine" for row in entry.put) and not client.exists(path(shop, "mine")):
                client.create(config_map("mine", shop, {"b": "theirs"}))

    hub.journal = Meddling()
    mark = api_server.ledger_mark()
    unit = hub.want("web", [config_map("mine", shop), config_map("other", shop)])
    async with hub.worker():
        if not meddled:
            await hub.until_well(unit)
            asked = [r for r in api_server.ledger(mark, user_agent="fleet") if r.namespace == shop and r.is_write]
            assert len(asked) == 2
            return
        status = await hub.until(lambda: (s := hub.object(unit, "ConfigMap", "mine")) and s.reason and s, "refused")
        assert status.reason == "ObjectForeign"
        live = client.get(path(shop, "mine"))
        assert live["data"] == {"b": "theirs"}
        assert "annotations" not in live["metadata"]
        assert client.get(path(shop, "other"))["data"] == {"a": "1"}


async def test_one_of_many_foreign_objects_is_found_by_one_list(hub: Hub, api_server: ControlPlane, shop: str) -> None:
    client = api_server.client()
    client.apply(config_map("c3", shop, {"a": "theirs"}), manager="helm")
    mark = api_server.ledger_mark()
    unit = hub.want("web", [config_map(f"c{n}", shop) for n in range(30)])
    async with hub.worker():
        await hub.until(lambda: (s := hub.object(unit, "ConfigMap", "c3")) and s.reason == "ObjectForeign", "foreign")
        await hub.until(lambda: sum(s.sync is Sync.SYNCED for s in hub.units[unit].objects) == 29, "the others")
    asked = [r for r in api_server.ledger(mark, user_agent="fleet") if r.namespace == shop]
    assert len([r for r in asked if r.verb == "list"]) == 1
    assert len([r for r in asked if r.is_write]) == 29


async def test_two_overlays_that_claim_one_object_do_not_write_it(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    hub.want("one", [config_map("a", shop), config_map("b", shop)], send=False)
    hub.want("two", [config_map("a", shop, {"a": "2"}), config_map("c", shop)])
    async with hub.worker():
        for overlay, other in (("one", "two"), ("two", "one")):
            unit = UnitName(OverlayName(overlay), ClusterName("eu-1"))
            status = await hub.until(lambda u=unit: (s := hub.object(u, "ConfigMap", "a")) and s.reason and s, "named")
            assert other in status.message
        await hub.until(lambda: {"b", "c"} <= set(names(client, shop)), "the rest")
        assert "a" not in names(client, shop)


async def test_an_object_that_moves_to_another_overlay_keeps_its_uid(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    one = hub.want("one", [config_map("a", shop), config_map("b", shop)])
    async with hub.worker():
        await hub.until_well(one)
        before = client.get(path(shop, "a"))["metadata"]
        hub.want("one", [config_map("b", shop)], commit="b", permits=(), send=False)
        two = hub.want("two", [config_map("a", shop)], commit="b")
        await hub.until_well(one, two)
        after = client.get(path(shop, "a"))["metadata"]
        assert after["uid"] == before["uid"]
        assert after["annotations"]["fleet.internal/owner"].endswith("/two")
        assert len(hub.units[one].objects) == 1
    rows = {(row.unit.overlay, row.ref.name) for row in (await hub.journal.load()).rows}
    assert rows == {("one", "b"), ("two", "a")}


async def test_deletions_beyond_the_budget_are_held_with_the_exact_list_until_approved(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    unit = hub.want("web", [config_map(f"c{n}", shop) for n in range(10)])
    async with hub.worker():
        await hub.until_well(unit)
        left = [config_map(f"c{n}", shop) for n in range(6)]
        hub.want("web", left, commit="b")
        hold = await hub.until(lambda: hub.units[unit].holds, "hold")
        assert hold[0].reason == "prune-budget"
        assert sorted(item.ref.name for item in hold[0].deletions) == ["c6", "c7", "c8", "c9"]
        assert all(item.uid and item.content for item in hold[0].deletions)
        assert len(names(client, shop)) == 10
        assert any(link.state is Standing.HELD for link in hub.units[unit].blocked_by)

        approved = [Approved(item.ref, item.uid, item.content) for item in hold[0].deletions]
        client.merge(path(shop, "c9"), {"data": {"a": "changed since"}})
        await hub.until(lambda: hub.units[unit].holds != hold, "a new list")
        hub.want("web", left, commit="b", approved=approved)
        await hub.until(lambda: names(client, shop) == sorted(f"c{n}" for n in (0, 1, 2, 3, 4, 5, 9)), "three went")
        assert any(entry.action == "delete" and entry.outcome == "" for entry in hub.audited)


async def test_without_a_permit_nothing_is_deleted(hub: Hub, api_server: ControlPlane, shop: str) -> None:
    client = api_server.client()
    unit = hub.want("web", [config_map(f"c{n}", shop) for n in range(10)])
    async with hub.worker():
        await hub.until_well(unit)
        hub.want("web", [config_map(f"c{n}", shop) for n in range(9)], commit="b", permits=())
        await hub.until(lambda: hub.units[unit].holds, "asked for")
        await asyncio.sleep(0.2)
        assert len(names(client, shop)) == 10


async def test_a_namespace_is_never_deleted_without_approval(hub: Hub, api_server: ControlPlane, shop: str) -> None:
    client = api_server.client()
    made = f"{shop}-x"
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": made}}
    kept = [config_map(f"c{n}", shop) for n in range(12)]
    unit = hub.want("web", [namespace, config_map("in", made), *kept])
    async with hub.worker():
        await hub.until_well(unit)
        hub.want("web", [config_map("in", made), *kept], commit="b")
        hold = await hub.until(lambda: hub.units[unit].holds, "hold")
        assert (hold[0].reason, [item.ref.kind for item in hold[0].deletions]) == ("precious-kind", ["Namespace"])
        assert client.get(f"/api/v1/namespaces/{made}")["status"]["phase"] == "Active"


async def test_zero_objects_delete_nothing(hub: Hub, api_server: ControlPlane, shop: str) -> None:
    client = api_server.client()
    unit = hub.want("web", [config_map("a", shop)])
    async with hub.worker():
        await hub.until_well(unit)
        hub.want("web", [], commit="b")
        await hub.until(lambda: hub.units[unit].reason == "RenderEmpty", "named")
        assert names(client, shop) == ["a"]


async def test_a_unit_that_is_no_longer_mentioned_is_kept_and_a_detached_one_loses_its_marks(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    unit = hub.want("web", [config_map("a", shop)])
    async with hub.worker():
        await hub.until_well(unit)
        hub.unmention(unit)
        await asyncio.sleep(0.3)
        assert client.get(path(shop, "a"))["metadata"]["annotations"]["fleet.internal/owner"]
        hub.want("web", action=Detach())
        await hub.until(lambda: unit not in hub.units, "detached")
        live = client.get(path(shop, "a"))
        assert live["data"] == {"a": "1"}
        assert "labels" not in live["metadata"]
        assert "annotations" not in live["metadata"]
        assert not any(entry["manager"] == "fleet" for entry in live["metadata"].get("managedFields", []))
        assert not (await hub.journal.load()).rows


async def test_a_unit_that_comes_back_while_it_is_let_go_is_not_forgotten(hub: Hub, shop: str) -> None:
    unit = hub.want("web", [config_map("a", shop)])
    taken, next_order = asyncio.Event(), hub.next

    async def listening(after: int) -> Desired:
        if hub.desired is not None and after == hub.desired.sequence and hub.desired.units[0].commit == "c" * 40:
            taken.set()
        return await next_order(after)

    class Slow:
        """Its answer to the patch that takes our marks off comes after the unit was ordered anew."""

        def __init__(self, kube: Any) -> None:
            self._kube = kube

        def __getattr__(self, name: str) -> Any:
            return getattr(self._kube, name)

        async def patch(self, *arguments: Any, **options: Any) -> Any:
            answer = await self._kube.patch(*arguments, **options)
            if "json-patch" in arguments[-1]:
                hub.want("web", [config_map("a", shop)], commit="c")
                await taken.wait()
            return answer

    hub.next, hub.between = listening, Slow
    async with hub.worker():
        await hub.until_well(unit)
        hub.want("web", action=Detach(), commit="b")
        await hub.until(lambda: hub.told(EventKind.NOTE, "detached"), "let go")
        # Its marks are off, as whenever a unit was let go: a person says that it shall be taken up.
        await hub.until(lambda: unit in hub.units and hub.units[unit].reason == "ObjectForeign", "judged anew")


async def test_unknown_and_held_units_stay_on_what_they_have_and_prune_nothing(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    unit = hub.want("web", [config_map("a", shop), config_map("b", shop)])
    async with hub.worker():
        await hub.until_well(unit)
        bundle = hub.units[unit].bundle
        hub.want("web", action=UnknownDesired("RenderFailed", "kustomize refused it", bundle))
        await hub.until(lambda: hub.units[unit].reason == "RenderFailed", "said")
        assert hub.units[unit].commit == "a" * 40
        client.merge(path(shop, "a"), {"data": {"a": "drift"}})
        await hub.until(lambda: hub.told(EventKind.HEALED), "what is in force is still healed")
        hub.want("web", action=HoldOrder("a sharp fall", bundle))
        await hub.until(lambda: any(b.state is Standing.HELD for b in hub.units[unit].blocked_by), "held")
        hub.want("web", action=UnknownDesired("PathMissing", "gone", None))
        await hub.until(lambda: hub.units[unit].reason == "PathMissing", "said")
        assert names(client, shop) == ["a", "b"]


async def test_suspended_writes_nothing_and_resumes(hub: Hub, api_server: ControlPlane, shop: str) -> None:
    client = api_server.client()
    unit = hub.want("web", [config_map("a", shop)])
    async with hub.worker():
        await hub.until_well(unit)
        stop = (Suspension("disk swap", owner="jo", until="2099-01-01T00:00:00Z", scope="cluster eu-1"),)
        hub.want("web", [config_map("a", shop, {"a": "2"})], commit="b", suspensions=stop)
        found = await hub.until(lambda: hub.units[unit].blocked_by, "suspended")
        assert (found[0].state, found[0].until) == (Standing.SUSPENDED, "2099-01-01T00:00:00Z")
        assert "disk swap" in found[0].reason
        client.merge(path(shop, "a"), {"data": {"a": "by hand"}})
        await asyncio.sleep(0.3)
        assert client.get(path(shop, "a"))["data"] == {"a": "by hand"}
        assert hub.units[unit].sync is Sync.OUT_OF_SYNC
        hub.want("web", [config_map("a", shop, {"a": "2"})], commit="b")
        await hub.until_well(unit)
        assert client.get(path(shop, "a"))["data"] == {"a": "2"}


async def test_manual_waits_for_a_sync_that_ends_once(hub: Hub, api_server: ControlPlane, shop: str) -> None:
    client = api_server.client()
    manual = SyncPolicy(mode=SyncMode.MANUAL, validate=Validate.SCHEMA)
    unit = hub.want("web", [config_map("a", shop)], sync=manual)
    async with hub.worker():
        await hub.until(lambda: unit in hub.units and hub.units[unit].blocked_by, "waits")
        assert hub.units[unit].sync is Sync.OUT_OF_SYNC
        assert not client.exists(path(shop, "a"))
        request = SyncRequest("op-1", unit)
        hub.send_desired(requests=[request])
        await hub.until(lambda: hub.results, "ended")
        assert (hub.results[0].operation, hub.results[0].outcome) == ("op-1", "done")
        assert client.exists(path(shop, "a"))
        hub.send_desired()
        await hub.until_well(unit)
        assert len(hub.results) == 1


@pytest.mark.parametrize("override", [False, True])
async def test_a_closed_window_is_passed_by_override_alone(
    hub: Hub, api_server: ControlPlane, shop: str, override: bool
) -> None:
    client = api_server.client()
    closed = SyncPolicy(validate=Validate.SCHEMA, windows=(Window(WindowKind.DENY, "* * * * *", 120, "Europe/Berlin"),))
    unit = hub.want("web", [config_map("a", shop)], sync=closed, send=False)
    hub.send_desired(
        requests=[SyncRequest("op", unit, override=override, bundle=hub.bundle_of([config_map("a", shop)]).digest)]
    )
    async with hub.worker():
        await hub.until(lambda: hub.results, "ended")
        assert hub.results[0].outcome == ("done" if override else "refused")
        assert client.exists(path(shop, "a")) is override
        if not override:
            await hub.until(lambda: unit in hub.units, "reported")
            assert "deny window" in hub.units[unit].blocked_by[0].reason


@pytest.mark.parametrize("kind", [WindowKind.DENY, WindowKind.ALLOW])
async def test_self_heal_goes_on_in_a_closed_window_and_new_bundles_wait(
    hub: Hub, api_server: ControlPlane, shop: str, kind: WindowKind
) -> None:
    client = api_server.client()
    always, new_year = ("* * * * *", 120), ("0 0 1 1 *", 60)
    window = Window(kind, *(always if kind is WindowKind.DENY else new_year), "UTC")
    closed = SyncPolicy(validate=Validate.SCHEMA, windows=(window,))
    unit = hub.want("web", [config_map(n, shop) for n in "abc"])
    async with hub.worker():
        await hub.until_well(unit)
        hub.want("web", [config_map("a", shop), config_map("b", shop, {"a": "2"})], commit="b", sync=closed)
        await hub.until(lambda: hub.units[unit].blocked_by, "waits")
        client.merge(path(shop, "a"), {"data": {"a": "x"}})
        await hub.until(lambda: hub.told(EventKind.HEALED), "healed")
        client.delete(path(shop, "b"))  # of the new bundle it would come back changed: it waits
        client.delete(path(shop, "a"))
        await hub.until(lambda: len(hub.told(EventKind.HEALED)) == 2, "made anew")
        assert client.get(path(shop, "a"))["data"] == {"a": "1"}
        assert "c" in names(client, shop)
        assert "b" not in names(client, shop)
        hub.want("web", [config_map("a", shop), config_map("b", shop, {"a": "2"})], commit="c")
        await hub.until_well(unit)
        assert client.get(path(shop, "b"))["data"] == {"a": "2"}


async def test_observe_reports_differences_and_writes_nothing(hub: Hub, api_server: ControlPlane, shop: str) -> None:
    client = api_server.client()
    client.apply(config_map("same", shop), manager="kubectl")
    client.apply(config_map("other", shop, {"a": "9"}), manager="kubectl")
    hub.mode = Mode.OBSERVE
    unit = hub.want("web", [config_map("same", shop), config_map("other", shop), config_map("new", shop)])
    mark = api_server.ledger_mark()
    async with hub.worker():
        await hub.until(lambda: unit in hub.units and len(hub.units[unit].objects) == 3, "compared")
        by_name = {s.ref.name: s for s in hub.units[unit].objects}
        assert (by_name["same"].sync, by_name["new"].health) == (Sync.SYNCED, Health.MISSING)
        assert [d.path for d in by_name["other"].drift] == ["data.a"]
        hub.send_desired(requests=[SyncRequest("op", unit)])
        await hub.until(lambda: hub.results, "refused")
        assert hub.results[0].outcome == "refused"
    asked = api_server.ledger(mark, user_agent="fleet")
    assert not [r for r in asked if r.is_write or r.dry_run]


async def test_another_cluster_under_this_name_is_not_written_to(hub: Hub, api_server: ControlPlane, shop: str) -> None:
    client = api_server.client()
    hub.want("web", [config_map("a", shop)], send=False)
    hub.send_desired(identity=Identity("11111111-2222-3333-4444-555555555555"))
    async with hub.worker():
        await hub.until(lambda: hub.reports and hub.reports[-1].reason == "IdentityMismatch", "mismatch")
        assert not hub.reports[-1].reachable
        assert not client.exists(path(shop, "a"))
        hub.send_desired(identity=None)
        await hub.until(lambda: client.exists(path(shop, "a")), "recovers when corrected")
    assert [entry.action for entry in hub.audited][:1] == ["first-contact"]


async def test_prune_disabled_keeps_and_prune_confirm_asks(hub: Hub, api_server: ControlPlane, shop: str) -> None:
    client = api_server.client()
    kept = [config_map(f"c{n}", shop) for n in range(12)]
    extra = [
        config_map("never", shop, **notes(prune="disabled")),
        config_map("ask", shop, **notes(prune="confirm")),
    ]
    unit = hub.want("web", [*kept, *extra])
    async with hub.worker():
        await hub.until_well(unit)
        hub.want("web", kept, commit="b")
        hold = await hub.until(lambda: hub.units[unit].holds, "hold")
        assert [item.ref.name for item in hold[0].deletions] == ["ask"]
        assert {"never", "ask"} <= set(names(client, shop))
        spared = await hub.until(
            lambda: (s := hub.object(unit, "ConfigMap", "never")).sync is Sync.SYNCED and s, "kept"
        )
        assert spared.message.startswith("no longer in the overlay; its annotation fleet.internal/prune: disabled")
        hub.want("web", [*kept, extra[1]], commit="c")
        await hub.until_well(unit)  # what is kept for good holds up neither rollouts nor what depends on the unit


async def test_what_was_kept_by_a_policy_is_out_of_sync_once_that_changes_though_nothing_may_go_yet(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    never = SyncPolicy(validate=Validate.SCHEMA, prune=False)
    closed = (Window(WindowKind.DENY, "* * * * *", 3600),)
    unit = hub.want("web", [config_map("a", shop), config_map("b", shop)], sync=never)
    async with hub.worker():
        await hub.until_well(unit)
        hub.want("web", [config_map("a", shop)], commit="b", sync=never)
        await hub.until(lambda: "sync.prune: false" in hub.object(unit, "ConfigMap", "b").message, "kept")
        assert hub.object(unit, "ConfigMap", "b").sync is Sync.SYNCED
        later = SyncPolicy(validate=Validate.SCHEMA, windows=closed)
        hub.want("web", [config_map("a", shop)], commit="b", sync=later)
        await hub.until(lambda: hub.object(unit, "ConfigMap", "b").sync is Sync.OUT_OF_SYNC, "shown")
    assert names(api_server.client(), shop) == ["a", "b"]


async def test_a_stuck_finalizer_is_named_and_holds_nothing_up(hub: Hub, api_server: ControlPlane, shop: str) -> None:
    client = api_server.client()
    kept = [config_map(f"c{n}", shop) for n in range(12)]
    unit = hub.want("web", [*kept, config_map("stuck", shop, finalizers=["example.com/hold"]), config_map("z", shop)])
    async with hub.worker():
        await hub.until_well(unit)
        hub.want("web", kept, commit="b")
        stuck = await hub.until(
            lambda: (s := hub.object(unit, "ConfigMap", "stuck")) and s.reason == "PruneStuck" and s, "stuck"
        )
        assert "example.com/hold" in stuck.message
        await hub.until(lambda: "z" not in names(client, shop), "the other went")
        client.merge(path(shop, "stuck"), {"metadata": {"finalizers": None}})
        await hub.until_well(unit)


async def test_units_wait_for_what_they_depend_on(hub: Hub, api_server: ControlPlane, shop: str) -> None:
    client = api_server.client()
    base = UnitName(OverlayName("base"), ClusterName("eu-1"))
    client.apply(config_map("blocked", shop, {"a": "x"}), manager="other")
    unit = hub.want("web", [config_map("a", shop)], depends_on=(base,), send=False)
    hub.want("base", [config_map("blocked", shop)])
    async with hub.worker():
        found = await hub.until(lambda: unit in hub.units and hub.units[unit].blocked_by, "waits")
        assert "base@eu-1" in found[0].reason
        assert not client.exists(path(shop, "a"))
        hub.want("base", [config_map("free", shop)], commit="b")
        await hub.until(lambda: client.exists(path(shop, "a")), "goes on")
