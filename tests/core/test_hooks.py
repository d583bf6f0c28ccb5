"""Which hooks run, which are over."""

from __future__ import annotations

import pytest
from core.building import bundle_object, config_map, ref
from hypothesis import given
from hypothesis.strategies import dictionaries, none, one_of, sampled_from, sets

from fleet.core.health import judge_health
from fleet.core.hooks import (
    Owed,
    collides,
    held_back,
    hook_key,
    hook_state,
    hooks_to_delete,
    owed_in,
    plan_hooks,
    removes_itself,
    split_hooks,
)
from fleet.core.ids import Digest, ObjectRef
from fleet.core.objects import HookDelete, HookPhase
from fleet.core.status import Kstatus

BUNDLE = Digest("b1")


def hook(name: str, phase: HookPhase = HookPhase.PRE_SYNC, **options):
    return bundle_object(ref(name, "Job", "batch"), hook=phase, **options)


MIGRATE = hook("migrate")


def plan(*hooks, phase=HookPhase.PRE_SYNC, done=(), started=(), health=None, failed_before=()):
    given = {"done": done, "started": started, "health": health or {}, "failed_before": failed_before}
    return plan_hooks(hooks, phase, BUNDLE, **given)


def run_of(made):
    return [obj.ref.name for stage in made.run for obj in stage.objects]


def test_hooks_are_no_part_of_the_desired_state() -> None:
    assert split_hooks([MIGRATE, config_map("a")]) == ((config_map("a"),), (MIGRATE,))


def test_a_hook_runs_once_per_bundle() -> None:
    assert run_of(plan(MIGRATE)) == ["migrate"]
    assert plan(MIGRATE, done={hook_key(BUNDLE, MIGRATE.ref)}).over
    assert run_of(plan(MIGRATE, done={hook_key(Digest("b0"), MIGRATE.ref)})) == ["migrate"]


def test_a_hook_of_another_phase_does_not_run() -> None:
    assert plan(MIGRATE, phase=HookPhase.POST_SYNC).over


def test_a_hook_that_was_started_before_a_crash_is_not_started_again() -> None:
    made = plan(MIGRATE, started={MIGRATE.ref}, health={MIGRATE.ref: Kstatus.IN_PROGRESS})
    assert run_of(made) == []
    assert made.waiting == (MIGRATE.ref,)


@pytest.mark.parametrize("health", [{MIGRATE.ref: Kstatus.CURRENT}, {MIGRATE.ref: Kstatus.NOT_FOUND}, {}])
def test_a_started_hook_that_ended_or_vanished_is_over(health) -> None:
    made = plan(MIGRATE, started={MIGRATE.ref}, health=health)
    assert made.over
    assert made.finished == (MIGRATE.ref,)


def test_a_failed_hook_stops_the_phase() -> None:
    other = hook("other", wave=1)
    made = plan(MIGRATE, other, started={MIGRATE.ref}, health={MIGRATE.ref: Kstatus.FAILED})
    assert made.failed == (MIGRATE.ref,)
    assert run_of(made) == []
    assert not made.over


def test_a_hook_that_failed_and_was_deleted_for_it_is_not_over() -> None:
    made = plan(MIGRATE, started={MIGRATE.ref}, failed_before={MIGRATE.ref})
    assert made.failed == (MIGRATE.ref,)
    assert made.finished == ()
    assert not made.over


def test_waves_of_hooks_run_one_after_the_other() -> None:
    second = hook("second", wave=1)
    first_pass = plan(second, MIGRATE)
    assert run_of(first_pass) == ["migrate"]
    assert first_pass.waiting == (second.ref,)
    then = plan(second, MIGRATE, started={MIGRATE.ref}, health={MIGRATE.ref: Kstatus.CURRENT})
    assert run_of(then) == ["second"]


def test_hooks_go_as_their_annotation_says() -> None:
    keep = hook("keep")
    gone = hook("gone", hook_delete=frozenset({HookDelete.SUCCEEDED}))
    failed = hook("failed", hook_delete=frozenset({HookDelete.FAILED}))
    ended = {keep.ref: True, gone.ref: True, failed.ref: False}
    assert hooks_to_delete([keep, gone, failed], ended, set(ended)) == (gone.ref, failed.ref)
    assert hooks_to_delete([gone], {gone.ref: False}, {gone.ref}) == ()
    assert hooks_to_delete([gone], {gone.ref: True}, set()) == ()


HOOKS = [hook(f"h{number}", wave=number % 2) for number in range(4)]
REFS = [obj.ref for obj in HOOKS]


