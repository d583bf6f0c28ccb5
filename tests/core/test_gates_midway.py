"""Gates of a row that is under way when the repo goes on: what is asked now, and of which cluster."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.core.fleet import Fleet, Gate, JobCheck, Origin, PrometheusCheck, Step
from fleet.core.gates import GateState
from fleet.core.gating import folded, with_manifests, with_open
from fleet.core.ids import ClusterName, Revision
from fleet.core.passage import Row
from fleet.core.steps import Stage

SMOKE = Gate("smoke", JobCheck("gates/smoke.yaml"), Origin("fleet.yaml", 7))
ERRORS = Gate("errors", PrometheusCheck("http://prom", "errors", 0.01), Origin("fleet.yaml", 8))
ONE, TWO = ClusterName("dev-1"), ClusterName("dev-2")
STAGE = Stage(Step("dev", Origin("fleet.yaml", 6), environments=("dev",), gates=(SMOKE, ERRORS)), (ONE, TWO))
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
