"""The Job of a gate: what is created, and which live Job is believed."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.core.gate_jobs import is_run, job_document, judge_job
from fleet.core.gates import Ask, Word
from fleet.core.ids import OverlayName, Revision
from fleet.core.objects import INSTALLATION_LABEL, Mark
from fleet.core.problems import Origin
from fleet.core.rollout_policy import Gate, JobCheck

MARK = Mark("acme", "5f0c", "web")
GATE = Gate("smoke", JobCheck("gates/smoke.yaml"), Origin("fleet.yaml", 7))


def ask(run: str = "0a1b2c3d4e", seconds: float = 90.0) -> Ask:
    return Ask(Revision("3f9c1ab"), OverlayName("web"), "prod", GATE, run, 0.0, seconds, "eu-1")


def made(**spec: Any) -> dict[str, Any]:
    metadata = {"name": "smoke", "namespace": "x", "finalizers": ["acme.io/keep"], "ownerReferences": [{}]}
    manifest = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}
    return job_document(manifest, MARK, ask())


def live(document: dict[str, Any], manager: str = "fleet") -> dict[str, Any]:
    metadata = {**document["metadata"], "managedFields": [{"manager": manager, "operation": "Apply"}]}
    return {**document, "metadata": metadata}


def test_a_run_has_a_name_of_its_own_an_end_of_its_own_and_our_mark_but_no_workers_label() -> None:
    document = made(backoffLimit=0)
    assert document["metadata"]["name"] == "smoke-0a1b2c3d4e"
    assert document["spec"] == {"ttlSecondsAfterFinished": 3600, "backoffLimit": 0, "activeDeadlineSeconds": 90}
    assert set(document["metadata"]) == {"name", "namespace", "labels", "annotations"}, "a finalizer would keep it"
    assert document["metadata"]["annotations"]["fleet.internal/owner"] == "acme/5f0c/web"
    assert INSTALLATION_LABEL not in document["metadata"]["labels"]
    assert made(activeDeadlineSeconds=30, ttlSecondsAfterFinished=7200)["spec"] == {
        "ttlSecondsAfterFinished": 7200, "activeDeadlineSeconds": 30,
    }  # fmt: skip
    assert made(ttlSecondsAfterFinished=0)["spec"]["ttlSecondsAfterFinished"] == 3600, "it vanished before it was read"


def test_only_this_run_of_this_installation_on_this_cluster_is_believed() -> None:
    document = made()
    assert is_run(live(document), MARK, "0a1b2c3d4e")
    assert not is_run(live(document), MARK, "another000")
    assert not is_run(live(document, manager="kubectl"), MARK, "0a1b2c3d4e"), "somebody copied our annotation"
    assert not is_run(live(document), Mark("acme", "other", "web"), "0a1b2c3d4e")
    assert not is_run({"metadata": {"name": "smoke-0a1b2c3d4e"}}, MARK, "0a1b2c3d4e")


@pytest.mark.parametrize(
    ("conditions", "word"),
    [
        ([], None),
        ([{"type": "Complete", "status": "False"}], None),
        ([{"type": "SuccessCriteriaMet", "status": "True"}], None),
        ([{"type": "Suspended", "status": "True"}], None),
        ([{"type": "Complete", "status": "True"}], Word.GOOD),
        ([{"type": "FailureTarget", "status": "True"}, {"type": "Failed", "status": "True", "reason": "X"}], Word.BAD),
    ],
)
def test_its_conditions_alone_decide(conditions: list[dict[str, str]], word: Word | None) -> None:
    found = judge_job({"metadata": {"name": "a", "namespace": "b"}, "status": {"conditions": conditions}}, None)
    assert (found.word if found else None) is word


@pytest.mark.parametrize(
    ("limit", "reason", "word"),
    [
        (None, "DeadlineExceeded", Word.NONE),
        (120, "DeadlineExceeded", Word.NONE),
        (30, "DeadlineExceeded", Word.BAD),
        (90, "DeadlineExceeded", Word.BAD),
        (None, "BackoffLimitExceeded", Word.BAD),
    ],
)
def test_an_end_that_the_gates_time_alone_set_says_nothing_of_the_change(
    limit: int | None, reason: str, word: Word
) -> None:
    """It runs on the cluster also while no hub does; a deadline of the Job's own is what its author asks of it."""
    document = made(**({} if limit is None else {"activeDeadlineSeconds": limit}))
    ended = {**document, "status": {"conditions": [{"type": "Failed", "status": "True", "reason": reason}]}}
    found = judge_job(ended, limit)
    assert found is not None
    assert found.word is word
    assert ("within the 90 s that its gate had left" in found.text) == (word is Word.NONE)
