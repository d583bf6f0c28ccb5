"""How a command ends that fails: never by the code with which it says that something differs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fleet.cli.ending import ended
from fleet.errors import FleetError


def bug() -> int:
    raise KeyError("x")


def trouble() -> int:
    raise FleetError("it does not work")


@pytest.mark.parametrize("command", [bug, trouble])
def test_what_fails_in_a_plan_does_not_say_that_something_changes(
    command: Callable[[], int], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("plan", "diff", "compare"):
        assert ended(command, name=name, debug=False) == 2
        assert "error[" in capsys.readouterr().err
    assert ended(command, name="get", debug=False) == 1, "twin: where 1 says nothing else"


@pytest.mark.parametrize("code", [0, 1, 2])
def test_what_a_command_answers_stays(code: int) -> None:
    assert ended(lambda: code, name="plan", debug=False) == code
    assert ended(lambda: code, name="get", debug=False) == code
