"""Where credentials come from and how they are renewed: files, the store, exec plugins, the hub's own pod."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from kube.hostile import LOOPBACK, SHORT, UID, Asked, Reply, World, as_json, refusal

from fleet.core.fleet import Connection
from fleet.core.ids import ClusterName
from fleet.errors import CredentialFailed, CredentialMissing, CredentialRefused, UsageInvalid
from fleet.kube.access import Endpoint
from fleet.kube.connect import KubeConnector, connect_person
from fleet.kube.credentials import NamedCredentials
from fleet.kube.execplugin import ExecAccess, Plugin
from fleet.ports.kube import Kube, ServedKind

MAPS = ServedKind("", "v1", "ConfigMap", "configmaps", True, frozenset())
V1 = "client.authentication.k8s.io/v1"
Write = Callable[..., dict[str, Any]]


# By name


async def test_a_file_comes_before_the_store_and_a_change_is_seen_at_once(tmp_path: Path) -> None:
    async def stored(name: str) -> bytes | None:
        return {"eu-1": b"stored", "eu-2": b"stored 2"}.get(name)

    credentials = NamedCredentials(tmp_path, stored)
    assert await credentials.kubeconfig("eu-1") == b"stored"
    (tmp_path / "..data-1").mkdir()
    (tmp_path / "..data-1" / "eu-1.kubeconfig").write_text("one")
    (tmp_path / "..data").symlink_to("..data-1")
    (tmp_path / "eu-1.kubeconfig").symlink_to("..data/eu-1.kubeconfig")  # as a mounted Secret does
    assert await credentials.kubeconfig("eu-1") == b"one"
    (tmp_path / "..data-2").mkdir()
    (tmp_path / "..data-2" / "eu-1.kubeconfig").write_text("two")
    (tmp_path / "new").symlink_to("..data-2")
    (tmp_path / "new").rename(tmp_path / "..data")
    assert await credentials.kubeconfig("eu-1") == b"two"
    assert await credentials.kubeconfig("eu-2") == b"stored 2"


@pytest.mark.parametrize("name", ["", "..", "../eu-1", "a/b", "EU", "a\0b"])
async def test_a_name_cannot_leave_the_directory(tmp_path: Path, name: str) -> None:
    (tmp_path / "eu-1.kubeconfig").write_text("x")
    (tmp_path / "inner").mkdir()
    with pytest.raises(CredentialMissing):
        await NamedCredentials(tmp_path / "inner").kubeconfig(name)


async def test_a_missing_credential_says_where_it_was_sought(tmp_path: Path) -> None:
    with pytest.raises(CredentialMissing, match=r"eu-9\.kubeconfig nor in the encrypted store"):
        await NamedCredentials(tmp_path).kubeconfig("eu-9")


# In the hub


async def test_the_hub_runs_no_exec_plugin(world: World, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    user = {"exec": {"apiVersion": V1, "command": "/usr/bin/touch", "args": [str(mark)]}}
    with pytest.raises(CredentialRefused, match=r"credential eu-1:\d+.*R30"):
        async with world.connected(world.kubeconfig(user)):
            pass
    assert not mark.exists()
    assert world.server.connections == 0


async def test_a_credential_that_is_taken_away_is_not_used_any_longer(world: World) -> None:
    async with world.connected(limits=replace(SHORT, credential_seconds=0.05)) as kube:
        assert await kube.get(MAPS, "shop", "web") is None
        (world.folder / "eu-1.kubeconfig").unlink()
        await asyncio.sleep(0.1)
        with pytest.raises(CredentialMissing):
            await kube.get(MAPS, "shop", "web")


async def test_a_credential_that_moves_to_another_server_is_followed_and_that_server_proven(world: World) -> None:
    other = type(world.server)()
    other.authority = world.server.authority
    await other.start(other.make_context("127.0.0.1"))
    try:
        async with world.connected(limits=replace(SHORT, credential_seconds=0.05)) as kube:
            world.write(world.kubeconfig(server=other.url))
            await asyncio.sleep(0.1)
            assert await kube.get(MAPS, "shop", "web") is None
        assert [one.path for one in other.asked] == [
            "/api/v1/namespaces/kube-system",
            "/api/v1/namespaces/shop/configmaps/web",
        ]
    finally:
        await other.stop()


async def test_in_a_cluster_the_mounted_token_is_read_again(world: World, tmp_path: Path) -> None:
    mounted = tmp_path / "account"
    mounted.mkdir()
    (mounted / "ca.crt").write_bytes(world.server.authority.cert_pem.bytes())
    (mounted / "token").write_text("one\n")
    environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(world.server.port)}
    limits = replace(SHORT, credential_seconds=0.05)
    connector = KubeConnector(
        NamedCredentials(), limits=limits, allowed=LOOPBACK, environ=environ, service_account=mounted
    )
    here = Connection(in_cluster=True)
    kube = await connector.connect(ClusterName("hub"), here, expected=None, fence=world.fence)
    (mounted / "token").write_text("two\n")
    await asyncio.sleep(0.1)
    await kube.get(MAPS, "shop", "web")
    assert world.server.asked[0].headers["authorization"] == "Bearer one"
    assert world.server.asked[-1].headers["authorization"] == "Bearer two"
    (mounted / "token").write_text("")
    await asyncio.sleep(0.1)
    with pytest.raises(CredentialFailed, match="no token"):
        await kube.get(MAPS, "shop", "web")
    await kube.close()
    outside = KubeConnector(NamedCredentials(), environ={}, service_account=mounted)
    with pytest.raises(CredentialMissing, match="does not run in a cluster"):
        await outside.connect(ClusterName("hub"), here, expected=None, fence=world.fence)


# A person's exec plugins


@pytest.fixture
def plugin(tmp_path: Path) -> Write:
    """Writes a plugin of some Python lines; returns a user entry for it. It notes its runs in `runs`."""

    def write(code: str, **entry: Any) -> dict[str, Any]:
        script = tmp_path / "bin" / "plugin"
        script.parent.mkdir(exist_ok=True)
        prelude = (
            f"#!{sys.executable}\nimport json, os, sys, time\n"
            f"open({str(tmp_path / 'runs')!r}, 'a').write('x')\n"
            "def say(**status): print(json.dumps({'apiVersion': "
            f"{V1!r}, 'kind': 'ExecCredential', 'status': status}}))\n"
        )
        script.write_text(prelude + code)
        script.chmod(0o755)
        return {"exec": {"apiVersion": V1, "command": "bin/plugin", "interactiveMode": "Never", **entry}}

    return write


def runs(world: World) -> int:
    path = world.folder / "runs"
    return len(path.read_text()) if path.exists() else 0


async def person(world: World, user: dict[str, Any], **cluster: Any) -> Kube:
    path = world.write(world.kubeconfig(user, **cluster))
    return await connect_person(paths=[path], limits=SHORT)


async def test_a_plugin_s_token_is_used_and_kept_while_it_is_good(world: World, plugin: Write) -> None:
    kube = await person(world, plugin("say(token='from-plugin')"))
    await asyncio.gather(*(kube.get(MAPS, "shop", "web") for _ in range(10)))
    await kube.close()
    assert {one.headers["authorization"] for one in world.server.asked} == {"Bearer from-plugin"}
    assert runs(world) == 1
    assert kube.identity == UID


async def test_a_plugin_runs_again_when_its_credential_has_lapsed(world: World, plugin: Write) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=4)).isoformat().replace("+00:00", "Z")
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    mark = world.folder / "second"
    code = (
        f"first = not os.path.exists({str(mark)!r}); open({str(mark)!r}, 'w')\n"
        f"say(token='first' if first else 'second', expirationTimestamp={soon!r} if first else {later!r})"
    )
    kube = await person(world, plugin(code))
    assert runs(world) == 1
    async with asyncio.timeout(10):
        while world.server.asked[-1].headers["authorization"] != "Bearer second":
            await asyncio.sleep(0.2)
            await kube.get(MAPS, "shop", "web")
    assert runs(world) == 2
    await kube.close()


async def test_after_401_a_plugin_runs_once_for_all_callers_and_no_more(world: World, plugin: Write) -> None:
    async def only_second(asked: Asked, writer: asyncio.StreamWriter) -> Reply:
        good = asked.headers["authorization"] == "Bearer token-2"
        return refusal(404, "NotFound", "", {"name": "web"}) if good else refusal(401, "Unauthorized", "Unauthorized")

    runs_path = str(world.folder / "runs")
    kube = await person(world, plugin(f"say(token='token-' + str(len(open({runs_path!r}).read())))"))
    world.server.answer = only_second
    assert await asyncio.gather(*(kube.get(MAPS, "shop", "web") for _ in range(8))) == [None] * 8
    assert runs(world) == 2

    async def never(asked: Asked, writer: asyncio.StreamWriter) -> Reply:
        return refusal(401, "Unauthorized", "Unauthorized")

    world.server.answer = never
    for _ in range(5):
        with pytest.raises(Exception, match="Unauthorized"):
            await kube.get(MAPS, "shop", "web")
    assert runs(world) == 2  # 401 straight after a renewal is the server's last word
    await kube.close()


async def test_a_plugin_that_floods_stderr_does_not_hang(world: World, plugin: Write) -> None:
    kube = await person(world, plugin("sys.stderr.write('noise ' * 500_000)\nsay(token='t')"))
    await kube.close()
    failing = plugin("sys.stderr.write('noise ' * 500_000 + 'last words \\x1b[31m')\nsys.exit(3)")
    with pytest.raises(CredentialFailed, match=r"ended with 3: .*last words  \[31m"):
        await person(world, failing)


async def test_a_plugin_that_hangs_is_ended_with_its_children(world: World, plugin: Write) -> None:
    code = "import subprocess\nsubprocess.Popen(['sleep', '61'])\n"
    code += f"open({str(world.folder / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)"
    entry = plugin(code)
    command = str(world.folder / entry["exec"]["command"])
    access = ExecAccess(
        Endpoint("https://x"), Plugin(command, (), (), V1, "Never", False, None, "", "config:1"), seconds=1.5
    )
    began = time.monotonic()
    with pytest.raises(CredentialFailed, match=r"no answer within 1\.5 s"):
        await access.ticket()
    assert time.monotonic() - began < 10
    group = int((world.folder / "pid").read_text())
    async with asyncio.timeout(5):
        while _group_lives(group):
            await asyncio.sleep(0.02)


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_plugin_gets_no_terminal_and_the_cluster_when_it_asks_for_it(world: World, plugin: Write) -> None:
    told = str(world.folder / "told")
    heard = "sys.stdin.read() + os.environ['KUBERNETES_EXEC_INFO'] + os.environ['MINE']"
    code = f"open({told!r}, 'w').write({heard})\nsay(token='t')"
    entry = plugin(code, provideClusterInfo=True, env=[{"name": "MINE", "value": "!"}], args=["a"])
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "prod", "level": 3}}
    kube = await person(world, entry, extensions=[extension])
    await kube.close()
    content = Path(told).read_text()
    assert content.endswith("!")
    assert content.startswith("{")
    assert f'"server":"{world.server.url}"' in content
    assert '"certificate-authority-data":"' in content
    assert '"config":{"audience":"prod","level":3}' in content
    assert '"interactive":false' in content


@pytest.mark.parametrize(
    ("code", "entry", "why"),
    [
        ("print('no json')", {}, "no ExecCredential"),
        ("say()", {}, "neither a token nor a client certificate"),
        ("say(token='')", {}, "neither a token nor a client certificate"),
        ("say(token='a\\nb')", {}, "no header can carry"),
        ("say(token='t', expirationTimestamp='2001-01-01T00:00:00Z')", {}, "expired already"),
        ("say(token='t', expirationTimestamp='soon')", {}, "is no time"),
        ("print('x' * 3_000_000)", {}, "larger than 1 MiB"),
        ("sys.exit(1)", {}, "ended with 1"),
        ("say(token='t')", {"apiVersion": "client.authentication.k8s.io/v1alpha1"}, "not understood"),
        ("say(token='t')", {"apiVersion": "client.authentication.k8s.io/v1beta1"}, "no ExecCredential"),
        ("say(token='t')", {"interactiveMode": "Always"}, "asks for a terminal"),
        ("", {"command": "no-such-plugin", "installHint": "install it from here"}, "install it from here"),
    ],
)
async def test_a_plugin_without_a_credential_is_an_error_and_no_anonymous_request(
    world: World, plugin: Write, code: str, entry: dict[str, Any], why: str
) -> None:
    with pytest.raises(CredentialFailed, match=why):
        await person(world, plugin(code, **entry))
    assert world.server.connections == 0


# A person's commands


async def test_a_person_s_connection_reaches_loopback_and_writes_nothing_by_default(world: World) -> None:
    kube = await person(world, {"token": "t"})
    with pytest.raises(UsageInvalid):
        await kube.apply(MAPS, "shop", "web", b"{}")

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> Reply:
        return as_json({"kind": "ConfigMap", "metadata": {"name": "web"}})

    world.server.answer = answer
    await kube.apply(MAPS, "shop", "web", b"{}", dry_run=True)
    assert [one.path.rpartition("&")[2] for one in world.server.asked if one.method == "PATCH"] == ["dryRun=All"]
    await kube.close()


async def test_a_person_s_plain_http_works_with_a_credential(world: World) -> None:
    plain = type(world.server)()
    plain._server = await asyncio.start_server(plain._serve, "127.0.0.1", 0)
    port = plain._server.sockets[0].getsockname()[1]
    kube = await person(
        world, {"token": "t"}, server=f"http://127.0.0.1:{port}", **{"certificate-authority-data": None}
    )
    assert kube.identity == UID
    await kube.close()
    await plain.stop()
