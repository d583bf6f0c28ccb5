"""Fixtures of the test bed. Servers are started lazily, once for each pytest process (each xdist worker).

Isolation on a shared server is by namespace (`namespace` gives a fresh name) and, in the ledger, by user agent. A test
that stops, freezes or compacts a server starts one of its own: `ControlPlane.start(testbed_run, unique_name, …)`.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from testbed import binaries
from testbed.controlplane import ControlPlane, ControlPlaneFleet
from testbed.gitrepo import GitRepo
from testbed.gitserver import GitHttpServer, GitSshServer
from testbed.otlp import OtlpReceiver
from testbed.plugin import RUN_OF_SESSION
from testbed.processes import Run
from testbed.webhooks import WebhookServer

BARE, FULL = "bare", "full"
FLEET = (FULL, BARE, "third", "fourth", "fifth")
SHARED = ("api_server", "real_cluster", "older_api_server", "real_fleet")


def require(*programs: str) -> None:
    """Skip the test where these programs cannot be had; in CI, fail it."""
    try:
        for program in programs:
            binaries.find(program)
    except binaries.BinariesMissing as absent:
        missing(str(absent))


def missing(what: str) -> NoReturn:
    """Skip the test because something real is not here; in CI, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"real programs are required in CI: {what}")
    pytest.skip(f"needs real programs: {what}")


@pytest.fixture(scope="session")
def testbed_run(request: pytest.FixtureRequest) -> Run:
    """The folder and the processes of this test run, ended with it."""
    require("etcd", "kube-apiserver")
    return request.config.stash[RUN_OF_SESSION]()


@pytest.fixture(scope="session")
def api_server(testbed_run: Run) -> ControlPlane:
    """One API server without controllers."""
    return ControlPlane.shared(testbed_run, BARE)


@pytest.fixture(scope="session")
def real_cluster(testbed_run: Run) -> ControlPlane:
    """A control plane with controllers, scheduler and a kwok node: Deployments become Ready, or meet their fate."""
    require("kube-controller-manager", "kube-scheduler", "kwok")
    return ControlPlane.shared(testbed_run, FULL, controllers=True)


@pytest.fixture(scope="session")
def real_fleet(testbed_run: Run) -> ControlPlaneFleet:
    """Five control planes; `real_fleet["full"]` is `real_cluster`, `real_fleet["bare"]` is `api_server`."""
    require("kube-controller-manager", "kube-scheduler", "kwok")
    return ControlPlaneFleet.start(testbed_run, FLEET, controllers_in=(FULL,))


@pytest.fixture(scope="module")
def ready_planes(testbed_run: Run) -> Iterator[tuple[ControlPlane, ...]]:
    """Three control planes with controllers: `real_cluster`, and two that end with the module.

    Unlike `real_cluster` they are not cleared of a hub before each test: a hub may live through a module's tests.
    """
    require("kube-controller-manager", "kube-scheduler", "kwok")
    names = (FULL, *(f"own-{uuid.uuid4().hex[:8]}" for _ in range(2)))
    fleet = ControlPlaneFleet.start(testbed_run, names, controllers_in=names)
    yield tuple(fleet.planes.values())
    for name in names[1:]:
        fleet[name].stop(kill=True)


@pytest.fixture(scope="session")
def older_api_server(testbed_run: Run) -> ControlPlane:
    """One API server of the oldest minor that fleet supports, without controllers."""
    require("kube-apiserver-older")
    return ControlPlane.shared(testbed_run, "older", program="kube-apiserver-older")


@pytest.fixture(autouse=True)
def nobody_was_here(request: pytest.FixtureRequest) -> None:
    """No parents of an earlier test on shared servers: its hub is another installation, and was there first (R23)."""
    for fixture in SHARED:
        if fixture in request.fixturenames:
            shared = request.getfixturevalue(fixture)
            for plane in shared.planes.values() if isinstance(shared, ControlPlaneFleet) else (shared,):
                plane.forget_parents()


@pytest.fixture
def own_api_server(testbed_run: Run) -> Iterator[Callable[..., ControlPlane]]:
    """Starts API servers that belong to one test (options as `ControlPlane.start`); it may break them."""
    started: list[ControlPlane] = []

    def start(**options: object) -> ControlPlane:
        started.append(ControlPlane.start(testbed_run, f"own-{uuid.uuid4().hex[:8]}", **options))
        return started[-1]

    yield start
    for plane in started:
        plane.stop(kill=True)  # nobody asks it again


@pytest.fixture
def namespace() -> str:
    """A name no other test uses; making it is the test's business (`client().make_namespace(name)`)."""
    return f"t-{uuid.uuid4().hex[:10]}"


@pytest.fixture
def git_root(tmp_path: Path) -> Path:
    """The folder below which the test's repositories lie; the git servers serve it."""
    root = tmp_path / "git"
    root.mkdir()
    return root


@pytest.fixture
def git_repo(git_root: Path) -> GitRepo:
    """An empty bare repository `fleet.git` below `git_root`."""
    return GitRepo.create(git_root / "fleet.git")


@pytest.fixture
def git_http(git_root: Path) -> Iterator[GitHttpServer]:
    """Serves `git_root` to anybody over http; set `users` or `fault` on it as a test needs."""
    server = GitHttpServer(git_root)
    yield server
    server.close()


@pytest.fixture
def git_ssh(git_root: Path, tmp_path: Path) -> Iterator[GitSshServer]:
    """Serves `git_root` over ssh to the one key it made."""
    server = GitSshServer(git_root, tmp_path / "ssh")
    yield server
    server.close()


@pytest.fixture
def otlp() -> Iterator[OtlpReceiver]:
    """A collector of traces and metrics at `otlp.endpoint`."""
    receiver = OtlpReceiver()
    yield receiver
    receiver.close()


@pytest.fixture
def webhook_server(tmp_path: Path) -> Iterator[WebhookServer]:
    """Admission and conversion webhooks, to be installed by `install_mutating` and `install_gadgets`."""
    server = WebhookServer(tmp_path / "webhooks")
    yield server
    server.close()
