from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from controllers.rig import Brain
from hubworld import AT_ONCE
from testbed import binaries
from testbed.fixtures import require
from testbed.gitrepo import GitRepo

from fleet.render.tools import Tool, find_tool


@pytest.fixture
async def tool() -> Tool:
    require("kustomize")
    return await find_tool({"FLEET_KUSTOMIZE": str(binaries.find("kustomize"))})


@pytest.fixture
async def brain(tmp_path: Path, git_repo: GitRepo, tool: Tool) -> AsyncIterator[Brain]:
    git_repo.commit({"fleet.yaml": AT_ONCE})
    made = Brain(tmp_path, git_repo, tool)
    await made.board.start()
    yield made
    await made.close()
