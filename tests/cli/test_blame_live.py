"""What `fleet blame` says of a hub's answers: since when a commit is there, and who holds a field that differs."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from cli.planrepo import git
from inventory.building import write

from fleet.cli.blame_live import Live
from fleet.core.ids import short
from fleet.source.local import LocalRepo, open_local

ELSEWHERE = "a" * 40
EARLY, LATE = "2026-11-26T10:00:00+00:00", "2026-11-26T11:00:00+00:00"


@pytest.fixture
async def repo(tmp_path: Path) -> AsyncGenerator[tuple[LocalRepo, list[str]]]:
    """A repository with three commits, oldest first."""
    git(tmp_path, "init", "-q", "-b", "main")
    commits: list[str] = []
    for number in range(3):
        write(tmp_path, {"a.yaml": f"a: {number}\n"})
        git(tmp_path, "add", "-A")
        git(tmp_path, "commit", "-q", "-m", f"number {number}")
        commits.append(git(tmp_path, "rev-parse", "HEAD"))
    opened = open_local(tmp_path, os.environ)
    yield opened, commits
    await opened.close()


async def test_a_commit_came_when_the_unit_first_got_one_that_has_it(repo: tuple[LocalRepo, list[str]]) -> None:
    local, (first, second, third) = repo
    live = Live(status={"commit": third}, applied=((EARLY, first), (LATE, third)))
    assert (await live.reached(local, second)).endswith(f"with {short(third)}")
    assert "since when is unknown" in await live.reached(local, first)


async def test_a_commit_that_is_not_there_may_wait_or_change_nothing(repo: tuple[LocalRepo, list[str]]) -> None:
    local, (first, second, _) = repo
    behind = Live(status={"commit": first}, applied=((EARLY, first),))
    said = await behind.reached(local, second)
    assert said == f"unknown: it is on {short(first)}, which came before; this one waits, or changes nothing there"


async def test_what_the_checkout_or_the_hub_does_not_know_is_unknown(repo: tuple[LocalRepo, list[str]]) -> None:
    local, (first, second, third) = repo
    assert "does not know" in await Live(status={"commit": ELSEWHERE}).reached(local, first)
    gap = Live(status={"commit": third}, applied=((EARLY, ELSEWHERE), (LATE, third)))
    assert "since when is unknown" in await gap.reached(local, second)
    assert await Live(unknown="no hub is known here").reached(local, first) == "unknown: no hub is known here"


def test_who_holds_a_field_is_said_where_it_differs() -> None:
    drift = [{"path": "spec.selector", "manager": "kubectl-edit"}, {"path": "spec.type", "manager": ""}]
    live = Live(status={"ageSeconds": 4}, object={"drift": drift})
    assert "spec.selector by kubectl-edit (seen 4s ago)" in live.holder("spec.selector[app]")
    assert "by an unknown manager" in live.holder("spec.type")
    assert live.holder("spec.typeless").startswith("as released")
    assert "spec.selector by kubectl-edit, spec.type by an unknown manager" in live.holder("")
    assert Live().holder("spec.type") == ""
