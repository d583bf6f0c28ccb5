"""The committed report says what was run, at which commit, and what was not run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safety.__main__ import chosen, run_all
from safety.every import CAMPAIGNS
from safety.report import PAGE, RUNS, lines_of, page, parts_of, take_over

STAMP = {"commit": "abc1234", "at": "2026-11-26 21:00", "seconds": 30.0, "machine": "2 CPUs"}


def write(path: Path, *rows: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def schedule(seed: int, *violations: str, **more: Any) -> dict[str, Any]:
    run = {"run": f"schedule, seed {seed}", "kind": "schedule", "met": True, "violations": violations, "looked": 5}
    return {**run, "unmeasured": [], "of": 30, "delay_seconds": seed / 10, **STAMP, **more}


def test_the_page_is_made_from_the_runs_that_are_committed() -> None:
    lines = [json.loads(line) for line in RUNS.read_text().splitlines()]
    assert PAGE.read_text() == page(lines), "run: PYTHONPATH=tests python -m safety report"


def test_a_part_of_a_campaign_is_told_with_its_seeds_and_figures(tmp_path: Path) -> None:
    write(tmp_path / "schedules.jsonl", schedule(5), schedule(4, unmeasured=["V6"]), schedule(9))
    (line,) = lines_of(tmp_path)
    assert (line["runs"], line["of"], line["part"], line["minutes"]) == (3, 30, "seeds 4-5, 9", 1.5)
    assert (line["found"], line["unmeasured"], line["figures"]) == ([], 1, "looked 15; delay seconds 0.9")
    assert "| schedules | long form: 3 of 30, seeds 4-5, 9 | abc1234 | 2026-11-26 21:00 | 1.5 | 0 | 1 |" in page([line])


def test_runs_of_two_commits_are_two_lines(tmp_path: Path) -> None:
    write(tmp_path / "schedules.jsonl", schedule(1), schedule(2, commit="def5678"))
    assert [(line["commit"], line["part"]) for line in lines_of(tmp_path)] == [
        ("abc1234", "seeds 1"),
        ("def5678", "seeds 2"),
    ]


def test_what_was_found_is_told_whole_and_a_guard_that_nobody_missed_is_found(tmp_path: Path) -> None:
    write(tmp_path / "schedules.jsonl", schedule(7, "V1 a was deleted\nmore"), schedule(8))
    guards = [
        {"guard": name, "verdict": verdict, **STAMP, "of": 198}
        for name, verdict in (("a limit", "unmissed"), ("a rule", "missed"))
    ]
    write(tmp_path / "guards.jsonl", *guards)
    said = page(lines_of(tmp_path))
    assert "- schedules at abc1234: schedule, seed 7: V1 a was deleted\n" in said
    assert "- guards at abc1234: a limit: unmissed\n" in said
    assert "a rule" not in said


@pytest.mark.parametrize("code", [0, 1])
def test_a_campaign_without_rows_is_told_by_its_last_word_and_its_code(tmp_path: Path, code: int) -> None:
    write(tmp_path / "ended.jsonl", {"campaign": "hostile", "code": code, "short": False, **STAMP})
    (tmp_path / "hostile.log").write_text("one\n119 cases, 119 refused\n")
    (line,) = lines_of(tmp_path)
    assert (line["figures"], len(line["found"])) == ("119 cases, 119 refused", code)


def test_what_was_not_run_in_its_long_form_is_said_also_beside_a_short_one(tmp_path: Path) -> None:
    write(tmp_path / "ended.jsonl", {"campaign": "schedules", "code": 0, "short": True, **STAMP})
    write(tmp_path / "schedules.jsonl", schedule(0))
    said = page(lines_of(tmp_path))
    assert said.count("not run in this form") == len(CAMPAIGNS)
    assert "| schedules | short form: 1, seeds 0 |" in said


def test_the_same_runs_taken_over_twice_stand_there_once_and_earlier_ones_stay(tmp_path: Path) -> None:
    runs, first, later = tmp_path / "runs.jsonl", tmp_path / "first", tmp_path / "later"
    first.mkdir()
    later.mkdir()
    write(first / "schedules.jsonl", schedule(1))
    take_over([first], runs)
    write(first / "schedules.jsonl", schedule(1), schedule(2))
    write(later / "schedules.jsonl", schedule(3, commit="def5678"))
    assert [line["part"] for line in take_over([first, later], runs)] == ["seeds 1-2", "seeds 3"]
    assert len(runs.read_text().splitlines()) == 2


def test_parts_are_joined_and_a_name_without_a_number_tells_none() -> None:
    assert parts_of(["fuzz closure 100000-199999", "fuzz closure 0-99999"]) == "inputs 0-199999"
    assert parts_of(["generator changes, 30 clusters"]) == ""


def test_seeds_and_shards_choose_runs() -> None:
    async def job() -> dict[str, Any]:
        return {}

    jobs = [(f"schedule, seed {seed}", job) for seed in range(30)]
    assert [name for name, _ in chosen(jobs, "3,10-12", "1/1")] == [
        f"schedule, seed {seed}" for seed in (3, 10, 11, 12)
    ]
    assert len(chosen(jobs, "", "1/2")) == 15


async def test_a_run_that_does_not_end_is_told_and_the_next_one_goes_on(tmp_path: Path) -> None:
    async def breaks() -> dict[str, Any]:
        raise KeyError("x")

    async def ends() -> dict[str, Any]:
        return {"kind": "schedule", "met": True, "violations": []}

    out = tmp_path / "schedules.jsonl"
    assert await run_all([("schedule, seed 1", breaks), ("schedule, seed 2", ends)], out, 30) == 1
    (line,) = lines_of(tmp_path)
    assert (line["runs"], line["found"]) == (2, ["schedule, seed 1: did not end: KeyError: 'x'"])
