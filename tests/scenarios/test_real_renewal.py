"""A whole hub whose granted token is near its end: renewed in time, said where people look, and used from then on."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from scenarios.real import RunningHub, World, config_map
from testbed.authority import aged_token
from testbed.controlplane import ControlPlane

from fleet.cli.app import run
from fleet.core.ids import ClusterName
from fleet.core.renewal import CredentialState
from fleet.kube.ends import token_ends

ROLE = "/apis/rbac.authorization.k8s.io/v1/namespaces/fleet-system/roles/fleet-hub"
Cli = Callable[..., str]


@pytest.fixture
def plane(own_api_server: Callable[..., ControlPlane]) -> ControlPlane:
    return own_api_server()


@pytest.fixture
def cli(
    plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cli:
    """Runs a command as the control plane's administrator; what it printed."""
    monkeypatch.setenv("KUBECONFIG", str(plane.write_kubeconfig(tmp_path / "person")))

    def run_it(*words: str) -> str:
        run([*words])
        captured = capsys.readouterr()
        return captured.out + captured.err

    return run_it


async def aged_grant(world: World, plane: ControlPlane, cli: Cli, folder: Path, namespace: str) -> tuple[str, bytes]:
    """A commit for a cluster, and what `fleet cluster grant` gave for it 3000 s ago, with 300 s left."""
    plane.client().make_namespace(namespace)
    entry = {"kind": "Cluster", "metadata": {"name": "eu-1"}, "spec": {"environment": "prod", "overlays": ["web"]}}
    world.write({"clusters/eu-1.yaml": "apiVersion: fleet.internal/v1\n" + yaml.safe_dump(entry)})
    world.overlay("web", [config_map("c", namespace)])
    first, checkout, target = world.commit(), folder / "checkout", folder / "token"
    subprocess.run(["git", "clone", "-q", str(world.repo.path), str(checkout)], check=True)
    where = ("--context", plane.name, "--root", str(checkout), "--to", str(target), "--yes")
    said = await asyncio.to_thread(cli, "cluster", "grant", "eu-1", *where)
    assert "identity proven with the new token" in said, said
    config = json.loads(target.read_text())
    user = config["users"][0]["user"]
    user["token"] = aged_token(plane.folder / "sa.key", user["token"], issued_ago=3000, left=300)
    return first, json.dumps(config).encode()


def state_of(hub: RunningHub) -> CredentialState | None:
    return hub.view.credentials.get(ClusterName("eu-1"))


async def test_a_hub_renews_what_a_grant_gave_it_and_says_when_it_ends(
    world: World, plane: ControlPlane, cli: Cli, tmp_path: Path, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, old = await aged_grant(world, plane, cli, tmp_path, namespace)
    async with world.hub(credentials=None) as hub:
        monkeypatch.setenv("FLEET_TOKEN", hub.token)
        state = hub.opened.adapters.state
        await state.put_credential("eu-1", old, 1.0)
        await hub.until_done(first, seconds=60)
        await hub.until(lambda: (s := state_of(hub)) and s.ends.at - time.time() > 3000, "renewed")
        raw = await state.credential("eu-1")
        assert raw is not None
        token = json.loads(raw)["users"][0]["user"]["token"]
        assert 3295 < token_ends(token).life_seconds <= 3301
        said = await asyncio.to_thread(cli, "describe", "cluster", "eu-1", "--hub", hub.url)
        assert "credential eu-1, its token ends in 5" in said
        assert "renewed by the hub on" in said
        assert "m, renewed" in await asyncio.to_thread(cli, "get", "clusters", "-o", "wide", "--hub", hub.url)
        assert "eu-1" in await asyncio.to_thread(cli, "credential", "list", "--hub", hub.url)
        status = await asyncio.to_thread(cli, "status", "--hub", hub.url)
        assert "Ends soon" not in status
        assert token not in said + status
        assert await hub.events(text="credential eu-1 was renewed")
    mark = plane.ledger_mark()
    async with world.hub(credentials=None) as hub:  # a restart goes on with the new one
        await hub.until(lambda: hub.is_well("web@eu-1") and state_of(hub), "well")
        shown = state_of(hub)
        assert shown is not None
        assert shown.ends == token_ends(token)
    assert not [one for one in plane.ledger(mark, user_agent="fleet") if one.path.endswith("/token")]


async def test_a_token_that_may_not_be_renewed_works_to_its_end_and_the_next_step_is_said(
    world: World, plane: ControlPlane, cli: Cli, tmp_path: Path, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a grant from before, whose role has not the rule yet."""
    first, old = await aged_grant(world, plane, cli, tmp_path, namespace)
    rules = [one for one in plane.client().get(ROLE)["rules"] if one["resources"] != ["serviceaccounts/token"]]
    plane.client().merge(ROLE, {"rules": rules})
    async with world.hub(credentials=None) as hub:
        monkeypatch.setenv("FLEET_TOKEN", hub.token)
        state = hub.opened.adapters.state
        await state.put_credential("eu-1", old, 1.0)
        await hub.until_done(first, seconds=60)
        await hub.until(lambda: (s := state_of(hub)) and s.problem, "refused")
        said = await asyncio.to_thread(cli, "status", "--hub", hub.url)
        assert "Needs a person" in said
        assert "credential eu-1 is not renewed: cannot issue a token" in said
        assert "fleet cluster grant eu-1" in said
        assert "not renewed: cannot issue" in await asyncio.to_thread(
            cli, "describe", "cluster", "eu-1", "--hub", hub.url
        )
        assert hub.is_well("web@eu-1")
        assert await state.credential("eu-1") == old
