"""A whole hub in a process of its own that meets every kind of secret, and everything that it lets out.

Each secret is first shown to have reached the part that uses it. What is collected: logs, answers of the API, the event
stream, metrics, traces, the audit log, output of commands, files of the data directory, temporary files, and the
arguments and environments of all children, as the kernel was given them.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import re
import secrets
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import trustme
import yaml
from aiohttp import web
from hubworld import AT_ONCE, cluster_file, config_map, overlay
from kube.hostile import HostileServer
from kube.proxies import Proxy, http_connect
from safety.secret_repo import BAD, GENERATED, secret_file
from safety.traced_hub import PROGRAM, NotReached, TracedHub, surroundings
from testbed.gitrepo import GitRepo, isolated_environment
from testbed.gitserver import GitHttpServer

from fleet.sim import Simulation
from fleet.sim.cluster import ADMIN
from fleet.store.crypto import audit_key

CLUSTERS = ("file-1", "stored-1", "proxied-1")
ROUTES = (
    "suspensions", "operations", "tokens", "credentials", "clusters", "clusters/file-1", "holds", "overlays",
    "overlays/web", "recovery", "status", "revisions", "rollouts", "events?limit=1000", "audit?limit=1000",
    "units?limit=1000", "units/kept@file-1", "progress",
)  # fmt: skip
COMMANDS = ("get clusters", "get units -o json", "status", "history", "describe unit kept@file-1", "audit export")


@dataclass
class Seeds:
    """One secret of each kind."""

    texts: dict[str, str] = field(default_factory=dict)
    store_key: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    def __post_init__(self) -> None:
        for name in (
            "git-token", "kubeconfig-token", "stored-token", "basic-password", "proxy-password", "repo-secret",
            "generated-secret", "live-secret", "webhook-secret", "hub-environment", "url-password", "plugin-token",
            "refused-token",
        ):  # fmt: skip
            self.texts[name] = secrets.token_hex(20)

    def all(self, client_key: bytes, api_token: str) -> dict[str, bytes]:
        found = {name: text.encode() for name, text in self.texts.items()}
        # Of the key the number itself, which no certificate shows; of the file one line of its text.
        found["client-key"] = base64.b64decode(b"".join(client_key.splitlines()[1:-1]))[40:88]
        found["client-key as text"] = client_key.splitlines()[2]
        found["api-token"] = api_token.encode()
        found["store-key"] = self.store_key
        found["audit-key"] = audit_key(self.store_key)
        return found


@dataclass
class Collected:
    """Bytes by kind of source and place."""

    parts: list[tuple[str, str, bytes]] = field(default_factory=list)
    size: int = 0

    def add(self, kind: str, place: str, content: bytes) -> None:
        self.parts.append((kind, place, content))
        self.size += len(content)


class Strange(HostileServer):
    """An API server that answers nobody, but sees what is shown to it."""

    def __init__(self, uid: str) -> None:
        super().__init__(uid)
        self.certificates: list[bytes] = []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        self.certificates += [shown] if shown else []
        await super()._serve(reader, writer)


class SecretRig(TracedHub):
    """Use `world()`; then rounds; `collected` holds everything, `proofs` how each secret was shown to be in use."""

    def __init__(self, root: Path, objects: int) -> None:
        """objects: ConfigMaps of the good overlay, which make the answers larger."""
        self.seeds, self.collected, self.objects = Seeds(), Collected(), objects
        self.proofs: dict[str, str] = {}
        super().__init__(root)
        self.client_key, self.api_token = b"", ""
        self.number = 0
        self._stream = bytearray()

    def prove(self, name: str, holds: object, how: str) -> None:
        if not holds:
            raise NotReached(f"{name}: not {how}")
        self.proofs[name] = how

    @asynccontextmanager
    async def world(self) -> AsyncIterator[SecretRig]:
        """Clusters, proxies, a Git host and a collector of traces in this process; the hub in one of its own."""
        self.make_folders()
        text = self.seeds.texts
        git = GitHttpServer(self.root / "git", users={"bot": text["git-token"]})
        repo = GitRepo.create(self.root / "git" / "fleet.git")
        self.git, self.repo = git, repo
        async with Simulation(CLUSTERS, seed=1) as sim, self._collector() as otlp:
            self.sim = sim
            self.strange = {"basic-1": Strange("basic"), "mtls-1": Strange("mtls")}
            self.proxy = Proxy(int(sim.cluster("proxied-1").address.rpartition(":")[2]))
            self.proxy.password = f"hub:{text['proxy-password']}"
            await self.proxy.start(http_connect)
            for server in self.strange.values():
                await server.start()
            self._write_credentials()
            repo.commit(self.files())
            await self.start(self.environment(otlp), "execve")
            reading = asyncio.create_task(self._read_stream())
            try:
                yield self
            finally:
                reading.cancel()
                await self.end()
                for server in (*self.strange.values(), self.proxy):
                    await server.stop()
                git.close()

    # What the hub meets

    def files(self) -> dict[str, str]:
        """The repo of round `number`: one good overlay with Secrets, one whose Secret drifts, and bad ones."""
        text, n = self.seeds.texts, str(self.number)
        web = {f"c{item}": config_map(f"c{item}", n if item == 0 else "same") for item in range(self.objects)}
        made = {
            "fleet.yaml": AT_ONCE,
            **{f"clusters/{name}.yaml": cluster_file(name) for name in (*CLUSTERS, "basic-1", "mtls-1")},
            **overlay("overlays/web", {**web, "secret": secret_file("web-secret", text["repo-secret"])}),
            **overlay("overlays/kept", {"watched": secret_file("watched", "from-git")}, sync="{selfHeal: false}"),
            "overlays/web/generated.env": f"password={text['generated-secret']}\n",
        }
        made["overlays/web/kustomization.yaml"] += GENERATED
        for name, files in BAD.items():
            made |= overlay(f"overlays/{name}", {"ok": config_map(f"{name}-ok", n)})
            made |= {
                f"overlays/{name}/{path}": body.replace("SEED", text["repo-secret"]) for path, body in files.items()
            }
        return made

    def _write_credentials(self) -> None:
        text = self.seeds.texts
        for name in ("file-1", "proxied-1"):
            self.sim.cluster(name).access.tokens[text["kubeconfig-token"]] = ADMIN
        self.sim.cluster("stored-1").access.tokens[text["stored-token"]] = ADMIN
        self.sim.cluster("file-1").access.tokens[text["plugin-token"]] = ADMIN
        proxied = json.loads(self.sim.kubeconfig_with("proxied-1", text["kubeconfig-token"]))
        proxied["clusters"][0]["cluster"]["proxy-url"] = (
            f"http://hub:{text['proxy-password']}@127.0.0.1:{self.proxy.port}"
        )
        self._write("proxied-1", proxied)
        self._write("file-1", json.loads(self.sim.kubeconfig_with("file-1", text["kubeconfig-token"])))
        self._write("basic-1", self._config("basic-1", {"username": "hub", "password": text["basic-password"]}))
        mtls = self.strange["mtls-1"]
        pair = mtls.authority.issue_cert("hub@fleet", key_type=trustme.KeyType.RSA)
        self.client_key = pair.private_key_pem.bytes()
        mtls.authority.configure_trust(mtls.context)
        mtls.context.verify_mode = ssl.CERT_REQUIRED
        certificate = b"".join(item.bytes() for item in pair.cert_chain_pems)
        shown = {"client-certificate-data": certificate, "client-key-data": self.client_key}
        self._write("mtls-1", self._config("mtls-1", {k: base64.b64encode(v).decode() for k, v in shown.items()}))

    def _config(self, name: str, user: dict[str, Any]) -> dict[str, Any]:
        server = self.strange[name]
        authority = base64.b64encode(server.authority.cert_pem.bytes()).decode()
        return {
            "kind": "Config",
            "current-context": "x",
            "clusters": [{"name": "c", "cluster": {"server": server.url, "certificate-authority-data": authority}}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        }

    def _write(self, name: str, config: dict[str, Any]) -> None:
        path = self.credentials / f"{name}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(config))

    # The hub's process

    def environment(self, otlp: str) -> dict[str, str]:
        text = self.seeds.texts
        for name, secret in (("token", text["git-token"]), ("webhook", text["webhook-secret"])):
            (self.root / name).write_text(secret)
        return {
            **surroundings(),
            "HOME": str(self.root / "home"),
            "TMPDIR": str(self.tmp),
            "FLEET_REPO": self.git.url(self.repo),
            "FLEET_GIT_ALLOW_HTTP": "true",
            "FLEET_GIT_USERNAME": "bot",
            "FLEET_GIT_TOKEN_FILE": str(self.root / "token"),
            "FLEET_WEBHOOK_SECRET_FILE": str(self.root / "webhook"),
            "FLEET_DATA_DIR": str(self.data),
            "FLEET_CREDENTIALS": str(self.credentials),
            "FLEET_ALLOW_ADDRESS": "127.0.0.0/8",
            "FLEET_LISTEN": "127.0.0.1:0",
            "FLEET_LOG_LEVEL": "DEBUG",
            "FLEET_POLL_SECONDS": "3600",
            "FLEET_OTLP_ENDPOINT": otlp,
            "FLEET_KEY": self.seeds.store_key.hex(),
            "SOME_CLOUD_SECRET": text["hub-environment"],
        }

    @asynccontextmanager
    async def _collector(self) -> AsyncIterator[str]:
        """Takes traces as they are sent, whole."""

        async def take(request: web.Request) -> web.Response:
            body = await request.read()
            packed = request.headers.get("Content-Encoding") == "gzip"
            self.collected.add("traces", "OTLP", gzip.decompress(body) if packed else body)
            return web.Response(content_type="application/x-protobuf")

        app = web.Application(client_max_size=1 << 28)
        app.router.add_post("/v1/traces", take)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    # What goes in and comes out

    async def call(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, raw: bytes | None = None,
        keep: bool = True, **headers: str,
    ) -> tuple[int, Any]:  # fmt: skip
        """One request; its whole answer is collected, unless it is the one that hands a secret out."""
        sent = {"Authorization": f"Bearer {self.admin if token is None else token}", **headers}
        data = raw if body is None else json.dumps(body).encode()
        if body is not None:
            sent["Content-Type"] = "application/json"
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.url + path, data=data, headers=sent) as answer,
        ):
            content = await answer.read()
            if keep:
                kind = "metrics" if path == "/metrics" else "errors" if answer.status >= 400 else "API answers"
                self.collected.add(kind, f"{method} {path}", str(answer.headers).encode() + content)
            return answer.status, json.loads(content) if "json" in answer.content_type else content

    async def _read_stream(self) -> None:
        sent = {"Authorization": f"Bearer {self.admin}"}
        timeout = aiohttp.ClientTimeout(total=None)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"{self.url}/api/v1/stream", headers=sent) as answer,
        ):
            async for chunk in answer.content.iter_any():
                self._stream += chunk

    async def crawl(self) -> None:
        """Everything that can be read, as admin and as a viewer; and the answers to what is refused."""
        for token in (self.admin, self.api_token):
            for route in (*ROUTES, *(f"units/web@{cluster}" for cluster in CLUSTERS)):
                await self.call("GET", f"/api/v1/{route}", token=token)
        for path in ("/metrics", "/healthz", "/readyz", "/openapi.json"):
            await self.call("GET", path)

    async def command(self, line: str, **more: str) -> bytes:
        """Output of one command of a person's, on the hub's machine."""
        environment = {
            **surroundings(),
            "HOME": str(self.root / "home"), "FLEET_DATA_DIR": str(self.data), "TMPDIR": str(self.tmp),
            "FLEET_KEY": self.seeds.store_key.hex(), **more,
        }  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            *PROGRAM, *line.split(), env=environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=self.root / "checkout",
        )  # fmt: skip
        output, _ = await process.communicate()
        self.collected.add("commands", f"fleet {line}", output)
        return output

    def secret_of(self, cluster: str, name: str) -> dict[str, Any] | None:
        """A Secret on a simulated cluster; a generated one by the beginning of its name."""
        found = self.sim.cluster(cluster).list("", "Secret", "default")
        return next((item for item in found if item["metadata"]["name"].startswith(name)), None)

    def drift(self) -> None:
        """Somebody writes the live secret, with the round's number, into the Secret that is not healed."""
        value = base64.b64encode(f"{self.seeds.texts['live-secret']} {self.number}".encode()).decode()
        for name in CLUSTERS:
            self.sim.cluster(name).drift("", "Secret", "default", "watched", {"data": {"password": value}})

    def repo_git(self, folder: Path, *words: str) -> None:
        environment = isolated_environment(self.root)
        author = ("-c", "user.name=mara", "-c", "user.email=mara@acme.example")
        subprocess.run(["git", *author, *words], cwd=folder, env=environment, check=True, capture_output=True)

    def gather(self) -> None:
        """What is left when the hub has ended."""
        self.collected.add("logs", "hub.log", (self.root / "hub.log").read_bytes())
        self.collected.add("event stream", "/api/v1/stream", bytes(self._stream))
        for line in self.child_starts():
            self.collected.add("children", line[:60].decode(errors="replace"), line)

    def child_starts(self) -> Iterator[bytes]:
        """One line for each program a child was, with all arguments and its whole environment; not the hub's own."""
        hub = b""
        for line in self.trace.read_bytes().splitlines():
            pid = line.split(b" ", 1)[0]
            hub = hub or pid
            if pid != hub and b"execve(" in line:
                yield _unescaped(line)


def _unescaped(line: bytes) -> bytes:
    """strace writes what is not printable in octal."""
    return re.sub(rb"\\([0-7]{1,3})", lambda match: bytes([int(match[1], 8) & 255]), line)
