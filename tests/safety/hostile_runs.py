"""Hostile repos, Git hosts, kubeconfigs, addresses and webhooks against one hub in a process of its own.

`PYTHONPATH=tests python -m safety hostile --out FILE`: each case with what was refused, by which rule. Of the hub and
all its children the kernel tells every connection and every file that is made: none but to the cluster and the Git host
that are its own, none outside of its own folders.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import ipaddress
import json
import re
import socket
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from hubworld import cluster_file
from safety.hostile_repo import INVENTORY, OVERLAYS, files
from safety.stamp import ROOT
from safety.traced_hub import NotReached, TracedHub, surroundings
from testbed.gitrepo import GitRepo
from testbed.gitserver import GitHttpServer, HttpFault

from fleet.core.refusals import rule_of
from fleet.core.webhook import webhook_signature
from fleet.errors import GitUrlRefused
from fleet.sim import Simulation
from fleet.source.url import parse_url

Wanted = tuple[Callable[[dict[str, Any]], bool], str]  # how an entry of the log is known, and the reason it must give
SECRET = b"webhook-secret-of-the-hostile-run"
CALLS = "connect,sendto,sendmsg,sendmmsg,open,openat,creat,mkdir,mkdirat,symlink,symlinkat,link,linkat"
KUBECONFIGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # fields of the cluster, of the user
    "a program": ({}, {"exec": {"command": "/bin/sh", "apiVersion": "client.authentication.k8s.io/v1"}}),
    "an auth provider": ({}, {"auth-provider": {"name": "gcp"}, "token": "t"}),
    "a token file": ({}, {"tokenFile": "/etc/passwd"}),
    "a certificate file": ({}, {"client-certificate": "/etc/passwd", "client-key": "/etc/passwd"}),
    "an authority file": ({"certificate-authority": "/etc/passwd", "certificate-authority-data": None}, {"token": "t"}),
    "no verification": ({"insecure-skip-tls-verify": True, "certificate-authority-data": None}, {"token": "t"}),
    "plain http": ({"server": "http://127.0.0.1:1"}, {"token": "t"}),
    "another protocol": ({"server": "file:///etc/passwd"}, {"token": "t"}),
    "a server with a password": ({"server": "https://a:b@127.0.0.1:1"}, {"token": "t"}),
    "a server with a query": ({"server": "https://127.0.0.1:1/?x=y"}, {"token": "t"}),
    "a proxy of another kind": ({"proxy-url": "ftp://127.0.0.1:1"}, {"token": "t"}),
    "a proxy without a port": ({"proxy-url": "http://127.0.0.1"}, {"token": "t"}),
    "no credential": ({}, {}),
    "a header in the token": ({}, {"token": "t\r\nX-Evil: 1"}),
    "a certificate without its key": ({}, {"client-certificate-data": "eA=="}),
    "groups of nobody": ({}, {"token": "t", "as-groups": ["system:masters"]}),
    "no base64": ({}, {"client-certificate-data": "%%", "client-key-data": "%%"}),
}  # fmt: skip
ADDRESSES = {
    "loopback": "127.0.0.2", "loopback of IPv6": "[::1]", "mapped loopback": "[::ffff:127.0.0.2]",
    "loopback by NAT64": "[64:ff9b::7f00:2]", "loopback by 6to4": "[2002:7f00:2::]", "metadata": "169.254.169.254",
    "metadata of Alibaba": "100.100.100.200", "metadata of Azure": "168.63.129.16",
    "metadata of AWS": "[fd00:ec2::254]",
    "mapped metadata": "[::ffff:169.254.169.254]", "link-local": "169.254.7.7", "link-local of IPv6": "[fe80::1]",
    "nobody": "0.0.0.0", "everybody": "224.0.0.1", "broadcast": "255.255.255.255",
}  # fmt: skip
URLS = {
    "ext::sh -c 'touch x'": "a helper", "--upload-pack=touch x": "an option", "http://127.0.0.2/a/b": "plain http",
    "https://bot:secret@127.0.0.2/a/b": "a password", "git://127.0.0.2/a/b": "another protocol",
    "https://127.0.0.2/a/b?x=y": "a query", "https://-x/a/b": "a host that is an option",
    "ssh://-oProxyCommand=touch/a/b": "a host that is an option of ssh", "https://127.0.0.2/": "no path",
}  # fmt: skip


@dataclass
class Outcome:
    """What became of one case. `said` is the refusal in the hub's own words."""

    boundary: str
    case: str
    reason: str
    rule: str
    said: str
    expected: str = ""

    @property
    def is_refused(self) -> bool:
        return bool(self.rule) and self.reason == (self.expected or self.reason)