@given(
    started=sets(sampled_from(REFS)),
    health=dictionaries(sampled_from(REFS), one_of(none(), sampled_from(Kstatus))),
    done=sets(sampled_from([hook_key(BUNDLE, of) for of in REFS])),
)
def test_no_hook_is_run_twice_and_none_is_forgotten(started, health, done) -> None:
    made = plan(*HOOKS, started=started, health=health, done=done)
    running = {obj.ref for stage in made.run for obj in stage.objects}
    assert not running & started
    assert not {hook_key(BUNDLE, of) for of in running} & done
    left = {of for of in REFS if hook_key(BUNDLE, of) not in done}
    if not made.failed:
        assert running | set(made.waiting) | set(made.finished) == left
    assert made.over == (not left or set(made.finished) == left)


def test_a_hook_that_is_not_known_to_have_started_runs_whatever_is_there() -> None:
    """It may be its own run: a killed hub did not hear the answer."""
    assert run_of(plan(MIGRATE, health={MIGRATE.ref: Kstatus.CURRENT})) == ["migrate"]
    assert plan(MIGRATE, started={MIGRATE.ref}, health={MIGRATE.ref: Kstatus.IN_PROGRESS}).waiting == (MIGRATE.ref,)


def test_what_is_owed_reads_back() -> None:
    owed = Owed("u-1", hook_key(BUNDLE, MIGRATE.ref))
    done = [hook_key(BUNDLE, MIGRATE.ref), f"started {hook_key(BUNDLE, MIGRATE.ref)}", str(owed)]
    assert owed_in(done) == [owed]
    assert owed.ref == MIGRATE.ref


@pytest.mark.parametrize("uid", ["a/b", "a b", "a b/c", "a%2Fb c", "", " /"])
def test_what_is_owed_reads_back_whatever_a_cluster_calls_it(uid: str) -> None:
    owed = Owed(uid, hook_key(BUNDLE, ref("a b")))
    assert owed_in([str(owed)]) == [owed]
    assert owed.ref == ref("a b")


def test_what_an_earlier_version_wrote_of_such_a_uid_is_no_hooks() -> None:
    key = hook_key(BUNDLE, MIGRATE.ref)
    assert owed_in([f"delete a b/c {key}", "delete ", f"delete u-1 {key}"]) == [Owed("u-1", key)]


@pytest.mark.parametrize(
    ("spec", "status", "state"),
    [
        ({"suspend": True}, {}, Kstatus.IN_PROGRESS),
        ({"suspend": True}, {"conditions": [{"type": "Complete", "status": "True"}]}, Kstatus.CURRENT),
        ({"suspend": True}, {"conditions": [{"type": "Failed", "status": "True"}]}, Kstatus.FAILED),
        ({}, {"startTime": "2026-01-01T00:00:00Z", "active": 1}, Kstatus.IN_PROGRESS),
    ],
)
def test_a_suspended_job_has_not_ended(spec: dict, status: dict, state: Kstatus) -> None:
    live = {**job_body(**spec), "metadata": {"name": "migrate"}, "status": status}
    assert hook_state(MIGRATE.ref, judge_health(live)) is state


def test_what_never_ends_is_over_though_it_is_suspended() -> None:
    nightly = job_body(kind="CronJob", suspend=True)
    assert hook_state(ref("nightly", "CronJob", "batch"), judge_health(nightly)) is Kstatus.CURRENT


def job_body(group: str = "batch/v1", kind: str = "Job", **spec) -> dict:
    return {"apiVersion": group, "kind": kind, "spec": {"template": {}, **spec}}


def test_only_a_job_with_a_lifetime_could_have_come_and_gone() -> None:
    assert removes_itself(job_body(ttlSecondsAfterFinished=0))
    assert not removes_itself(job_body())
    assert not removes_itself(job_body(ttlSecondsAfterFinished=9, suspend=True))  # somebody else lets it go
    assert not removes_itself(job_body("v1", "ConfigMap", ttlSecondsAfterFinished=0))
    assert held_back(job_body(ttlSecondsAfterFinished=0)) == job_body(ttlSecondsAfterFinished=0, suspend=True)


def test_what_ran_to_its_end_before_is_no_run_of_this_one() -> None:
    job, config = ObjectRef("batch", "Job", "shop", "h"), ObjectRef("", "ConfigMap", "shop", "h")
    assert collides(job, {"kind": "Job"}, was_begun=False)
    assert not collides(job, {"kind": "Job"}, was_begun=True)
    assert not collides(job, None, was_begun=False)
    assert not collides(config, {"kind": "ConfigMap"}, was_begun=False)
