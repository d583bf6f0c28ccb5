"""`fleet describe rollout`: the commands that go on from where it stands."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.cli.rollout import describe

COMMIT = "3f9c1ab" + "0" * 33


def told(capsys: pytest.CaptureFixture[str], **more: Any) -> str:
    step = {"overlay": "web", "name": "ok", "done": 0, "total": 0, "state": "waits", "why": "waits", "asks": 1}
    item = {"commit": COMMIT, "overlays": ["web"], "state": "runs", "steps": [step], **more}
    describe(item)
    return capsys.readouterr().out


@pytest.mark.parametrize("state", ["runs", "halted"])
def test_a_step_that_asks_names_the_command_of_whoever_approves_it(
    capsys: pytest.CaptureFixture[str], state: str
) -> None:
    text = told(capsys, state=state)
    assert "agree        fleet rollout approve 3f9c1ab --step ok" in text
    assert ("fleet rollout resume 3f9c1ab" in text) == (state == "halted")


def test_twin_one_that_asks_nobody_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    step = {"overlay": "web", "name": "prod", "done": 0, "total": 1, "state": "runs", "why": "", "asks": 0}
    assert "approve" not in told(capsys, steps=[step])
