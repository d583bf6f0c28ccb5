"""Every target answers every case as a real kube-apiserver did when it was recorded.

All cases of a target that were selected run together, once; each is then a test of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from conformance.record import target_of
from conformance.suite import Case, all_cases, answers_of, recorded
from testbed.controlplane import ControlPlane
from testbed.fixtures import require

CASES = {case.id: case for case in all_cases()}
Answers = dict[str, Any]


def _selected(request: pytest.FixtureRequest, test: str) -> list[Case]:
    """The cases whose tests run in this session."""
    items = [item for item in request.session.items if getattr(item, "originalname", "") == test]
    return [CASES[item.callspec.params["case_id"]] for item in items]


@pytest.fixture(scope="session")
def real_answers(request: pytest.FixtureRequest) -> Answers:
    """What the real servers say: one without controllers, and one with them where a case needs that."""
    require("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")
    plane: Callable[[str], ControlPlane] = request.getfixturevalue
    chosen = _selected(request, "test_a_real_server_answers_as_recorded")
    answers: Answers = {}
    for fixture, controllers in (("api_server", False), ("real_cluster", True)):
        cases = [case for case in chosen if case.controllers is controllers]
        if cases:
            answers |= asyncio.run(answers_of(target_of(plane(fixture)), cases))
    return answers


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case_id", CASES)
def test_a_real_server_answers_as_recorded(case_id: str, real_answers: Answers) -> None:
    assert real_answers[case_id] == _recording_of(case_id)


def test_the_suite_has_what_was_promised_and_nothing_unrecorded() -> None:
    assert len(CASES) >= 150
    known = {f"{topic}/{name}" for topic in {case.topic for case in CASES.values()} for name in recorded(topic)}
    assert known == set(CASES)


def _recording_of(case_id: str) -> Any:
    topic, name = case_id.split("/")
    return recorded(topic)[name]
