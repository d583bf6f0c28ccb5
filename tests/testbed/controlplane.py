"""Real control planes on the loopback: one etcd for all, an API server each, controllers where asked for.

A `ControlPlane` is a value read from its folder in the run, so that every worker of a run can use and stop what one of
them started. Reading order: `ControlPlaneFleet.start`, `ControlPlane.start`, then what a test does with one.
"""

from __future__ import annotations

import base64
import csv
import json
import os
import secrets
import shutil
import signal
import ssl
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import yaml
from testbed import binaries
from testbed.authority import Authority, write_signing_key
from testbed.fates import install_fates
from testbed.ledger import AUDIT_POLICY, Ledger, Mark, Request
from testbed.processes import Run, ServerFailed, free_port
from testbed.rest import Rest, TimedOut

NODE = "testbed-node"
ADMIN = "admin"
# Users with a token and no rights until `grant` gives them some; more by client certificate or service account.
DEFAULT_USERS: Mapping[str, tuple[str, ...]] = {ADMIN: ("system:masters",), "limited": (), "nobody": ()}
_START_TRIES = 3
_READY_SECONDS = 60.0
_STATE = ("name", "port", "etcd", "etcd_port", "tokens", "flags", "controllers", "program")
_STAGES = Path(__file__).with_name("stages.yaml")


