"""A namespace of its own on a shared real API server, and a hub around one worker."""

from __future__ import annotations

import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from testbed.controlplane import ControlPlane

from fleet.sim import Simulation

sys.path.insert(0, str(Path(__file__).parent))

from rig import Hub
from simulated import SimHub
from two_hubs import SOON


@pytest.fixture
def shop(api_server: ControlPlane, namespace: str) -> str:
    """A namespace that exists."""
    return api_server.client().make_namespace(namespace)


@pytest.fixture
def plane(real_cluster: ControlPlane) -> ControlPlane:
    """The one with controllers."""
    return real_cluster


@pytest.fixture
def place(plane: ControlPlane, namespace: str) -> str:
    """A namespace that exists there."""
    return plane.client().make_namespace(namespace)


@pytest.fixture
def hub(api_server: ControlPlane) -> Hub:
    """A hub of an installation of its own, so that tests on one server do not see each other."""
    return Hub(api_server, installation=f"i-{uuid.uuid4().hex[:8]}")


@pytest.fixture
async def sim() -> AsyncIterator[Simulation]:
    async with Simulation(["one"], seed=1, ready_seconds=0.02) as simulation:
        yield simulation


@pytest.fixture
def first(sim: Simulation) -> SimHub:
    return SimHub(sim, installation="acme", limits=SOON)  # type: ignore[arg-type]


@pytest.fixture
def second(sim: Simulation) -> SimHub:
    return SimHub(sim, installation="rival", limits=SOON)  # type: ignore[arg-type]
