"""Guides and what they prove: nobody who was not Healthy, nobody of a step that is not over (R9)."""

from __future__ import annotations

from core.building import ref
from hypothesis import given
from hypothesis import strategies as st

from fleet.core.across import judge_across, permits_by_steps
from fleet.core.ids import ClusterName, Digest, OverlayName, Revision, UnitName
from fleet.core.passage import Row
from fleet.core.problems import Origin
from fleet.core.proven import guides_of, proven_by
from fleet.core.results import Rendered
from fleet.core.rollout_policy import Step
from fleet.core.steps import Stage

HERE = Origin("fleet.yaml", 1)
NAMES = [ClusterName(f"c{number}") for number in range(8)]
BEFORE = Rendered(Digest("before"), Revision("c" * 40))


def stage(name: str, *clusters: ClusterName, one_first: bool = False) -> Stage:
    return Stage(Step(name, HERE, environments=(name,), one_first=one_first), clusters)


STAGES = (stage("dev", *NAMES[:3]), stage("prod", *NAMES[3:], one_first=True))
members = st.frozensets(st.sampled_from(NAMES))


@given(landed=members, released=members, passed=st.frozensets(st.sampled_from(["dev", "prod"])))
def test_a_guide_was_healthy_and_its_step_is_over_or_begins_with_one(
    landed: frozenset[ClusterName], released: frozenset[ClusterName], passed: frozenset[str]
) -> None:
    row = Row(
        dict.fromkeys(NAMES, "new"), before=dict.fromkeys(released, BEFORE), landed=dict.fromkeys(landed, 1.0),
        passed=passed,
    )  # fmt: skip
    for name in NAMES:
        guides = set(guides_of(row, STAGES, name))
        assert guides <= landed & released
        if "dev" not in passed:
            assert not guides & set(NAMES[:3])
        if name in NAMES[:3] and "prod" not in passed:
            assert not guides & set(NAMES[3:])


def test_what_still_stands_on_the_guide_or_is_wanted_there_is_not_proven() -> None:
    one, two, three = ref("one"), ref("two"), ref("three")
    every = frozenset({one, two, three})
    assert proven_by(every, frozenset({two}), every, frozenset({three})) == {one}
    assert proven_by(every, frozenset(), frozenset({two}), frozenset()) == {two}, "the worker deleted no other"


@given(lost=st.frozensets(st.sampled_from(NAMES)), first=st.integers(1, 4))
def test_steps_permit_at_least_what_all_at_once_would_and_never_an_unproven_deletion_on_more_than_three(
    lost: frozenset[ClusterName], first: int
) -> None:
    gone = ref("old")
    candidates = {UnitName(OverlayName("web"), name): frozenset({gone}) for name in lost}
    stages = (stage("dev", *NAMES[:first]), stage("prod", *NAMES[first:]))
    permits = permits_by_steps(candidates, stages, changed=NAMES, limit_clusters=3)
    at_once = judge_across(candidates, limit_clusters=3).permits
    assert all(permits[unit] >= refs for unit, refs in at_once.items())
    early = [unit for unit in candidates if unit.cluster in NAMES[:first]]
    late = [unit for unit in candidates if unit not in early]
    if len(early) > 3:
        assert not any(permits[unit] for unit in early)
    if not early and len(late) > 3:
        assert not any(permits[unit] for unit in late)
    if early and len(early) <= 3:
        assert all(permits[unit] for unit in candidates)


def test_one_cluster_first_proves_for_the_others_only_what_it_loses_itself() -> None:
    web = [UnitName(OverlayName("web"), name) for name in NAMES]
    stages = (stage("prod", *NAMES, one_first=True),)
    all_of_them = dict.fromkeys(web, frozenset({ref("old")}))
    assert all(permits_by_steps(all_of_them, stages, changed=NAMES, limit_clusters=3).values())
    others = dict.fromkeys(web[1:], frozenset({ref("old")}))
    assert not any(permits_by_steps(others, stages, changed=NAMES, limit_clusters=3).values())
    assert all(permits_by_steps(others, stages, changed=NAMES[1:], limit_clusters=3).values())
    assert not any(permits_by_steps(all_of_them, (), changed=NAMES, limit_clusters=3).values())