@dataclass(frozen=True, slots=True)
class Etcd:
    """The store of one or more control planes."""

    run: Run
    name: str
    port: int

    @classmethod
    def shared(cls, run: Run, name: str = "etcd") -> Etcd:
        """The run's etcd of this name, started by the first who asks."""
        state = run.folder / f"{name}.json"
        with run.lock(name):
            if not state.exists():
                state.write_text(json.dumps({"port": cls._start(run, name)}))
            return cls(run, name, json.loads(state.read_text())["port"])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @staticmethod
    def _start(run: Run, name: str) -> int:
        program = binaries.find("etcd")
        for _ in range(_START_TRIES):
            port, peer_port = free_port(), free_port()
            client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
            argv = [str(program), "--name=testbed", f"--data-dir={run.folder / name}-data", "--unsafe-no-fsync"]
            # Without it quiet kinds get no bookmark for ten minutes, and a watch must be asked whether it lives.
            argv.append("--watch-progress-notify-interval=5s")
            argv += [f"--listen-client-urls={client}", f"--advertise-client-urls={client}"]
            argv += [f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"]
            argv += [f"--initial-cluster=testbed={peer}", "--log-level=error", "--quota-backend-bytes=8589934592"]
            run.spawn(name, argv)
            if _wait_until_up(run, name, f"{client}/health"):
                return port
        raise ServerFailed(f"etcd did not start: {run.log_tail(name)}")

    def compact(self, revision: int | None = None) -> None:
        """Forget the history before a revision (before now, without one)."""
        now = self._call("/v3/kv/range", {"key": base64.b64encode(b"\0").decode()})["header"]["revision"]
        try:
            self._call("/v3/kv/compaction", {"revision": revision or now, "physical": True})
        except urllib.error.HTTPError as refused:
            if b"has been compacted" not in refused.read():
                raise

    def keep(self) -> Path:
        """A copy of all that it stores; it is stopped meanwhile."""
        kept = self.run.folder / f"{self.name}-{uuid.uuid4().hex[:8]}"
        self._swap(lambda data: shutil.copytree(data, kept))
        return kept

    def put_back(self, kept: Path) -> None:
        """Store again what was kept, as from a backup: what was written since never was, and its revisions recur."""

        def swap(data: Path) -> None:
            shutil.rmtree(data)
            shutil.copytree(kept, data)

        self._swap(swap)

    def _swap(self, change: Callable[[Path], object]) -> None:
        pid = self.run.pid_of(self.name)
        assert pid is not None
        argv = psutil.Process(pid).cmdline()
        self.run.stop(self.name)
        change(self.run.folder / f"{self.name}-data")
        self.run.spawn(self.name, argv)
        if not _wait_until_up(self.run, self.name, f"{self.url}/health"):
            raise ServerFailed(f"etcd did not start: {self.run.log_tail(self.name)}")

    def _call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}{path}", json.dumps(body).encode(), timeout=10) as answer:
            return json.load(answer)


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """One control plane. `url` answers TLS with a certificate of its own authority (`ca_file`)."""

    run: Run
    name: str
    port: int
    etcd: str
    etcd_port: int
    tokens: Mapping[str, str]
    flags: tuple[str, ...] = ()
    controllers: bool = False
    program: str = "kube-apiserver"
    _trust: dict[str, ssl.SSLContext] = field(default_factory=dict, compare=False, repr=False)

    # Starting and stopping

    @classmethod
    def start(
        cls,
        run: Run,
        name: str,
        *,
        controllers: bool = False,
        own_etcd: bool = False,
        users: Mapping[str, Sequence[str]] = DEFAULT_USERS,
        flags: Sequence[str] = (),
        certificate_not_after: datetime | None = None,
        program: str = "kube-apiserver",
    ) -> ControlPlane:
        """Start a control plane and wait until it serves (and, with controllers, until its node is Ready).

        users: token users with their groups; flags: further kube-apiserver flags; own_etcd: for tests that compact
        history or stop the store. program: which of the test bed's API servers.
        """
        etcd = Etcd.shared(run, f"etcd-{name}" if own_etcd else "etcd")
        folder = run.folder / name
        folder.mkdir()
        tokens = {user: secrets.token_urlsafe(24) for user in users}
        _write_tokens(folder / "tokens.csv", tokens, users)
        Authority.create(folder)
        write_signing_key(folder / "sa.key")
        (folder / "audit-policy.json").write_text(json.dumps(AUDIT_POLICY))
        for _ in range(_START_TRIES):
            plane = cls(run, name, free_port(), etcd.name, etcd.port, tokens, tuple(flags), controllers, program)
            plane.renew_server_certificate(not_after=certificate_not_after)
            plane.start_api_server(wait=False)
            if controllers:
                plane._start_controllers()
            if plane._came_up():
                break
            plane.stop()
        else:
            raise ServerFailed(f"control plane {name}: {run.log_tail(f'{name}-kube-apiserver')}")
        if controllers:
            plane._start_controllers()
            plane._prepare_node()
        (folder / "plane.json").write_text(json.dumps({name: getattr(plane, name) for name in _STATE}))
        return plane

    @classmethod
    def shared(cls, run: Run, name: str, **options: Any) -> ControlPlane:
        """The run's control plane of this name, started by the first worker who asks."""
        state = run.folder / name / "plane.json"
        with run.lock(name):
            if not state.exists():
                return cls.start(run, name, **options)
            known = json.loads(state.read_text())
            return cls(run, **{**known, "flags": tuple(known["flags"])})

    def stop(self, *, kill: bool = False) -> None:
        """End its processes; what it stored stays in etcd. kill: the API server too, which else waits for watches."""
        for program in ("kwok", "kube-scheduler", "kube-controller-manager", "kube-apiserver"):
            self.run.stop(f"{self.name}-{program}", kill=kill or program != "kube-apiserver")

    def start_api_server(self, *, wait: bool = True) -> None:
        """Start the API server (again) on the same port with the same data."""
        self.run.spawn(f"{self.name}-kube-apiserver", self._api_server_argv())
        if wait and not self._came_up():
            raise ServerFailed(f"{self.name} did not come up: {self.run.log_tail(f'{self.name}-kube-apiserver')}")

    def stop_api_server(self, *, kill: bool = False) -> None:
        self.run.stop(f"{self.name}-kube-apiserver", kill=kill)

    @property
    def api_server_pid(self) -> int | None:
        """For a test that freezes it (SIGSTOP) to see a silent server."""
        return self.run.pid_of(f"{self.name}-kube-apiserver")

    @contextmanager
    def kubelet_stands_still(self) -> Iterator[None]:
        """Within the block no pod starts and none becomes Ready, as on a node that is overloaded."""
        pid = self.run.pid_of(f"{self.name}-kwok")
        assert pid is not None, f"{self.name} has no controllers"
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def renew_server_certificate(self, *, not_after: datetime | None = None) -> None:
        """Write a new server certificate; a running API server serves it within a minute, a restarted one at once."""
        certificate, key = Authority(self.folder).issue_server("127.0.0.1", "localhost", not_after=not_after)
        (self.folder / "server.key").write_bytes(key)
        (self.folder / "server.crt").write_bytes(certificate)

    def compact(self, revision: int | None = None) -> None:
        """Forget the history before a revision (before now, without one, which wants `own_etcd`).

        The API server goes on to answer from what its caches remember; restarted, it has forgotten too.
        """
        Etcd(self.run, self.etcd, self.etcd_port).compact(revision)

    def keep_store(self) -> Path:
        """A copy of all that its own etcd stores; the API server is stopped meanwhile."""
        self.stop_api_server()
        kept = Etcd(self.run, self.etcd, self.etcd_port).keep()
        self.start_api_server()
        return kept

    def put_store_back(self, kept: Path) -> None:
        """Restore its own etcd from such a copy, as people do: with the API server stopped."""
        self.stop_api_server()
        Etcd(self.run, self.etcd, self.etcd_port).put_back(kept)
        self.start_api_server()

    # Reaching it

    @property
    def folder(self) -> Path:
        return self.run.folder / self.name

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def ca_pem(self) -> bytes:
        return self.ca_file.read_bytes()

    @property
    def trust(self) -> ssl.SSLContext:
        """A client context that trusts this control plane alone."""
        if "context" not in self._trust:
            self._trust["context"] = ssl.create_default_context(cafile=str(self.ca_file))
        return self._trust["context"]

    def client(self, user: str | None = ADMIN, *, user_agent: str = "testbed") -> Rest:
        """The test's own hands on this server; user None asks without credentials."""
        return Rest(self.url, self.trust, self.tokens[user] if user else None, user_agent)

    def kubeconfig(
        self, user: str = ADMIN, *, certificate: bool = False, groups: Sequence[str] = (), files: bool = False
    ) -> dict[str, Any]:
        """A kubeconfig for a user, all data inside.

        certificate: by a client certificate instead of a token; then any user will do, in at most one group.
        files: CA, token, certificate and key as absolute paths of files instead of data.
        """
        data: dict[str, bytes] = {"certificate-authority": self.ca_pem}
        if certificate:
            admin = ("system:masters",) if user == ADMIN and not groups else ()
            issued = Authority(self.folder).issue_client(user, tuple(groups) or admin)
            data["client-certificate"], data["client-key"] = issued
        credentials: dict[str, str] = {} if certificate else {"token": self.tokens[user]}
        spelled = {key: self._spelled(key, value, user, files) for key, value in data.items()}
        if files and not certificate:
            path = self.folder / f"{user}.token"
            path.write_text(credentials.pop("token"))
            credentials["tokenFile"] = str(path)
        cluster: dict[str, str] = {"server": self.url}
        for key, (name, value) in spelled.items():
            (cluster if key == "certificate-authority" else credentials)[name] = value
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": self.name, "cluster": cluster}],
            "users": [{"name": user, "user": credentials}],
            "contexts": [{"name": self.name, "context": {"cluster": self.name, "user": user}}],
            "current-context": self.name,
        }

    def write_kubeconfig(self, path: Path, user: str = ADMIN, **options: Any) -> Path:
        """Write `kubeconfig(user, …)` to a file only its owner can read."""
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(self.kubeconfig(user, **options)))
        return path

    def service_account_kubeconfig(self, namespace: str, name: str) -> dict[str, Any]:
        """A kubeconfig with a fresh token of a service account, which is made when absent."""
        admin = self.client()
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": namespace, "name": name}}
        admin.apply(account)
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        config = self.kubeconfig()
        config["users"][0]["user"] = {"token": admin.request("POST", path, request)["status"]["token"]}
        return config

    def grant(self, user: str, *rules: Mapping[str, Sequence[str]], namespace: str | None = None) -> str:
        """Give a user these RBAC rules, in one namespace or in all; returns the name of role and binding."""
        kind = "Role" if namespace else "ClusterRole"
        name = f"testbed-{uuid.uuid4().hex[:8]}"
        metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
        rbac = "rbac.authorization.k8s.io"
        subject = {"kind": "User", "name": user, "apiGroup": rbac}
        role = {"apiVersion": f"{rbac}/v1", "kind": kind, "metadata": metadata, "rules": list(rules)}
        binding = {
            "apiVersion": f"{rbac}/v1",
            "kind": f"{kind}Binding",
            "metadata": metadata,
            "subjects": [subject],
            "roleRef": {"apiGroup": rbac, "kind": kind, "name": name},
        }
        for document in (role, binding):
            self.client().apply(document)
        self._wait_until_granted(user, rules[0], namespace)
        return name

    def _wait_until_granted(self, user: str, rule: Mapping[str, Sequence[str]], namespace: str | None) -> None:
        """The authorizer reads roles from its own watch: ask it until it knows."""
        asked = {"verb": rule["verbs"][0], "group": rule["apiGroups"][0], "resource": rule["resources"][0]}
        if rule.get("resourceNames"):
            asked["name"] = rule["resourceNames"][0]
        spec = {"user": user, "resourceAttributes": {**asked, "namespace": namespace or ""}}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        deadline = time.monotonic() + 10
        while not self.client().request("POST", path, review)["status"]["allowed"]:
            if time.monotonic() > deadline:
                raise TimedOut(f"{user} is still not allowed {asked} on {self.name}")
            time.sleep(0.01)

    def forget_parents(self) -> None:
        """Delete the parent objects of every hub that was here: the next one meets a cluster of nobody's."""
        query = {"labelSelector": "applyset.kubernetes.io/id"}
        self.client().request("DELETE", "/api/v1/namespaces/fleet-system/configmaps", query=query)

    # The ledger

    def ledger_mark(self) -> Mark:
        """Now, as a place in the ledger."""
        self._settle_ledger()
        return Ledger(self._audit_log).mark()

    def ledger(self, since: Mark | None = None, *, user_agent: str | None = None) -> list[Request]:
        """Requests answered since a mark, those of one user agent (by prefix) or all but the test bed's own."""
        self._settle_ledger()
        requests = Ledger(self._audit_log).since(since or Mark(0))
        if user_agent is not None:
            return [request for request in requests if request.user_agent.startswith(user_agent)]
        return [request for request in requests if not request.user_agent.startswith("testbed")]

    def _settle_ledger(self) -> None:
        """Ask something recognisable and wait until it is written: what was answered before is written then too."""
        needle = f"testbed-settle-{uuid.uuid4().hex}"
        start = Ledger(self._audit_log).mark()
        self.client(user_agent=needle).get("/version")
        deadline = time.monotonic() + 10
        while not any(seen.user_agent == needle for seen in Ledger(self._audit_log).since(start)):
            if time.monotonic() > deadline:
                raise TimedOut(f"the audit log of {self.name} does not grow")
            time.sleep(0.01)

    @property
    def _audit_log(self) -> Path:
        return self.folder / "audit.log"

    # How the parts are started

    def _api_server_argv(self) -> list[str]:
        folder = self.folder
        return [
            str(binaries.find(self.program)),
            f"--etcd-servers=http://127.0.0.1:{self.etcd_port}",
            f"--etcd-prefix=/{self.name}",
            f"--secure-port={self.port}",
            "--bind-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            f"--tls-cert-file={folder / 'server.crt'}",
            f"--tls-private-key-file={folder / 'server.key'}",
            f"--client-ca-file={folder / 'ca.crt'}",
            f"--token-auth-file={folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={folder / 'sa.key'}",
            f"--service-account-signing-key-file={folder / 'sa.key'}",
            "--service-cluster-ip-range=10.96.0.0/12",
            "--disable-admission-plugins=ServiceAccount",
            f"--audit-policy-file={folder / 'audit-policy.json'}",
            f"--audit-log-path={self._audit_log}",
            "--audit-log-mode=blocking",
            "--profiling=false",
            *self.flags,
        ]

    def _start_controllers(self) -> None:
        config = self.write_kubeconfig(self.folder / "controllers.kubeconfig", certificate=True)
        manager = [
            "--leader-elect=false",
            "--secure-port=0",
            "--controllers=*,-node-ipam-controller,-bootstrap-signer-controller,-token-cleaner-controller",
            f"--service-account-private-key-file={self.folder / 'sa.key'}",
            f"--root-ca-file={self.ca_file}",
            "--node-monitor-grace-period=10m",
            "--min-resync-period=12h",
        ]
        scheduler = ["--leader-elect=false", "--secure-port=0"]
        kwok = ["--manage-all-nodes=true", f"--config={_STAGES}", "--cidr=10.0.0.0/16", "--node-ip=10.0.0.1"]
        for program, flags in (("kube-controller-manager", manager), ("kube-scheduler", scheduler), ("kwok", kwok)):
            # The manager waits 10 s for its API server, then gives up: on a busy machine it is started once more.
            if not self.run.is_running(f"{self.name}-{program}"):
                argv = [str(binaries.find(program)), f"--kubeconfig={config}", *flags]
                self.run.spawn(f"{self.name}-{program}", argv)

    def _came_up(self) -> bool:
        program = f"{self.name}-kube-apiserver"
        if not _wait_until_up(self.run, program, f"{self.url}/readyz", self.trust, self.tokens.get(ADMIN)):
            return False
        self.client().wait("/api/v1/namespaces/default", bool, seconds=_READY_SECONDS)
        return True

    def _prepare_node(self) -> None:
        admin = self.client()
        labels = {"kubernetes.io/hostname": NODE, "type": "kwok"}
        admin.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE, "labels": labels}})
        install_fates(admin)
        try:
            admin.wait(f"/api/v1/nodes/{NODE}", _is_ready_node, seconds=_READY_SECONDS)
            admin.wait("/api/v1/namespaces/default/serviceaccounts/default", bool, seconds=_READY_SECONDS)
        except TimedOut as timed_out:
            logs = "\n".join(self.run.log_tail(f"{self.name}-{program}") for program in ("kwok", "kube-scheduler"))
            raise ServerFailed(f"{timed_out}\n{logs}") from timed_out

    def _spelled(self, key: str, value: bytes, user: str, files: bool) -> tuple[str, str]:
        if not files:
            return f"{key}-data", base64.b64encode(value).decode()
        path = self.folder / f"{user}.{key}"
        path.write_bytes(value)
        return key, str(path)


