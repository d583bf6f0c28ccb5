"""One hostile server per test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from kube.hostile import HostileServer, World


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    server = HostileServer()
    await server.start()
    yield World(server, tmp_path)
    await server.stop()
