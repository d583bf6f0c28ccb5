"""Seeded secrets, each shown to be in use, looked for in everything that leaves the hub.

`PYTHONPATH=tests python -m safety secrets --out FILE [--megabytes 50]`
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safety.secret_rig import CLUSTERS, COMMANDS, SecretRig
from safety.secret_search import Found, Search

from fleet.core.webhook import webhook_signature

_CRAWLS = 3  # of each round, with drift between them
_IN_GIT = ("repo-secret", "generated-secret")  # the mirror holds the very commits that bring these
_PLUGIN = """apiVersion: v1
kind: Config
current-context: file-1
clusters: [{{name: c, cluster: {cluster}}}]
contexts: [{{name: file-1, context: {{cluster: c, user: u}}}}]
users:
- name: u
  user:
    exec: {{apiVersion: client.authentication.k8s.io/v1, command: {command}, interactiveMode: Never}}
"""


@dataclass(frozen=True, slots=True)
class Result:
    """proofs: how each secret was shown to be in use; searched: bytes by kind of source."""

    proofs: dict[str, str]
    searched: dict[str, int]
    found: list[Found]

    def document(self) -> dict[str, Any]:
        found = [{**asdict(item), "around": repr(item.around)} for item in self.found]
        return {"proofs": self.proofs, "searched": self.searched, "total": sum(self.searched.values()), "found": found}


async def run(root: Path, megabytes: float, *, objects: int = 800, commands: Sequence[str] = COMMANDS) -> Result:
    """One hub; rounds until so much was let out; then the search."""
    rig = SecretRig(root, objects)
    async with rig.world():
        await _prove(rig)
        await _prove_by_hand(rig)
        while rig.collected.size < megabytes * 1_000_000 or rig.number < 1:
            await _round(rig)
            print(f"round {rig.number}: {rig.collected.size / 1e6:.1f} MB", file=sys.stderr)
            for line in commands if rig.number == 1 else ():
                await rig.command(line)
        rig.prove(
            "audit-key", b"each as it was written" in await rig.command("audit verify"), "the log verifies under it"
        )
    rig.gather()
    rig.prove(
        "hub-environment",
        rig.seeds.texts["hub-environment"].encode() in rig.trace.read_bytes().splitlines()[0],
        "it is in the environment that the hub was started with",
    )
    search = Search(rig.seeds.all(rig.client_key, rig.api_token))
    found = [hit for kind, place, content in rig.collected.parts for hit in search.look(kind, place, content)]
    found += [
        hit
        for hit in search.look_in_files("data directory", rig.data)
        if not (hit.secret in _IN_GIT and hit.place.startswith(str(rig.data / "mirror")))
    ]
    found += search.look_in_files("temporary files", rig.tmp)
    for left in Path("/dev/shm").glob(f"fleet-render-*-{rig.hub_pid}-*"):
        found += search.look_in_files("temporary files", left)
    return Result(rig.proofs, search.searched, found)


async def _prove(rig: SecretRig) -> None:
    """That the hub uses each credential, and that Secrets of the repo are on the clusters."""
    text, sim = rig.seeds.texts, rig.sim
    kubeconfig = sim.kubeconfig_with("stored-1", text["stored-token"]).decode()
    status, _ = await rig.call("PUT", "/api/v1/credentials/stored-1", {"kubeconfig": kubeconfig})
    rig.prove("store-key", status == 200, "the hub encrypted a credential under it")

    def value(cluster: str, name: str, key: str = "password") -> str:
        found = rig.secret_of(cluster, name)
        return base64.b64decode(found["data"][key]).decode() if found else ""

    for cluster in CLUSTERS:
        await rig.until(
            lambda cluster=cluster: value(cluster, "web-secret") == text["repo-secret"], f"{cluster} synced"
        )
    rig.prove("git-token", any(asked.authorization == "bot" for asked in rig.git.requests), "the Git host took it")
    rig.prove("repo-secret", value("file-1", "web-secret") == text["repo-secret"], "it is in a Secret on the cluster")
    generated = rig.secret_of("file-1", "generated")
    rig.prove(
        "generated-secret",
        generated and base64.b64decode(generated["data"]["password"]).decode() == text["generated-secret"],
        "it is in a generated Secret on the cluster",
    )
    rig.prove("kubeconfig-token", True, "the cluster file-1, which takes only this token, was written to")
    rig.prove("stored-token", True, "the cluster stored-1, which takes only this token, was written to")
    wanted = base64.b64encode(f"hub:{text['proxy-password']}".encode())
    rig.prove(
        "proxy-password", any(wanted in greeting for greeting in rig.proxy.greetings), "the proxy was greeted with it"
    )
    basic, mtls = rig.strange["basic-1"], rig.strange["mtls-1"]
    pair = f"hub:{text['basic-password']}".encode()
    wanted_basic = f"Basic {base64.b64encode(pair).decode()}"
    await rig.until(lambda: any(one.headers.get("authorization") == wanted_basic for one in basic.asked), "basic-1")
    rig.prove("basic-password", True, "the API server was shown it")
    await rig.until(lambda: mtls.certificates, "mtls-1")
    rig.prove("client-key", True, "the API server verified a signature by it")
    rig.prove("client-key as text", True, "as client-key")


async def _prove_by_hand(rig: SecretRig) -> None:
    """What people and other machines bring."""
    text, sim = rig.seeds.texts, rig.sim
    status, made = await rig.call(
        "POST", "/api/v1/tokens", {"name": "reader", "role": "viewer", "expiresSeconds": 3600}, keep=False
    )
    rig.api_token = made["token"]
    status, _ = await rig.call("GET", "/api/v1/status", token=rig.api_token)
    rig.prove("api-token", status == 200, "a request with it was answered")
    body = b'{"ref": "refs/heads/main"}'
    signed = {"X-Hub-Signature-256": webhook_signature(body, text["webhook-secret"].encode())}
    status, _ = await rig.call("POST", "/hooks/git", raw=body, token="", **signed)
    rig.prove("webhook-secret", status == 202, "a webhook signed with it was taken")
    refused = sim.kubeconfig_with("file-1", text["refused-token"]).decode().replace("https://", "http://")
    status, _ = await rig.call("PUT", "/api/v1/credentials/refused", {"kubeconfig": refused})
    rig.prove("refused-token", status >= 400, "a credential with it was refused")
    rig.drift()

    async def is_masked() -> bool:
        _, unit = await rig.call("GET", "/api/v1/units/kept@file-1")
        return '"masked": true' in json.dumps(unit)

    await rig.until(is_masked, "drift of a Secret")
    rig.prove("live-secret", True, "its drift is reported")
    (rig.root / "checkout").mkdir()
    plugin = rig.root / "plugin"
    status_of = {"status": {"token": text["plugin-token"]}}
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", **status_of}
    plugin.write_text(f"#!/bin/sh\ncat <<'X'\n{json.dumps(answer)}\nX\n")
    plugin.chmod(0o700)
    cluster = json.dumps(json.loads(sim.kubeconfig("file-1"))["clusters"][0]["cluster"])
    (rig.root / "person").write_text(_PLUGIN.format(cluster=cluster, command=plugin))
    for path, content in rig.files().items():
        target = rig.root / "checkout" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
    for line in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "x"]):
        rig.repo_git(rig.root / "checkout", *line)
    output = await rig.command("diff kept@file-1 --context file-1", KUBECONFIG=str(rig.root / "person"))
    rig.prove("plugin-token", b"watched" in output, "a person's command read the cluster with it")
    url = f"https://bot:{text['url-password']}@git.example/fleet.git"
    output = await rig.command("hub", FLEET_REPO=url, FLEET_DATA_DIR=str(rig.root / "other"))
    rig.prove("url-password", b"password" in output, "a hub whose URL holds it does not start")


async def _round(rig: SecretRig) -> None:
    """A commit that reaches the clusters, other bad builds, drift, refused requests; then all is read."""
    rig.number += 1
    text = rig.seeds.texts
    rig.repo.commit(rig.files())
    await rig.call("POST", "/api/v1/fleet:refresh", {})
    number = str(rig.number)

    def is_there() -> bool:
        found = rig.sim.cluster("file-1").get("", "ConfigMap", "default", "c0")
        return found is not None and found["data"]["a"] == number

    await rig.until(is_there, f"round {number}")
    rig.drift()
    for body in (text["webhook-secret"], rig.api_token):
        await rig.call("POST", "/hooks/git", raw=b"{}", token="", **{"X-Fleet-Signature": f"sha256={body}"})
        await rig.call("GET", "/api/v1/status", token=f"{body}x")
    await rig.call("POST", "/api/v1/fleet:suspend", {"reason": 7, "x": text["stored-token"]})
    for _ in range(_CRAWLS):
        rig.drift()
        await rig.crawl()


def main(words: Sequence[str]) -> int:
    """The command; 1 where a secret was found."""
    parser = argparse.ArgumentParser(prog="python -m safety secrets", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="file of results")
    parser.add_argument("--megabytes", type=float, default=50.0)
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="fleet-secrets-") as folder:
        result = asyncio.run(run(Path(folder), options.megabytes))
    document = result.document()
    options.out.write_text(json.dumps(document, indent=1) + "\n")
    for name, how in sorted(result.proofs.items()):
        print(f"{name:<20} {how}")
    for kind, size in sorted(result.searched.items()):
        print(f"{kind:<20} {size / 1e6:10.3f} MB")
    for item in document["found"]:
        print(f"FOUND {item['secret']} ({item['form']}) in {item['place']}: {item['around']}", file=sys.stderr)
    print(f"{len(result.proofs)} secrets, {document['total'] / 1e6:.1f} MB, {len(result.found)} found")
    return 1 if result.found else 0
