"""A short history through the hub's own decisions: nobody is asked in vain, and nothing goes that should stay."""

from __future__ import annotations

from pathlib import Path

import pytest
from safety import replay_history as past
from safety.replay import replay
from testbed.fixtures import require

from fleet.controllers.deletions import Deletions

pytestmark = pytest.mark.timeout(600)  # on a machine with much else to do


@pytest.fixture(autouse=True)
def needs_kustomize() -> None:
    require("kustomize")


def test_a_history_has_the_shape_that_was_measured() -> None:
    files = [commit.deleted_files for commit in past.history(3, 3000)[1:]]
    assert 0.92 < sum(count == 0 for count in files) / len(files) < 0.945
    assert 0.003 < sum(count > 10 for count in files) / len(files) < 0.009


async def test_ordinary_commits_ask_nobody_in_vain(tmp_path: Path) -> None:
    found = await replay(tmp_path, 9, seed=162, apps=3)  # an object moves, another goes, an app is restructured
    assert found.commits == 10
    assert found.wrong == []
    assert found.false_holds == []
    assert found.deletions >= 11


async def test_the_replay_sees_holds_that_nobody_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(
        self: Deletions, fresh: object, known: object, **given: object
    ) -> dict[object, frozenset[object]]:
        return {}

    monkeypatch.setattr(Deletions, "permits_of", nothing)
    found = await replay(tmp_path, 9, seed=72, apps=3)
    assert len(found.false_holds) >= 1
    assert found.wrong == [], "all of them were approved"
