"""The checker finds what it is for; so that a clean sweep means something."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import pytest
from safety.checker import (
    History,
    Landed,
    Script,
    Shown,
    false_alarm,
    false_calm,
    judge,
    silences,
    unmeasured,
    v6_delays,
    v7_secrets,
)

CONFIG, SPACE = ("configmaps", "default", "a"), ("namespaces", "", "shop")
SCRIPT = Script(
    installation="acme",
    identities={"eu-1": "uid-eu"},
    dropped=[(10.0, "eu-1", CONFIG), (10.0, "eu-1", SPACE)],
    approved=[(20.0, SPACE)],
    commits=["c1", "c2", "c3"],
)
PLAIN = Landed(30.0, "eu-1", "delete", CONFIG, "u1", "acme/uid-eu/web", "u1", "7")
PRECIOUS = replace(PLAIN, key=SPACE, uid="u2", asked_uid="u2")


def rows(*deletions: Landed) -> list[dict[str, object]]:
    made: list[dict[str, object]] = []
    for one in deletions:
        for outcome in ("", "done"):
            made.append({"id": len(made) + 1, "action": "delete", "uid": one.uid, "outcome": outcome, "at": 29.0})
    return made


def history(*landed: Landed, **changes: object) -> History:
    facts: dict[str, object] = {"commits_of_units": {"web@eu-1": ["c1", "c3"]}, "operations": [("op-1", "done")],
                                "audited": rows(*landed)}  # fmt: skip
    return History(landed=landed, **{**facts, **changes})  # type: ignore[arg-type]


def test_a_clean_run_has_no_violation() -> None:
    assert judge(SCRIPT, history(PLAIN, PRECIOUS, replace(PLAIN, verb="patch", uid=""))) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (history(replace(PLAIN, moment=5.0), audited=rows(PLAIN)), "no commit dropped it"),
        (history(replace(PLAIN, key=("configmaps", "default", "b"))), "no commit dropped it"),
        (history(replace(PLAIN, owner="acme/uid-us/web")), "carried the mark"),
        (history(replace(PLAIN, owner="")), "carried the mark"),
        (history(replace(PLAIN, asked_uid="u9")), "without its UID"),
        (history(replace(PLAIN, asked_version="")), "without its resourceVersion"),
        (history(replace(PRECIOUS, moment=15.0), audited=[]), "nobody approved it"),
        (history(PLAIN, audited=[]), "before the audit log said so"),
        (history(PLAIN, audited=rows(PLAIN)[:1]), "no last word"),
        (history(replace(PLAIN, key=("configmaps", "fleet-system", "unit-web"))), "nobody detached"),
        (history(replace(PLAIN, verb="deletecollection")), "whole collection"),
        (history(replace(PLAIN, verb="patch", cluster="us-9")), "V2"),
        (history(commits_of_units={"web@eu-1": ["c2", "c1"]}), "went back"),
        (history(commits_of_units={"web@eu-1": ["c1", "c9"]}), "never on the branch"),
        (history(operations=[("op-1", "")]), "has no end"),
    ],
)
def test_each_violation_is_named(wrong: History, said: str) -> None:
    assert any(said in violation for violation in judge(SCRIPT, wrong))


def test_a_secret_that_lies_in_a_file_is_found_however_it_is_spelled(tmp_path: Path) -> None:
    secret = b"seeded-secret-value-1"
    (tmp_path / "clean").write_bytes(b"nothing here")
    assert v7_secrets(secret, tmp_path) == []
    for shift in range(3):
        (tmp_path / f"b{shift}").write_bytes(base64.b64encode(b"x" * shift + secret + b"y"))
    (tmp_path / "plain").write_bytes(b"-- " + secret)
    (tmp_path / "hex").write_bytes(secret.hex().encode())
    assert len(v7_secrets(secret, tmp_path)) == 5


def shown(sync: str, health: str = "Unknown", *moments: float) -> list[Shown]:
    return [Shown(moment, "web@eu-1", sync, health) for moment in moments]


def test_what_is_shown_longer_than_three_intervals_after_it_was_so_is_false_calm() -> None:
    wrong, deaf = {"web@eu-1": [(100.0, 400.0)]}, {"eu-1": [(100.0, 400.0)]}
    late = shown("Synced", "Healthy", 281.0)
    assert "after it left that" in false_calm(late, wrong, {})[0]
    assert "after its last true word" in false_calm(late, {}, deaf)[0]
    assert "Unknown, Healthy" in false_calm(shown("Unknown", "Healthy", 300.0), {}, deaf)[0]
    assert len(false_calm(shown("Synced", "Healthy", 290.0, 300.0, 310.0), wrong, deaf)) == 2


def test_what_is_shown_in_time_or_of_another_cluster_or_as_unknown_is_none() -> None:
    wrong, deaf = {"web@eu-1": [(100.0, 400.0)]}, {"eu-1": [(100.0, 400.0)]}
    in_time = shown("Synced", "Healthy", 50.0, 150.0, 279.0, 401.0)
    assert false_calm([*in_time, *shown("Unknown", "Unknown", 300.0)], wrong, deaf) == []
    assert false_calm(shown("OutOfSync", "Missing", 300.0), wrong, deaf) == []
    assert false_calm(shown("Synced", "Healthy", 300.0), {"web@us-1": [(0.0, 400.0)]}, {"us-1": [(0.0, 400.0)]}) == []


def test_a_true_word_begins_the_time_anew_and_does_not_end_the_silence() -> None:
    assert silences(100.0, 600.0, []) == [(100.0, 600.0)]
    deaf = {"eu-1": silences(100.0, 600.0, [700.0, 350.0, 50.0])}
    assert deaf == {"eu-1": [(100.0, 350.0), (350.0, 600.0)]}
    assert false_calm(shown("Synced", "Healthy", 355.0, 500.0), {}, deaf) == []
    assert "190 s after its last true word" in false_calm(shown("Synced", "Healthy", 540.0), {}, deaf)[0]
    assert "245 s after its last true word" in false_calm(shown("Synced", "Healthy", 345.0), {}, deaf)[0]


def test_a_well_cluster_that_was_shown_unknown_is_a_false_alarm() -> None:
    assert false_alarm(shown("Synced", "Healthy", 1.0, 2.0), ["eu-1"]) == []
    assert false_alarm(shown("Unknown", "Unknown", 3.0), ["us-1"]) == []
    assert "Unknown" in false_alarm([*shown("Synced", "Healthy", 1.0), *shown("Unknown", "Healthy", 3.0)], ["eu-1"])[0]


def test_a_delay_that_grew_where_no_fault_was_is_named() -> None:
    assert v6_delays([1.0, 1.2, 0.8], [1.1, 2.9], floor=1.0) == []
    assert v6_delays([0.1], [4.9], floor=5.0) == []
    assert "took 9.0 s" in v6_delays([1.0, 1.2, 0.8], [1.1, 9.0], floor=5.0)[0]


def test_a_delay_that_was_not_measured_is_neither_kept_nor_violated() -> None:
    for before, meanwhile in (([], [1.0]), ([1.0], []), ([], [])):
        assert v6_delays(before, meanwhile, floor=5.0) == []
        assert len(unmeasured(before, meanwhile)) == 1
    assert unmeasured([1.0], [2.0]) == []
