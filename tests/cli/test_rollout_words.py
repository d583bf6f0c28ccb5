"""What `fleet describe rollout` and `fleet rollout promote` say and ask for, from where the rollout stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from fleet.cli.client import Client
from fleet.cli.rollout import describe, promote

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


class Hub(Client):
    """Answers with one rollout, and ends each order as done."""

    def __init__(self, *stands: tuple[str, str, str]) -> None:
        self.steps = [{"overlay": overlay, "name": name, "state": state} for overlay, name, state in stands]
        self.asked: list[Mapping[str, Any] | None] = []

    def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, query: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        if method == "POST":
            self.asked.append(body)
        return {"id": "op-1", "outcome": "done", "steps": self.steps}


WEB_STANDS = [("web", "dev", "done"), ("web", "canary", "soaks"), ("web", "prod", "waits")]


def test_promote_shows_the_step_where_the_rollout_stands_and_asks_for_that_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    hub = Hub(*WEB_STANDS, ("api", "canary", "runs"))
    assert promote(hub, COMMIT, reason="hurry", step="") == 0
    assert hub.asked == [{"step": "canary", "reason": "hurry"}]
    assert "stands at step canary: api, web" in capsys.readouterr().out


def test_promote_asks_for_the_step_that_a_person_saw_whatever_stands_there_now() -> None:
    hub = Hub(*WEB_STANDS)
    promote(hub, COMMIT, reason="hurry", step="dev")
    assert hub.asked == [{"step": "dev", "reason": "hurry"}]


@pytest.mark.parametrize(
    "stands",
    [[*WEB_STANDS, ("api", "prod", "runs")], [*WEB_STANDS, ("api", "canary", "done")], []],
    ids=["several", "one is behind its last step and may be what halts", "nothing is known"],
)
def test_twin_promote_leaves_it_to_the_hub_where_no_one_step_can_be_named(stands: list[tuple[str, str, str]]) -> None:
    hub = Hub(*stands)
    promote(hub, COMMIT, reason="hurry", step="")
    assert hub.asked == [{"step": "", "reason": "hurry"}]