@dataclass(frozen=True, slots=True)
class ControlPlaneFleet:
    """Several control planes on one etcd, by name."""

    planes: Mapping[str, ControlPlane]

    @classmethod
    def start(cls, run: Run, names: Sequence[str], *, controllers_in: Sequence[str] = ()) -> ControlPlaneFleet:
        """Start (or find, when this run has them) control planes, all at the same time."""
        Etcd.shared(run)
        with ThreadPoolExecutor(len(names)) as pool:
            started = pool.map(lambda name: ControlPlane.shared(run, name, controllers=name in controllers_in), names)
            return cls(dict(zip(names, started, strict=True)))

    def __getitem__(self, name: str) -> ControlPlane:
        return self.planes[name]

    def stop(self) -> None:
        for plane in self.planes.values():
            plane.stop()


def _write_tokens(path: Path, tokens: Mapping[str, str], users: Mapping[str, Sequence[str]]) -> None:
    path.touch(mode=0o600)
    with path.open("w", newline="") as handle:
        rows = csv.writer(handle)
        for user, groups in users.items():
            rows.writerow([tokens[user], user, f"uid-{user}", ",".join(groups)])


def _is_ready_node(node: Mapping[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _wait_until_up(
    run: Run, name: str, url: str, trust: ssl.SSLContext | None = None, token: str | None = None
) -> bool:
    """Whether `url` answers 200 in time; False at once when the process has ended (as with a port taken meanwhile)."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    request.add_header("User-Agent", "testbed")
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and run.is_running(name):
        try:
            with urllib.request.urlopen(request, timeout=5, context=trust):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    return False