@dataclass
class Result:
    outcomes: list[Outcome] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)  # connections to others, files elsewhere, crashes
    harmless: list[str] = field(default_factory=list)  # twins that passed
    connections: int = 0
    files: int = 0

    def document(self) -> dict[str, Any]:
        refused = sum(outcome.is_refused for outcome in self.outcomes)
        return {"cases": len(self.outcomes), "refused": refused, **asdict(self)}


class HostileRig(TracedHub):
    """One hub, one cluster of its own, and everything that is hostile around it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.result = Result()
        self._missing: list[str] = []

    async def run(self) -> Result:
        self.make_folders()
        git = GitHttpServer(self.root / "git")
        repo = GitRepo.create(self.root / "git" / "fleet.git")
        made = files()
        for name in self._hostile_addresses():
            made[f"clusters/{name}.yaml"] = cluster_file(name, environment="away")
        repo.commit(made)
        async with Simulation(("eu-1", "eu-2"), seed=1) as sim:
            self._write_credentials(sim)
            await self.start(self._environment(git.url(repo)), CALLS)
            try:
                await self._repos(sim)
                await self._addresses()
                await self._kubeconfigs(sim)
                await self._webhooks(repo, sim)
                await self._git_hosts(git, repo)
                status, _ = await self._ask("GET", "/healthz")
                self.result.strays += [] if status == 200 else [f"the hub does not answer: {status}"]
            finally:
                await self.end()
                git.close()
            allowed = {int(sim.cluster(name).address.rpartition(":")[2]) for name in sim.clusters}
            self._urls()
            self._judge({*allowed, git.port})
        return self.result

    def _environment(self, url: str) -> dict[str, str]:
        (self.root / "webhook").write_bytes(SECRET)
        return {
            **surroundings(),
            "HOME": str(self.root / "home"), "TMPDIR": str(self.tmp), "FLEET_REPO": url,
            "FLEET_GIT_ALLOW_HTTP": "true", "FLEET_DATA_DIR": str(self.data),
            "FLEET_CREDENTIALS": str(self.credentials),
            "FLEET_WEBHOOK_SECRET_FILE": str(self.root / "webhook"), "FLEET_ALLOW_ADDRESS": "127.0.0.1/32",
            "FLEET_LISTEN": "127.0.0.1:0", "FLEET_POLL_SECONDS": "3600",
        }  # fmt: skip

    def _hostile_addresses(self) -> dict[str, str]:
        """By name of an entry: the address its credential names."""
        found = {f"a{number}": host for number, host in enumerate(ADDRESSES.values())}
        own = [a.address for nic in psutil.net_if_addrs().values() for a in nic if a.family == socket.AF_INET]
        mine = next((address for address in own if not ipaddress.ip_address(address).is_loopback), "")
        return {**found, **({"a-self": mine} if mine else {})}

    def _write_credentials(self, sim: Simulation) -> None:
        for name in sim.clusters:
            (self.credentials / f"{name}.kubeconfig").write_bytes(sim.kubeconfig(name))
        for name, host in self._hostile_addresses().items():
            config = json.loads(sim.kubeconfig("eu-1"))
            config["clusters"][0]["cluster"]["server"] = f"https://{host}:6443"
            (self.credentials / f"{name}.kubeconfig").write_text(json.dumps(config))

    async def _ask(self, method: str, path: str, body: Any = None, *, raw: bytes | None = None, **headers: str) -> Any:
        sent = {"Authorization": f"Bearer {self.admin}", **headers}
        data = raw if body is None else json.dumps(body).encode()
        if body is not None:
            sent["Content-Type"] = "application/json"
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.url + path, data=data, headers=sent) as answer,
        ):
            text = await answer.text()
            return answer.status, json.loads(text) if "json" in answer.content_type else text

    def _note(self, boundary: str, case: str, reason: str, said: str, expected: str = "") -> None:
        self.result.outcomes.append(Outcome(boundary, case, reason, rule_of(reason), said, expected))

    # The boundaries

    async def _refused(self) -> list[dict[str, Any]]:
        """What the audit log holds of refusals: by whom they are named is part of what is asked."""
        _, page = await self._ask("GET", "/api/v1/audit?limit=1000")
        return [item for item in page["items"] if item["action"] == "refuse"]

    async def _logged(self, boundary: str, wanted: dict[str, Wanted]) -> None:
        """Wait until each case is in the audit log, and note how it is named there."""

        async def found() -> dict[str, dict[str, Any]] | None:
            entries = await self._refused()
            hits = {}
            for name, (is_mine, expected) in wanted.items():
                mine = [entry for entry in entries if is_mine(entry)] or [None]
                named = (item for item in mine if item and item["reason"].startswith(f"{expected} "))
                hits[name] = next(named, mine[0])
            self._missing = [name for name, hit in hits.items() if hit is None]
            return hits if not self._missing else None

        try:
            hits = await self.until(found, f"every hostile {boundary} refused")
        except NotReached as error:
            raise NotReached(f"never refused: {self._missing}\n{error}") from error
        for name, hit in hits.items():
            reason, said = hit["reason"].partition(" ")[0], hit["reason"]
            self._note(boundary, name, reason, said, wanted[name][1])

    async def _repos(self, sim: Simulation) -> None:
        wanted: dict[str, Wanted] = {
            name: (lambda entry, name=name: entry.get("unit") == name, case.reason) for name, case in OVERLAYS.items()
        }
        for name, (path, _, expected) in INVENTORY.items():
            wanted[name] = (lambda entry, path=path: str(entry.get("object", "")).startswith(path), expected)
        await self._logged("repo", wanted)
        good = await self.until(lambda: sim.cluster("eu-1").get("", "ConfigMap", "default", "good"), "the good overlay")
        self.result.harmless += ["the overlay `good` beside them"] if good else []

    async def _addresses(self) -> None:
        labels = {host: label for label, host in ADDRESSES.items()}
        await self._logged(
            "address",
            {
                labels.get(host, host): (lambda entry, name=name: entry.get("cluster") == name, "AddressRefused")
                for name, host in self._hostile_addresses().items()
            },
        )

    async def _kubeconfigs(self, sim: Simulation) -> None:
        for name, (cluster, user) in KUBECONFIGS.items():
            config = json.loads(sim.kubeconfig("eu-1"))
            entry = {**config["clusters"][0]["cluster"], **cluster}
            config["clusters"][0]["cluster"] = {key: value for key, value in entry.items() if value is not None}
            config["users"][0]["user"] = user
            await self._put_credential(name, json.dumps(config))
        texts = {
            "no YAML": "{", "another kind": "kind: List\n", "a tag of Python": "!!python/object/new:os.system [x]",
            "aliases that grow": _growing(), "nothing": "",
        }  # fmt: skip
        for name, text in texts.items():
            await self._put_credential(name, text)
        status, _ = await self._ask("PUT", "/api/v1/credentials/fine", {"kubeconfig": sim.kubeconfig("eu-1").decode()})
        self.result.harmless += ["a kubeconfig with all its data inside"] if status == 200 else []
        _, kept = await self._ask("GET", "/api/v1/credentials")
        if names := [item["name"] for item in kept["items"] if item["name"] != "fine"]:
            self.result.strays.append(f"refused credentials were kept: {names}")

    async def _put_credential(self, name: str, text: str) -> None:
        status, problem = await self._ask("PUT", "/api/v1/credentials/hostile", {"kubeconfig": text})
        reason = problem["type"].removeprefix("urn:fleet:") if status >= 400 else ""
        said = f"{problem.get('title', '')}: {problem.get('detail', '')}"
        self._note("kubeconfig", name, reason, said)

    async def _webhooks(self, repo: GitRepo, sim: Simulation) -> None:
        body = b'{"ref": "refs/heads/main"}'
        good = webhook_signature(body, SECRET)
        bare = base64.b64encode(bytes.fromhex(good.removeprefix("sha256="))).decode()
        for name, headers, sent in (
            ("no signature", {}, body),
            ("an empty signature", {"X-Fleet-Signature": ""}, body),
            ("a signature of nothing", {"X-Fleet-Signature": "sha256="}, body),
            ("another secret", {"X-Fleet-Signature": webhook_signature(body, b"other")}, body),
            ("the empty secret", {"X-Fleet-Signature": webhook_signature(body, b"")}, body),
            ("another body", {"X-Fleet-Signature": good}, body + b" "),
            ("half a signature", {"X-Fleet-Signature": good[:40]}, body),
            ("base64 instead of hex", {"X-Fleet-Signature": f"sha256={bare}"}, body),
            ("the old algorithm", {"X-Hub-Signature": "sha1=" + "0" * 40}, body),
            ("a bad one before a good one", {"X-Fleet-Signature": "sha256=0", "X-Hub-Signature-256": good}, body),
            ("letters beyond ASCII", {"X-Fleet-Signature": "sha256=\u00e9"}, body),
            ("a token as the signature", {"X-Fleet-Signature": self.admin}, body),
            ("more than a mebibyte", {"X-Fleet-Signature": good}, b"x" * ((1 << 20) + 1)),
        ):
            status, problem = await self._ask("POST", "/hooks/git", raw=sent, Authorization="", **headers)
            reason = problem["type"].removeprefix("urn:fleet:") if status >= 400 else ""
            self._note("webhook", name, reason, f"{status} {problem.get('title') if reason else problem}")
        repo.commit({"overlays/good/g.yaml": _good("2")})
        status, _ = await self._ask("POST", "/hooks/git", raw=body, Authorization="", **{"X-Hub-Signature-256": good})
        await self.until(
            lambda: sim.cluster("eu-1").get("", "ConfigMap", "default", "good")["data"]["a"] == "2", "fetched"
        )
        self.result.harmless += ["a webhook that is signed"] if status == 202 else []

    async def _git_hosts(self, git: GitHttpServer, repo: GitRepo) -> None:
        head = repo.head()
        git.redirect_to = "http://127.0.0.2:1"

        def rewritten() -> None:
            repo.rewrite({"README.md": "nothing"})

        cases: tuple[tuple[str, str, HttpFault | None, Callable[[], None]], ...] = (
            ("a redirect to another host", "GitHostRefused", HttpFault.REDIRECT, lambda: None),
            ("a rewritten branch", "HistoryRewritten", None, rewritten),
            ("a branch that is gone", "RefMissing", None, repo.delete_branch),
        )
        for name, expected, fault, does in cases:
            git.fault = fault
            does()
            await self._ask("POST", "/api/v1/fleet:refresh", {})
            known = (lambda entry, expected=expected: entry["reason"].startswith(f"{expected} "), expected)
            await self._logged("git host", {name: known})
            git.fault = None
        _, revision = await self._ask("GET", "/api/v1/revisions")
        self.result.harmless += ["the last good commit stays in force"] if str(head) in json.dumps(revision) else []

    def _urls(self) -> None:
        for url, name in URLS.items():
            try:
                parse_url(url)
            except GitUrlRefused as error:
                self._note("git URL", name, error.reason, str(error), "GitUrlRefused")
            else:
                self._note("git URL", name, "", "it was taken", "GitUrlRefused")

    # What the kernel saw

    def _judge(self, ports: set[int]) -> None:
        own = (self.data, self.tmp, Path("/dev/shm"), Path("/dev/null"), Path("/dev/tty"), Path("/proc"))
        for line in self.trace.read_text(errors="replace").splitlines():
            if match := CONNECT.search(line):
                self.result.connections += 1
                port = int(match["port4"] or match["port6"])
                host = match["host4"] or match["host6"]
                if not (host in ("127.0.0.1", "::ffff:127.0.0.1") and port in ports) and port != 0:
                    self.result.strays.append(f"connection to {host}:{port}: {line[:160]}")
            elif (match := MADE.search(line)) and " = -1 " not in line:
                self.result.files += 1
                path = Path(match["path"] or match["made"])
                compiled = "__pycache__" in path.parts and path.is_relative_to(ROOT / "fleet")  # by Python itself
                if path.is_absolute() and not compiled and not any(path.is_relative_to(root) for root in own):
                    self.result.strays.append(f"file outside: {line[:200]}")
        words = self.log.read_text(errors="replace")
        signs = ("Traceback", "worker failed", "loop failed", "request failed")
        self.result.strays += [f"a crash: {sign}" for sign in signs if sign in words]


CONNECT = re.compile(
    r"(?:connect|sendto|sendmsg)\(.*?sa_family=AF_INET6?, "
    r"(?:sin_port=htons\((?P<port4>\d+)\), sin_addr=inet_addr\(\"(?P<host4>[^\"]+)\"\)"
    r"|sin6_port=htons\((?P<port6>\d+)\).*?inet_pton\(AF_INET6, \"(?P<host6>[^\"]+)\")"
)
_AT = r"\((?:AT_FDCWD, |\d+, )?"
MADE = re.compile(
    rf"(?:openat|open){_AT}\"(?P<path>[^\"]+)\", [^)]*O_CREAT|(?:creat|mkdir|mkdirat){_AT}\"(?P<made>[^\"]+)\""
)


def _growing() -> str:
    return "x: &x0 [a]\n" + "".join(f"y{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]\n" for n in range(1, 9))


def _good(value: str) -> str:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: good, namespace: default}}\ndata: {{a: '{value}'}}\n"


async def run(root: Path) -> Result:
    """All cases against one hub."""
    return await HostileRig(root).run()


def main(words: Sequence[str]) -> int:
    """The command; 1 where something was not refused, or reached somebody."""
    parser = argparse.ArgumentParser(prog="python -m safety hostile", description=__doc__)
    parser.add_argument("--out", type=Path, help="file of results")
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="fleet-hostile-") as folder:
        result = asyncio.run(run(Path(folder)))
    if options.out is not None:
        options.out.write_text(json.dumps(result.document(), indent=1) + "\n")
    for outcome in result.outcomes:
        mark = outcome.rule if outcome.is_refused else f"NOT REFUSED as {outcome.expected}"
        print(f"{outcome.boundary:<11} {outcome.case:<32} {mark:<4} {outcome.reason:<20} {outcome.said[:90]}")
    for stray in result.strays:
        print(f"STRAY {stray}")
    refused = sum(outcome.is_refused for outcome in result.outcomes)
    print(
        f"{len(result.outcomes)} cases, {refused} refused with their rule; {result.connections} connections and "
        f"{result.files} files looked at, {len(result.strays)} strays; harmless: {'; '.join(result.harmless)}"
    )
    return 0 if refused == len(result.outcomes) and not result.strays and len(result.harmless) == 4 else 1
