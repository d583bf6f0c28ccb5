"""What one environment hands to the next, when it counts as proven, and how the commit tells it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.core.promotion import (
    FIELDS,
    Evidence,
    ImageEntry,
    Move,
    Passed,
    Standing,
    doubts_of,
    evidence_lines,
    left_of,
    message_of,
    moves_of,
    not_moved,
    standings_of,
    subject_of,
)

COMMIT = "3f9c1ab" + "0" * 33
values = st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(["a", "b"]))
entries = st.dictionaries(st.sampled_from(["shop", "reg/api", "db"]), values)


def images(said: dict[str, dict[str, str]]) -> list[ImageEntry]:
    return [ImageEntry(name, given_values, 1) for name, given_values in said.items()]


@given(entries, entries)
def test_after_the_moves_the_later_one_runs_what_the_earlier_one_says_and_keeps_what_is_its_own(
    earlier: dict[str, dict[str, str]], later: dict[str, dict[str, str]]
) -> None:
    moves = moves_of(images(earlier), images(later))
    after = {**later, **{move.name: dict(move.after) for move in moves}}
    assert after.keys() - later.keys() == {name for name, said in earlier.items() if said} - later.keys()
    for name, said in after.items():
        first = earlier.get(name, {})
        if "newTag" in first or "digest" in first:
            assert (said.get("newTag"), said.get("digest")) == (first.get("newTag"), first.get("digest"))
        elif name in later:
            assert (said.get("newTag"), said.get("digest")) == (later[name].get("newTag"), later[name].get("digest"))
        assert said.get("newName") == first.get("newName", later.get(name, {}).get("newName"))
    assert moves_of(images(earlier), images(after)) == ()


def test_what_is_not_moved_is_one_line() -> None:
    later = [
        ImageEntry("a", {"newName": "eu/a"}, 1),
        ImageEntry("b", {}, 2),
        ImageEntry("c", {}, 3, {"tagSuffix": "x"}),
    ]
    words = list(left_of([ImageEntry("a", {}, 1), ImageEntry("c", {}, 2)], later))
    assert words == ["newName of a", "image b (only there)", "tagSuffix of c"]
    assert not_moved([str(n) for n in range(11)]) == "not moved: 0, 1, 2, 3, 4, 5, 6, 7 and 3 more"
    assert not_moved([]) == ""


GOOD = Standing("eu-1", "Synced", "Healthy", "2026-11-24T09:18:31Z", is_at_head=True)
states = st.builds(
    Standing,
    st.sampled_from(["eu-1", "eu-2"]),
    st.sampled_from(["Synced", "OutOfSync", "Unknown"]),
    st.sampled_from(["Healthy", "Degraded", "Progressing", "Suspended", "Unknown"]),
    st.just(""),
    st.booleans(),
)
rollouts = st.sampled_from([None, "done", "superseded", "runs", "halted", "paused", "aborted", "rolled back"])


@given(st.lists(states, max_size=3), rollouts)
def test_it_is_proven_only_where_all_is_well_and_over(standings: list[Standing], state: str | None) -> None:
    rollout = Passed(COMMIT, state) if state is not None else None
    found = doubts_of(Evidence(COMMIT, "", "", tuple(standings), rollout), "web")
    well = {("Synced", health, True) for health in ("Healthy", "Suspended")}
    is_well = all((one.sync, one.health, one.is_at_head) in well for one in standings)
    assert (not found) == (bool(standings) and is_well and state in (None, "done", "superseded"))
    assert all(doubt.what and doubt.next_step.startswith("fleet ") for doubt in found)


def unit(cluster: str, **status: Any) -> dict[str, Any]:
    said = {"sync": "Synced", "health": "Healthy", "atHead": True, "targetCommit": COMMIT, **status}
    return {"spec": {"cluster": cluster}, "status": said}


@pytest.mark.parametrize(
    ("status", "is_proof"),
    [({}, True), ({"targetCommit": "another"}, False), ({"atHead": False}, False), ({"targetCommit": None}, False)],
)
def test_only_the_commit_that_is_promoted_counts(status: dict[str, Any], is_proof: bool) -> None:
    (found,) = standings_of([unit("eu-1", **status)], ["eu-1"], COMMIT)
    assert found.is_proof is is_proof


def test_a_cluster_that_only_the_repo_or_only_the_hub_knows_counts() -> None:
    found = standings_of([unit("eu-1"), unit("eu-9", health="Degraded", message="exit 1")], ["eu-1", "eu-2"], COMMIT)
    assert [(one.cluster, one.is_proof) for one in found] == [("eu-1", True), ("eu-2", False), ("eu-9", False)]
    assert [doubt.what for doubt in doubts_of(Evidence(COMMIT, "", "", found), "web")] == [
        "eu-2 (Unknown, Unknown, not on it yet: the hub knows no such unit)",
        "eu-9 (Synced, Degraded: exit 1)",
    ]


def test_the_commit_tells_what_moved_and_what_was_proven() -> None:
    rollout = Passed(
        COMMIT, "done", gates=("errors of step staging passed: 0.002",), approvals=("step ok by mara, jo",)
    )
    evidence = Evidence(
        COMMIT, '"web: 1.8.0" (mara)', "2026-11-24T10:00:00Z", (GOOD, replace(GOOD, cluster="eu-2")), rollout
    )
    moves = [
        Move("reg/shop", {"newTag": "1.4.1"}, {"newTag": "1.4.2"}),
        Move("api", None, {"newName": "eu/api", "digest": "sha256:" + "ab" * 32}),
    ]
    proof = evidence_lines(evidence, "staging")
    text = message_of("web", ("staging", "prod"), ("web/staging", "web/prod"), moves, proof)
    assert (
        text
        == f"""\
Promote web to prod: shop 1.4.2, api abababababab

From staging (web/staging) to prod (web/prod):
  reg/shop  reg/shop:1.4.1 -> reg/shop:1.4.2
  api  not set -> eu/api@sha256:{"ab" * 32}

Evidence of staging, as the hub said at 2026-11-24T10:00:00Z:
  commit    {COMMIT} "web: 1.8.0" (mara)
  eu-1  Synced, Healthy since 2026-11-24T09:18:31Z
  eu-2  Synced, Healthy since 2026-11-24T09:18:31Z
  rollout   {COMMIT} done
  gate      errors of step staging passed: 0.002
  approved  step ok by mara, jo
"""
    )


def test_a_subject_stays_short() -> None:
    moves = [Move(f"reg/image-{n}", None, {"newTag": "1.4.2"}) for n in range(5)]
    assert subject_of("web", "prod", moves) == "Promote web to prod: 5 images"
