"""One command for all figures: nothing is left out, one that fails hides no other, and nothing is run twice."""

from __future__ import annotations

import json
from pathlib import Path

from safety.__main__ import JOBS, OWN
from safety.every import CAMPAIGNS, OUT, Campaign, run


def test_every_campaign_there_is_belongs_to_the_one_command() -> None:
    assert {*JOBS, *OWN} - {"all", "report"} <= set(CAMPAIGNS)
    assert {"ways", "isolation"} <= set(CAMPAIGNS)


def campaigns(trace: Path) -> dict[str, Campaign]:
    note = f"open({str(trace)!r}, 'a').write"
    good = ("-c", f"import sys; {note}('good '); open(sys.argv[1], 'w').write('{{}}'); print('3 of 3')", OUT)
    bad = ("-c", f"import sys; {note}('bad '); print('1 violation'); sys.exit(1)")
    return {"bad": Campaign("what is wrong", bad, bad), "good": Campaign("what is right", good, good)}


def test_one_that_finds_something_stops_no_other_and_all_stand_in_the_summary(tmp_path: Path) -> None:
    trace, folder = tmp_path / "trace", tmp_path / "out"
    assert run(folder, campaigns(trace), short=True) == 1
    assert trace.read_text() == "bad good "
    page = (folder / "summary.md").read_text()
    assert "| bad | what is wrong | short | 0.0 | 1 |" in page
    assert "| good | what is right | short | 0.0 | 0 |" in page
    assert "1 violation" in page
    assert "3 of 3" in page
    assert str(tmp_path) not in page.replace(str(trace), "")
    assert (folder / "good.jsonl").read_text() == "{}"


def test_what_has_ended_is_not_repeated_and_what_was_not_run_is_said(tmp_path: Path) -> None:
    trace, folder = tmp_path / "trace", tmp_path / "out"
    both = campaigns(trace)
    run(folder, {"good": both["good"]}, short=False)
    assert run(folder, both, short=False) == 1
    assert trace.read_text() == "good bad "
    assert [json.loads(line)["campaign"] for line in (folder / "ended.jsonl").read_text().splitlines()] == [
        "good",
        "bad",
    ]
