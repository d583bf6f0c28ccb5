"""Gates of a row that is under way when the repo goes on: what is asked now, and of which cluster."""

from __future__ import annotations

from dataclasses import replace

import pytest
from core.three_clusters import HERE, ONE, PROD, TWO, WEB, World

from fleet.core.fleet import Fleet
from fleet.core.gates import GateState
from fleet.core.gating import folded, with_manifests, with_open
from fleet.core.ids import ClusterName, Revision
from fleet.core.passage import Row
from fleet.core.rollout_facts import Condition
from fleet.core.rollout_policy import Gate, JobCheck, PrometheusCheck, Step
from fleet.core.selection import Target
from fleet.core.steps import Stage

SMOKE = Gate("smoke", JobCheck("gates/smoke.yaml"), HERE)
ERRORS = Gate("errors", PrometheusCheck("http://prom", "errors", 0.01), HERE)
STAGE = Stage(Step("dev", HERE, environments=("dev",), gates=(SMOKE, ERRORS)), (ONE, TWO))
FLEET = Fleet(Revision("aaa"), gate_jobs={"gates/smoke.yaml": "blob-1"})


def asked_at(fleet: Fleet) -> Stage:
    (stage,) = with_manifests((STAGE,), fleet)
    return stage


def kept_at(fleet: Fleet) -> dict[str, GateState]:
    """What is left at a commit of gates that opened at FLEET."""
    row = with_open(Row({ONE: "d"}), asked_at(FLEET), 1.0)
    return dict(folded(row, (asked_at(fleet),), {}, 2.0).gates)


@pytest.mark.parametrize("files", [{"gates/smoke.yaml": "blob-2"}, {}])
def test_another_manifest_is_another_question(files: dict[str, str]) -> None:
    assert set(kept_at(Fleet(Revision("bbb"), gate_jobs=files))) == {"dev/errors"}


def test_a_commit_that_leaves_the_manifest_as_it_is_leaves_its_gate_as_it_is() -> None:
    later = replace(FLEET, commit=Revision("bbb"))
    assert set(kept_at(later)) == {"dev/errors", "dev/smoke"}
    check = asked_at(later).step.gates[0].check
    assert isinstance(check, JobCheck)
    assert check.at == "bbb", "it is read where its policy stands, also once the row's commit is long past"


@pytest.mark.parametrize(("cluster", "ill", "asked"), [("", ONE, TWO), ("", TWO, ONE), (ONE, ONE, ONE)])
def test_a_job_goes_to_the_first_cluster_that_is_there_unless_its_gate_names_one(
    cluster: str, ill: ClusterName, asked: ClusterName
) -> None:
    gate = replace(SMOKE, check=JobCheck("gates/smoke.yaml", cluster))
    world = World(Step("all", HERE, rest=True, gates=(gate,), clusters=Target(HERE, names=(ONE, TWO))))
    for _ in range(2):  # a person stopped one of them
        found = world.look(web=world.facts(WEB, {ill: Condition.STOPPED}))
    assert [ask.cluster for ask in found.asks] == [asked]


def test_a_job_of_a_step_without_clusters_goes_nowhere_by_itself() -> None:
    world = World(Step("ok", HERE, gates=(SMOKE,)), PROD)
    assert [ask.cluster for ask in world.look().asks] == [""]
