"""What `fleet reject` and `fleet describe hold` say of an approval that may be taken back."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.cli import act, describe


class Answers:
    """A client whose hub answers this."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer, self.asked = answer, list[Any]()

    def call(self, *asked: Any) -> dict[str, Any]:
        self.asked.append(asked)
        return self.answer


def one(unit: str) -> dict[str, Any]:
    return {"unit": unit, "object": "Namespace shop", "goesWith": []}


def said_of(capsys: pytest.CaptureFixture[str], gone: list[str], stay: list[str]) -> list[str]:
    client: Any = Answers({"gone": [one(unit) for unit in gone], "deletions": [one(unit) for unit in stay]})
    assert act.reject(client, "h-1", reason="the wrong list") == 0
    assert client.asked == [("POST", "/api/v1/holds/h-1:reject", {"reason": "the wrong list"})]
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_a_rejection_after_an_approval_names_what_had_gone_and_what_stays(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said_of(capsys, ["web@eu-1"], ["web@eu-2", "web@eu-3"])
    assert lines[0] == "h-1 rejected after it was approved: what is left stays; it comes back with the next commit"
    assert lines[2:] == [
        "web@eu-1 Namespace shop had gone or was on its way",
        "web@eu-2 Namespace shop is deleted no more",
        "web@eu-3 Namespace shop is deleted no more",
    ]


def test_a_rejection_of_what_had_not_begun_says_that_nothing_is_deleted(capsys: pytest.CaptureFixture[str]) -> None:
    assert said_of(capsys, [], ["web@eu-1"]) == ["h-1 rejected: nothing is deleted; it comes back with the next commit"]


@pytest.mark.parametrize(
    ("decision", "offered"), [("", "reject"), ("approved", "take back"), ("rejected", None), ("void", None)]
)
def test_a_hold_says_how_it_may_be_rejected_while_that_counts(
    decision: str, offered: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    item = {
        "metadata": {"name": "h-1"},
        "listDigest": "abcdef",
        "overlay": "web",
        "clusters": ["eu-1"],
        "would": "would delete 1 object",
        "messages": [],
        "commit": "c" * 40,
        "deletions": [one("web@eu-1")],
        "decision": decision,
    }
    describe._hold(item)  # pyright: ignore[reportPrivateUsage]
    lines = capsys.readouterr().out.splitlines()
    found = [line for line in lines if "fleet reject h-1" in line]
    assert [line.split("  ")[0] for line in found] == ([offered] if offered else [])
    assert any("fleet approve" in line for line in lines) == (decision == "")
