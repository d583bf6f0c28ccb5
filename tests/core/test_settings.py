"""What a change sets otherwise, as a plan tells it, and what it takes away unread."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fleet.core.fleet import (
    Cluster,
    Environment,
    Fleet,
    Mode,
    Overlay,
    Unknown,
)
from fleet.core.ids import ClusterName, OverlayName, Revision
from fleet.core.planning.listing import digest_of_text, listed_of, plan_text
from fleet.core.planning.settings import setting_remarks, settings_of
from fleet.core.planning.unread import taken_unread
from fleet.core.problems import Origin, Problem, Severity
from fleet.core.rollout_policy import RolloutPolicy, Step
from fleet.core.selection import Variable
from fleet.core.sync_policy import Suspension, SyncMode, SyncPolicy

C1, C2 = ClusterName("c1"), ClusterName("c2")
WEB, DNS = OverlayName("web"), OverlayName("dns")


def cluster(name: ClusterName, line: int = 1, **fields: object) -> Cluster:
    return replace(Cluster(name, Origin(f"clusters/{name}.yaml", line)), **fields)  # type: ignore[arg-type]


def overlay(name: OverlayName, line: int = 1, **fields: object) -> Overlay:
    made = Overlay(name, f"overlays/{name}", Origin(f"overlays/{name}/overlay.yaml", line))
    return replace(made, **fields)  # type: ignore[arg-type]


def fleet(*parts: Cluster | Overlay, **fields: object) -> Fleet:
    clusters = {one.name: one for one in parts if isinstance(one, Cluster)}
    overlays = {one.name: one for one in parts if isinstance(one, Overlay)}
    return replace(Fleet(Revision("a" * 40), clusters=clusters, overlays=overlays), **fields)  # type: ignore[arg-type]


def told(before: Fleet, after: Fleet) -> list[str]:
    return [text for _, text in setting_remarks(settings_of(before, after))]


def broken(path: str) -> Problem:
    return Problem(Severity.ERROR, "InventoryInvalid", "not YAML", Origin(path, 3))


def test_what_the_hub_acts_by_is_told_and_another_line_of_the_file_is_not() -> None:
    before = fleet(cluster(C1), cluster(C2), overlay(WEB, sync=SyncPolicy(prune=False)), overlay(DNS))
    watched = fleet(cluster(C1, 9, mode=Mode.OBSERVE), cluster(C2, 7), overlay(WEB, 8), overlay(DNS, 4))
    assert told(before, watched) == ["cluster c1: mode: manage -> observe", "overlay web: sync.prune: false -> true"]
    moved = fleet(cluster(C1, 9), cluster(C2, 7), overlay(WEB, 8, sync=SyncPolicy(prune=False)), overlay(DNS, 4))
    assert told(before, moved) == []


def test_the_same_change_of_many_is_one_line_and_longer_values_are_named() -> None:
    before = fleet(overlay(WEB), overlay(DNS), name="old", suspend=Suspension("holidays", "mara"))
    steps = RolloutPolicy(steps=(Step("all", Origin("fleet.yaml", 4), rest=True),), own_steps=True)
    manual = SyncPolicy(mode=SyncMode.MANUAL)
    after = fleet(overlay(WEB, sync=manual), overlay(DNS, sync=manual, rollout=steps), name="new")
    assert told(before, after) == [
        "fleet.yaml: name: old -> new",
        "fleet.yaml: suspend.owner: mara -> none",
        "fleet.yaml: suspend.reason: holidays -> none",
        "overlays dns, web: sync.mode: auto -> manual",
        "overlay dns: rollout.steps changes",
    ]


def test_what_decides_the_steps_and_the_gates_is_told_and_no_value_of_a_variable() -> None:
    def staged(*names: str, word: str = "a") -> tuple[Environment, ...]:
        return tuple(Environment(name, {"pw": Variable(word, Origin("fleet.yaml", 3))}) for name in names)

    before = fleet(cluster(C1, labels={"tier": "prod"}), environments=staged("dev", "prod"), gate_jobs={"j.yaml": "1"})
    after = fleet(cluster(C1, labels={"tier": "canary"}), environments=staged("prod", "dev"), gate_jobs={"j.yaml": "2"})
    assert told(before, after) == [
        "fleet.yaml: environments changes",
        "fleet.yaml: gateJobs.j.yaml: 1 -> 2",
        "cluster c1: labels.tier: prod -> canary",
    ]
    other_word = replace(before, environments=staged("dev", "prod", word="hunter2"))
    assert settings_of(before, other_word) == ()
    assert "hunter2" not in str(settings_of(other_word, after))


def test_a_label_without_a_value_is_one_that_is_there() -> None:
    """A selector finds it by its empty value, so that the cluster may go with another step."""
    plain, marked = fleet(cluster(C1)), fleet(cluster(C1, labels={"canary": ""}))
    assert told(plain, marked) == ['cluster c1: labels.canary: none -> ""']
    assert told(marked, plain) == ['cluster c1: labels.canary: "" -> none']
    assert told(marked, fleet(cluster(C1, labels={"canary": ""}))) == []


def test_steps_that_moved_to_another_line_are_the_same_steps() -> None:
    ways = [RolloutPolicy(steps=(Step("all", Origin("fleet.yaml", line), rest=True),)) for line in (4, 9)]
    assert told(fleet(overlay(WEB, rollout=ways[0])), fleet(overlay(WEB, rollout=ways[1]))) == []


@given(st.booleans(), st.sampled_from(Mode), st.sampled_from(SyncMode), st.integers(0, 3))
def test_settings_differ_exactly_where_the_plans_digest_does(
    prune: bool, mode: Mode, sync: SyncMode, seconds: int
) -> None:
    before = fleet(cluster(C1), overlay(WEB))
    policy = RolloutPolicy(health_timeout_seconds=600 + seconds)
    after = fleet(cluster(C1, mode=mode), overlay(WEB, sync=SyncPolicy(mode=sync, prune=prune), rollout=policy))
    found = settings_of(before, after)
    expected = [mode is Mode.OBSERVE, sync is SyncMode.MANUAL, not prune, seconds > 0].count(True)
    assert len(found) == expected
    text = plan_text([], found)
    assert (digest_of_text(text) == digest_of_text(plan_text([]))) is (expected == 0)
    assert listed_of(text).units == frozenset()


def test_what_cannot_be_read_and_is_taken_away_is_a_problem() -> None:
    lost = Unknown(
        clusters={C2: broken("clusters/c2.yaml")},
        overlays={DNS: broken("overlays/dns/overlay.yaml")},
        unnamed=(broken("clusters/odd.yaml"),),
    )
    found = taken_unread(fleet(cluster(C1), overlay(WEB), unknown=lost), fleet(cluster(C1), overlay(WEB)))
    assert [one.what.partition(" is taken away")[0] for one in found] == [
        "cluster c2",
        "overlay dns",
        "what clusters/odd.yaml defines",
    ]


def test_what_is_mended_or_as_broken_as_before_is_none() -> None:
    lost = Unknown(clusters={C2: broken("clusters/c2.yaml")}, overlays={DNS: broken("overlays/dns/overlay.yaml")})
    before = fleet(cluster(C1), unknown=lost)
    assert taken_unread(before, fleet(cluster(C1), unknown=lost)) == ()
    assert taken_unread(before, fleet(cluster(C1), cluster(C2), overlay(DNS))) == ()
    odd = fleet(cluster(C1), unknown=Unknown(unnamed=(broken("clusters/c2.yaml"),)))
    assert taken_unread(odd, fleet(cluster(C1), cluster(C2))) == ()
    assert taken_unread(odd, odd) == ()
