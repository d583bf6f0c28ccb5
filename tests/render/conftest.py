from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from render.world import KEY, MemoryVault, World

from fleet.render.cache import MemoryCache
from fleet.render.limits import RunLimits
from fleet.render.service import Renderer
from fleet.render.tools import Tool, find_tool


def _kustomize() -> str | None:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fleet-testbed" / "bin"
    named = os.environ.get("FLEET_KUSTOMIZE")
    places = [os.environ.get("KUBEBUILDER_ASSETS", ""), str(cache)]
    return named or shutil.which("kustomize", path=os.pathsep.join(places)) or shutil.which("kustomize")


@pytest.fixture(scope="session")
def kustomize() -> str:
    """The path of a real kustomize (or kubectl)."""
    found = _kustomize() or shutil.which("kubectl")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no kustomize and no kubectl: CI must have one")
        pytest.skip("no kustomize and no kubectl on this machine")
    return found


@pytest.fixture
async def tool(kustomize: str) -> Tool:
    return await find_tool({"FLEET_KUSTOMIZE": kustomize})


@pytest.fixture
async def make_renderer(tool: Tool, tmp_path: Path) -> AsyncIterator[Callable[..., Renderer]]:
    """Renderers with their own memory caches unless one is given; closed at the end."""
    made: list[Renderer] = []

    def make(
        *, cache=None, vault=None, key=KEY, used=None, limits: RunLimits | None = None, workers=1, helm=None
    ) -> Renderer:
        renderer = Renderer(
            cache or MemoryCache(),
            vault or MemoryVault(),
            key,
            used or tool,
            limits,
            workers,
            scratch=tmp_path / f"scratch-{len(made)}",
            helm=helm,
        )
        made.append(renderer)
        return renderer

    yield make
    for renderer in made:
        await renderer.close()


@pytest.fixture
def world(make_renderer: Callable[..., Renderer]) -> World:
    """A renderer and short ways to ask it."""
    return World(make_renderer())
