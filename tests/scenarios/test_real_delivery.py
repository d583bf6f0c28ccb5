"""A commit goes from a Git host to five real API servers and comes back as status."""

from __future__ import annotations

import asyncio

from scenarios.real import World, config_map, namespace_of
from testbed.controlplane import ControlPlane, ControlPlaneFleet
from testbed.fixtures import FLEET
from testbed.gitserver import GitHttpServer, GitSshServer
from testbed.workloads import deployment

from fleet.core.status import EventKind, Health


async def test_a_commit_over_http_reaches_five_api_servers_and_is_done_only_when_all_hold_it(
    world: World, real_fleet: ControlPlaneFleet, git_http: GitHttpServer, namespace: str
) -> None:
    for name in FLEET:
        overlays = ("web", "apps") if name == "full" else ("web",)
        world.cluster(name, real_fleet[name], *overlays)
    world.overlay("web", [namespace_of(namespace), config_map("settings", namespace, {"release": "1"})])
    world.overlay("apps", [deployment("shop", namespace, replicas=2)])
    first = world.commit()
    async with world.hub(repo=git_http.url(world.repo), git_allow_http=True) as hub:
        await hub.until_done(first, seconds=60)
        for name in FLEET:
            held = real_fleet[name].client().get(f"/api/v1/namespaces/{namespace}/configmaps/settings")
            assert held["data"] == {"release": "1"}
            assert hub.is_well(f"web@{name}")
        shop = real_fleet["full"].client().get(f"/apis/apps/v1/namespaces/{namespace}/deployments/shop")
        assert shop["status"]["readyReplicas"] == 2

        world.overlay("web", [namespace_of(namespace), config_map("settings", namespace, {"release": "2"})])
        second = world.commit()
        assert not hub.progress(second).known
        hub.fetch()
        while not (told := hub.progress(second)).done:
            await asyncio.sleep(0.005)
        assert (told.there, told.units) == (6, 6)
        for name in FLEET:
            held = real_fleet[name].client().get(f"/api/v1/namespaces/{namespace}/configmaps/settings")
            assert held["data"] == {"release": "2"}
    assert {request.user_agent.partition("/")[0] for request in git_http.requests} == {"git"}


async def test_a_commit_over_ssh_reaches_a_cluster(
    world: World, api_server: ControlPlane, git_ssh: GitSshServer, namespace: str
) -> None:
    world.cluster("bare", api_server, "web")
    world.overlay("web", [namespace_of(namespace), config_map("settings", namespace)])
    revision = world.commit()
    keys = {"git_ssh_key": git_ssh.client_key_file, "git_known_hosts": git_ssh.known_hosts_file}
    async with world.hub(repo=git_ssh.url(world.repo), **keys) as hub:
        await hub.until_done(revision)
    assert api_server.client().exists(f"/api/v1/namespaces/{namespace}/configmaps/settings")
    assert all("git-upload-pack" in command for command in git_ssh.commands)


async def test_a_commit_that_one_cluster_cannot_make_healthy_is_not_done(
    world: World, real_cluster: ControlPlane, api_server: ControlPlane, namespace: str
) -> None:
    """No controllers run on the bare server: its Deployment never becomes Ready."""
    world.cluster("full", real_cluster, "apps")
    world.cluster("bare", api_server, "apps")
    world.overlay("apps", [namespace_of(namespace), deployment("shop", namespace)])
    revision = world.commit()
    async with world.hub() as hub:
        hub.fetch()
        await hub.until(lambda: hub.is_well("apps@full"), "healthy where pods run")
        await hub.until(lambda: hub.progress(revision).there == 1, "one of two")
        told = hub.progress(revision)
        assert not told.done
        assert [unit.unit for unit in told.missing] == ["apps@bare"]
        assert told.missing[0].reason
        assert hub.summary("apps@bare").health is Health.PROGRESSING
        assert await hub.events(EventKind.APPLIED)
