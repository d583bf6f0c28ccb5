"""Mirrors of the test's repository, over a local path or a real server; all are closed at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from testbed.gitrepo import GitRepo

from fleet.source.command import GitLimits
from fleet.source.mirror import Mirror, MirrorSettings

MakeMirror = Callable[..., Mirror]
QUICK = GitLimits(fetch_seconds=20, first_fetch_seconds=20, read_seconds=20, idle_seconds=2)


@pytest.fixture
async def make_mirror(git_repo: GitRepo, tmp_path: Path) -> AsyncIterator[MakeMirror]:
    """Make a mirror; by default of the repository's path. Fields of MirrorSettings may be given; `at` is its folder."""
    made: list[Mirror] = []
    default = MirrorSettings(str(git_repo.path), limits=QUICK, allow_http=True, allow_path=True)

    def make(*, at: str = "mirror", **fields: object) -> Mirror:
        made.append(Mirror(replace(default, **fields), tmp_path / at))
        return made[-1]

    yield make
    for mirror in made:
        await mirror.close()
