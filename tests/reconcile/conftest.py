"""A namespace of its own on a shared real API server, and a hub around one worker."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

import pytest
from testbed.controlplane import ControlPlane

sys.path.insert(0, str(Path(__file__).parent))

from rig import Hub


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
