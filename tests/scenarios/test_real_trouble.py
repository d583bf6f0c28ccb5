"""Bad input on real control planes: each trouble is named where it is, changes nothing else, and passes by itself."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import aiohttp
from scenarios.real import RunningHub, World, config_map, lined_up, namespace_of, writes
from testbed.controlplane import ControlPlane, ControlPlaneFleet
from testbed.fates import fate
from testbed.rest import Rest, path_of
from testbed.webhooks import DENIAL, Mood, WebhookServer, install_mutating
from testbed.workloads import deployment

from fleet.core.status import EventKind, Health, Sync

CONFIG_MAPS = {"apiGroups": [""], "resources": ["configmaps"]}
IDENTITY = {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"], "resourceNames": ["kube-system"]}


def data_of(admin: Rest, name: str, namespace: str) -> dict[str, str]:
    return admin.get(f"/api/v1/namespaces/{namespace}/configmaps/{name}")["data"]


def has(admin: Rest, name: str, namespace: str) -> bool:
    return admin.exists(f"/api/v1/namespaces/{namespace}/configmaps/{name}")


async def test_a_cluster_that_is_down_is_unknown_while_others_go_on_and_comes_back_by_itself(
    world: World, api_server: ControlPlane, own_api_server: Callable[..., ControlPlane], namespace: str
) -> None:
    frail = own_api_server()
    world.cluster("frail", frail, "web")
    world.cluster("bare", api_server, "web")
    world.overlay("web", [namespace_of(namespace), config_map("c", namespace, {"release": "1"})])
    first = world.commit()
    async with world.hub() as hub:
        await hub.until_done(first)
        await asyncio.to_thread(frail.stop_api_server, kill=True)
        world.overlay("web", [namespace_of(namespace), config_map("c", namespace, {"release": "2"})])
        second = world.commit()
        hub.fetch()
        await hub.until(lambda: hub.is_well("web@bare") and hub.progress(second).there == 1, "the other at the commit")
        await hub.until(lambda: hub.summary("web@frail").sync is Sync.UNKNOWN, "unknown")
        # The dying server may cut an answer short first.
        await hub.until(lambda: hub.cluster_reason("frail") == "ClusterUnreachable", "named")
        assert [unit.unit for unit in hub.progress(second).missing] == ["web@frail"]
        await asyncio.to_thread(frail.start_api_server)
        await hub.until(lambda: hub.progress(second).done, "back without hands", seconds=60)
    assert data_of(frail.client(), "c", namespace) == {"release": "2"}


async def test_a_missing_right_is_named_with_verb_and_resource_and_what_is_allowed_goes_on(
    world: World, api_server: ControlPlane, namespace: str
) -> None:
    user = f"limited-{uuid.uuid4().hex[:6]}"
    api_server.client().make_namespace(namespace)
    api_server.grant(user, IDENTITY)
    api_server.grant(user, {**CONFIG_MAPS, "verbs": ["get", "list", "watch", "create", "patch"]})
    api_server.grant(user, {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"]})
    world.cluster("bare", api_server, "web")
    world.give("bare", api_server, user, certificate=True)
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s", "namespace": namespace},
        "stringData": {"token": "seeded-value"},
    }
    world.overlay("web", [config_map("c", namespace), secret])
    world.commit()
    async with world.hub() as hub:
        hub.fetch()
        status = await hub.until(lambda: (s := hub.object("web@bare", "Secret", "s")) and s.reason and s, "refused")
        assert status.reason == "Forbidden"
        assert "secrets" in status.message
        assert "patch" in status.message or "create" in status.message
        await hub.until(lambda: hub.object("web@bare", "ConfigMap", "c").sync is Sync.SYNCED, "the rest")
        assert "seeded-value" not in hub.shown()


async def test_another_cluster_behind_an_entry_gets_no_write_until_it_is_accepted(
    world: World, real_fleet: ControlPlaneFleet, namespace: str
) -> None:
    bare, other = real_fleet["bare"], real_fleet["third"]
    world.cluster("eu-1", bare, "web")
    world.overlay("web", [namespace_of(namespace), config_map("c", namespace)])
    revision = world.commit()
    async with world.hub() as hub:
        await hub.until_done(revision)
    world.give("eu-1", other)
    mark = other.ledger_mark()
    async with world.hub() as hub:
        await hub.until(lambda: hub.cluster_reason("eu-1") == "IdentityMismatch", "told apart")
        report = hub.view.clusters["eu-1"]
        identity = other.client().get("/api/v1/namespaces/kube-system")["metadata"]["uid"]
        assert identity in report.message
        world.overlay("web", [namespace_of(namespace), config_map("c", namespace, {"a": "2"})])
        revision = world.commit()
        hub.fetch()
        await hub.until(lambda: hub.view.head.commit == revision and not hub.view.rendering, "in force")
        assert hub.summary("web@eu-1").sync is Sync.UNKNOWN
        assert writes(other.ledger(mark, user_agent="fleet")) == []
        await post(hub, "/api/v1/clusters/eu-1:acceptIdentity", {"identity": identity, "reason": "rebuilt"})
        await hub.until_done(revision, seconds=60)
    assert data_of(other.client(), "c", namespace) == {"a": "2"}
    assert data_of(bare.client(), "c", namespace) == {"a": "1"}


async def post(hub: RunningHub, path: str, body: dict[str, Any]) -> Any:
    headers = {"Authorization": f"Bearer {hub.token}"}
    async with aiohttp.ClientSession() as client, client.post(hub.url + path, json=body, headers=headers) as answer:
        assert answer.status < 300, await answer.text()
        return await answer.json()


async def test_a_foreign_object_is_named_and_left_alone_and_the_rest_is_applied(
    world: World, api_server: ControlPlane, namespace: str
) -> None:
    admin = api_server.client()
    admin.make_namespace(namespace)
    admin.apply(config_map("theirs", namespace, {"a": "theirs"}), manager="helm")
    world.cluster("bare", api_server, "web")
    world.overlay("web", [config_map("theirs", namespace), config_map("ours", namespace)])
    revision = world.commit()
    async with world.hub() as hub:
        hub.fetch()
        await hub.until(lambda: hub.reason("web@bare") == "ObjectForeign", "named")
        await hub.until(lambda: hub.object("web@bare", "ConfigMap", "ours").sync is Sync.SYNCED, "the rest")
        assert "helm" in hub.object("web@bare", "ConfigMap", "theirs").message
        assert data_of(admin, "theirs", namespace) == {"a": "theirs"}
        assert not hub.progress(revision).done


async def test_an_immutable_field_is_reported_and_nothing_is_made_anew(
    world: World, api_server: ControlPlane, namespace: str
) -> None:
    admin = api_server.client()
    web = config_map("web", namespace) | {"immutable": True}
    world.cluster("bare", api_server, "web", "other")
    world.overlay("web", [namespace_of(namespace), web])
    world.overlay("other", [config_map("other", namespace)], dependsOn=["web"])
    first = world.commit()
    async with world.hub() as hub:
        await hub.until_done(first)
        uid = admin.get(path_of(web))["metadata"]["uid"]
        world.overlay("web", [namespace_of(namespace), web | {"data": {"a": "2"}}])
        second = world.commit()
        hub.fetch()
        await hub.until(lambda: hub.reason("web@bare") == "ImmutableField", "reported")
        live = admin.get(path_of(web))
        assert (live["metadata"]["uid"], live["data"]) == (uid, {"a": "1"})
        assert not hub.progress(second).done
        world.overlay("web", [namespace_of(namespace), web])
        await hub.until_done(world.commit())


async def test_a_stuck_finalizer_is_named_and_blocks_nothing(
    world: World, api_server: ControlPlane, namespace: str
) -> None:
    admin = api_server.client()
    world.cluster("bare", api_server, "web")
    world.overlay(
        "web", [namespace_of(namespace), *(config_map(name, namespace) for name in ("keep", "stuck", "goes"))]
    )
    first = world.commit()
    async with world.hub() as hub:
        await hub.until_done(first)
        stuck = f"/api/v1/namespaces/{namespace}/configmaps/stuck"
        admin.merge(stuck, {"metadata": {"finalizers": ["example.org/never"]}})
        world.overlay("web", [namespace_of(namespace), config_map("keep", namespace, {"a": "2"})])
        world.commit()
        hub.fetch()
        await hub.until(lambda: not has(admin, "goes", namespace), "the other one went")
        status = await hub.until(
            lambda: (s := hub.object("web@bare", "ConfigMap", "stuck")) and s.reason and s, "named"
        )
        assert status.reason == "PruneStuck"
        assert "example.org/never" in status.message
        assert data_of(admin, "keep", namespace) == {"a": "2"}
        assert admin.get(stuck)["metadata"]["finalizers"] == ["example.org/never"]
        world.overlay("web", [namespace_of(namespace), config_map("keep", namespace, {"a": "3"})])
        third = world.commit()
        hub.fetch()
        await hub.until(lambda: data_of(admin, "keep", namespace) == {"a": "3"}, "the next commit")
        admin.merge(stuck, {"metadata": {"finalizers": None}})
        await hub.until(lambda: hub.progress(third).done, "gone at last", seconds=60)


async def test_objects_wait_for_a_definition_and_are_applied_when_it_comes(
    world: World, api_server: ControlPlane, namespace: str
) -> None:
    admin, group = api_server.client(), f"{namespace}.example.com"
    odd = {"apiVersion": f"{group}/v1", "kind": "Odd", "metadata": {"name": "o", "namespace": namespace}, "size": 3}
    world.cluster("bare", api_server, "web")
    world.overlay("web", [namespace_of(namespace), odd, config_map("c", namespace)])
    world.commit()
    async with world.hub() as hub:
        hub.fetch()
        await hub.until(lambda: (s := hub.object("web@bare", "Odd", "o")) and s.reason == "KindNotServed", "named")
        await hub.until(lambda: hub.object("web@bare", "ConfigMap", "c").sync is Sync.SYNCED, "the rest")
        world.cluster("bare", api_server, "web", "definitions")
        world.overlay("definitions", [definition(group)])
        await hub.until_done(world.commit())
        assert admin.get(f"/apis/{group}/v1/namespaces/{namespace}/odds/o")["size"] == 3


def definition(group: str) -> dict[str, Any]:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"odds.{group}"},
        "spec": {
            "group": group,
            "names": {"kind": "Odd", "plural": "odds"},
            "scope": "Namespaced",
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }


async def test_a_field_of_another_manager_is_not_taken_by_force(
    world: World, api_server: ControlPlane, namespace: str
) -> None:
    admin = api_server.client()
    world.cluster("bare", api_server, "web")
    world.overlay("web", [namespace_of(namespace), config_map("c", namespace), config_map("d", namespace)])
    first = world.commit()
    async with world.hub() as hub:
        await hub.until_done(first)
        theirs = config_map("c", namespace, {"b": "theirs"})
        admin.apply(theirs, manager="tuner")
        assert hub.is_well("web@bare")
        ours = config_map("c", namespace, {"a": "1", "b": "ours"})
        world.overlay("web", [namespace_of(namespace), ours, config_map("d", namespace, {"a": "2"})])
        world.commit()
        hub.fetch()
        status = await hub.until(lambda: (s := hub.object("web@bare", "ConfigMap", "c")) and s.reason and s, "conflict")
        assert status.reason == "FieldConflict"
        assert "data.b" in status.message
        assert "tuner" in status.message
        assert data_of(admin, "c", namespace) == {"a": "1", "b": "theirs"}
        await hub.until(lambda: data_of(admin, "d", namespace) == {"a": "2"}, "the rest")


async def test_a_denial_by_admission_stops_the_unit_before_its_first_write_and_passes_by_itself(
    world: World, api_server: ControlPlane, webhook_server: WebhookServer, namespace: str
) -> None:
    admin = api_server.client()
    admin.make_namespace(namespace)
    install_mutating(api_server, webhook_server, namespace)
    webhook_server.mood = Mood.DENY
    world.describe(sync={"validate": "server"})
    world.cluster("bare", api_server, "web", "settings")
    world.overlay("web", [config_map("c", namespace), deployment("web", namespace)])
    world.overlay("settings", [config_map("d", namespace)])
    world.commit()
    async with world.hub() as hub:
        hub.fetch()
        await hub.until(lambda: hub.reason("web@bare") == "AdmissionDenied", "denied")
        assert DENIAL in hub.object("web@bare", "Deployment", "web").message
        assert not has(admin, "c", namespace)
        await hub.until(lambda: hub.is_well("settings@bare"), "another unit")
        webhook_server.mood = Mood.LABEL
        await hub.until(lambda: has(admin, "c", namespace), "goes on without hands", seconds=60)


async def test_a_webhook_that_refuses_dry_runs_leaves_its_objects_unchecked_and_applied(
    world: World, api_server: ControlPlane, webhook_server: WebhookServer, namespace: str
) -> None:
    admin = api_server.client()
    admin.make_namespace(namespace)
    install_mutating(api_server, webhook_server, namespace)
    webhook_server.mood = Mood.NO_DRY_RUN
    world.describe(sync={"validate": "server"})
    world.cluster("bare", api_server, "web")
    web = deployment("web", namespace)
    world.overlay("web", [config_map("c", namespace), web])
    world.commit()
    async with world.hub() as hub:
        hub.fetch()
        await hub.until(lambda: (s := hub.object("web@bare", "Deployment", "web")) and s.sync is Sync.SYNCED, "applied")
        warnings = hub.unit("web@bare").warnings
        assert any("NotChecked" in text and "web" in text for text in warnings), warnings
    assert admin.exists(path_of(web))


async def test_an_overlay_that_renders_nothing_deletes_nothing(
    world: World, api_server: ControlPlane, namespace: str
) -> None:
    admin = api_server.client()
    world.cluster("bare", api_server, "web", "other")
    world.overlay("web", [config_map("c", namespace)])
    world.overlay("other", [namespace_of(namespace)])
    first = world.commit()
    async with world.hub() as hub:
        await hub.until_done(first)
        mark = api_server.ledger_mark()
        empty = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: []\n"
        world.write({"overlays/web/kustomization.yaml": empty, "overlays/web/objects.yaml": None})
        second = world.commit()
        hub.fetch()
        await hub.until(lambda: hub.reason("web@bare") == "RenderEmpty", "named")
        await hub.until(lambda: hub.is_well("other@bare"), "the other unit")
        assert not hub.progress(second).done
        assert writes(api_server.ledger(mark, user_agent="fleet")) == []
        assert data_of(admin, "c", namespace) == {"a": "1"}
        world.overlay("web", [config_map("c", namespace, {"a": "2"})])
        await hub.until_done(world.commit())


async def test_a_lost_or_rewritten_branch_is_held_at_the_last_good_commit(
    world: World, api_server: ControlPlane, namespace: str
) -> None:
    admin = api_server.client()
    world.cluster("bare", api_server, "web")
    world.overlay("web", [namespace_of(namespace), config_map("c", namespace)])
    first = world.commit()
    async with world.hub() as hub:
        await hub.until_done(first)
        world.repo.delete_branch()
        hub.fetch()
        await hub.until(lambda: hub.view.head.error and hub.view.head.error.reason == "RefMissing", "missing")
        await drift_is_healed(hub, admin, namespace)
        kept = world.repo.rewrite({"fleet.yaml": "apiVersion: fleet.internal/v1\nkind: Fleet\n"})
        hub.fetch()
        await hub.until(lambda: hub.view.head.error and hub.view.head.error.reason == "HistoryRewritten", "rewritten")
        assert hub.view.head.commit == first != kept
        await drift_is_healed(hub, admin, namespace)
        await hub.until(lambda: hub.is_well("web@bare"), "well")
        world.repo.reset(first)
        world.overlay("web", [namespace_of(namespace), config_map("c", namespace, {"a": "2"})])
        await hub.until_done(world.commit())
    assert data_of(admin, "c", namespace) == {"a": "2"}


async def drift_is_healed(hub: RunningHub, admin: Rest, namespace: str) -> None:
    """The last good commit is still kept."""
    admin.merge(f"/api/v1/namespaces/{namespace}/configmaps/c", {"data": {"a": "drifted"}})
    await hub.until(lambda: data_of(admin, "c", namespace) == {"a": "1"}, "healed")


async def test_an_observed_cluster_is_compared_and_never_written_to(
    world: World, real_fleet: ControlPlaneFleet, namespace: str
) -> None:
    bare, third = real_fleet["bare"], real_fleet["third"]
    bare.client().make_namespace(namespace)
    bare.client().apply(config_map("same", namespace))
    bare.client().apply(config_map("differs", namespace, {"a": "theirs"}))
    world.cluster("watched", bare, "web", mode="observe")
    world.cluster("managed", third, "web")
    world.overlay("web", [namespace_of(namespace), *(config_map(n, namespace) for n in ("same", "differs", "absent"))])
    world.commit()
    mark = bare.ledger_mark()
    async with world.hub() as hub:
        hub.fetch()
        await hub.until(lambda: hub.is_well("web@managed"), "the managed one")
        await hub.until(lambda: hub.summary("web@watched").sync is Sync.OUT_OF_SYNC, "compared")
        shown = {name: hub.object("web@watched", "ConfigMap", name) for name in ("same", "differs", "absent")}
        assert shown["absent"].health is Health.MISSING
        assert shown["differs"].sync is Sync.OUT_OF_SYNC
        assert shown["same"].sync is Sync.SYNCED, shown["same"]
    asked = bare.ledger(mark, user_agent="fleet")
    assert asked
    assert [line for line in lined_up(asked) if line.split()[0] not in ("get", "list")] == []


async def test_a_crashing_release_is_degraded_with_its_exit_code_and_healthy_after_the_next_commit(
    world: World, real_cluster: ControlPlane, namespace: str
) -> None:
    world.cluster("full", real_cluster, "web")
    world.overlay("web", [namespace_of(namespace), deployment("web", namespace)])
    async with world.hub() as hub:
        await hub.until_done(world.commit())
        notes = fate("crash", exit_code=3, message="DB_HOST is not set")
        world.overlay("web", [namespace_of(namespace), deployment("web", namespace, notes=notes)])
        bad = world.commit()
        hub.fetch()
        await hub.until(lambda: hub.summary("web@full").health is Health.DEGRADED, "degraded")
        message = hub.summary("web@full").message
        assert "exit 3" in message
        assert "DB_HOST is not set" in message
        assert not hub.progress(bad).done
        world.overlay("web", [namespace_of(namespace), deployment("web", namespace, image="registry.example/app:2")])
        await hub.until_done(world.commit())
        assert hub.is_well("web@full")
        assert not await hub.events(EventKind.DRIFTED)
