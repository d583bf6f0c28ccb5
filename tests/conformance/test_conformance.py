"""Every target answers every case as a real kube-apiserver did when it was recorded.

All cases of a target that were selected run together, once; each is then a test of its own.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from conformance.client import USERS, Target
from conformance.record import target_of
from conformance.suite import Case, all_cases, answers_of, recorded, recorded_version
from testbed.controlplane import ControlPlane
from testbed.fixtures import missing, require

from fleet.sim import Simulation

CASES = {case.id: case for case in all_cases()}


class Answers(dict[str, Any]):
    """Answers by id of the case; printed by number, so that a failure shows its own alone."""

    def __repr__(self) -> str:
        return f"<{len(self)} answers>"


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
    answers = Answers()
    for fixture, controllers in (("api_server", False), ("real_cluster", True)):
        cases = [case for case in chosen if case.controllers is controllers]
        if cases:
            require_recorded_version(plane(fixture))
            answers.update(asyncio.run(answers_of(target_of(plane(fixture)), cases)))
    return answers


def require_recorded_version(plane: ControlPlane) -> None:
    """Recordings speak for one version; a machine whose programs are of another cannot check them."""
    version = plane.client().get("/version")["gitVersion"]
    if version != recorded_version():
        missing(f"kube-apiserver {recorded_version()}, as recorded; here is {version}")


@pytest.fixture(scope="session")
def simulated_answers(request: pytest.FixtureRequest) -> Answers:
    """What a simulated cluster says, over TLS like the real one."""
    chosen = _selected(request, "test_the_simulator_answers_as_a_real_server")

    async def ask() -> Answers:
        answers = Answers()
        for controllers in (False, True):
            cases = [case for case in chosen if case.controllers is controllers]
            async with Simulation(["sim"], seed=1, controllers=controllers) as simulation:
                answers.update(await answers_of(simulated_target(simulation), cases))
        return answers

    return asyncio.run(ask())


def simulated_target(simulation: Simulation) -> Target:
    """The first cluster of a simulation as a target."""
    configs = {user: json.loads(simulation.kubeconfig("sim", user=user if user != "admin" else "")) for user in USERS}
    server = configs["admin"]["clusters"][0]["cluster"]
    trust = ssl.create_default_context(cadata=base64.b64decode(server["certificate-authority-data"]).decode())
    tokens = {user: config["users"][0]["user"]["token"] for user, config in configs.items()}
    return Target(server["server"], trust, tokens)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case_id", CASES)
def test_a_real_server_answers_as_recorded(case_id: str, real_answers: Answers) -> None:
    assert real_answers[case_id] == _recording_of(case_id)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case_id", CASES)
def test_the_simulator_answers_as_a_real_server(case_id: str, simulated_answers: Answers) -> None:
    assert simulated_answers[case_id] == _recording_of(case_id)


def test_the_suite_has_what_was_promised_and_nothing_unrecorded() -> None:
    assert len(CASES) >= 150
    known = {f"{topic}/{name}" for topic in {case.topic for case in CASES.values()} for name in recorded(topic)}
    assert known == set(CASES)


def _recording_of(case_id: str) -> Any:
    topic, name = case_id.split("/")
    return recorded(topic)[name]
