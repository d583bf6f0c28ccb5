"""The oldest supported minor answers as the newest, but where it is written down; and fleet delivers to it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from conformance.record import target_of
from conformance.suite import all_cases, answers_of, older_answers, recorded
from testbed import binaries
from testbed.controlplane import ControlPlane

from fleet.core.planning.apis import NEWEST_KNOWN

CASES = {case.id: case for case in all_cases() if not case.controllers}


@pytest.fixture(scope="module")
def answers(older_api_server: ControlPlane) -> dict[str, Any]:
    """What it says to every case; asked once more where that is not what is expected: it may just have been busy."""
    target = target_of(older_api_server)
    first = asyncio.run(answers_of(target, CASES.values()))
    return first | asyncio.run(answers_of(target, [CASES[name] for name in otherwise(first)]))


def otherwise(answers: dict[str, Any]) -> dict[str, Any]:
    """The answers that are not the expected ones."""
    expected = {case.id: recorded(case.topic)[case.name] for case in CASES.values()} | older_answers()
    return {name: answer for name, answer in answers.items() if answer != expected[name]}


@pytest.mark.timeout(300)
def test_the_oldest_minor_answers_as_the_newest_but_where_it_is_written_down(answers: dict[str, Any]) -> None:
    assert otherwise(answers) == {}, "if that is meant: PYTHONPATH=tests python -m conformance.record older"


def test_what_is_written_down_differs_and_is_a_case() -> None:
    for name, answer in older_answers().items():
        case = CASES[name]
        assert answer != recorded(case.topic)[case.name], name


def test_it_is_the_oldest_of_the_newest_four() -> None:
    """When a newer minor comes, the test bed takes the next one as its oldest."""
    minor = int(binaries.KUBE_OLDER.version_of("k8s.io/kubernetes").split(".")[1])
    assert minor == NEWEST_KNOWN - 3


async def test_its_version_is_the_one_that_was_asked_for(older_api_server: ControlPlane) -> None:
    version = older_api_server.client().get("/version")["gitVersion"]
    assert version == binaries.KUBE_OLDER.version_of("k8s.io/kubernetes")
