"""Records the answers of a real kube-apiserver: `python -m conformance.record [TOPIC[/CASE] ...]`.

`python -m conformance.record older` writes down where the oldest supported minor answers otherwise than the newest;
cases that need controllers are left out, which may not be newer than their API server.

Each case is run twice; an answer that differs between the two is refused, since nobody could be held to it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from conformance.client import USERS, Target
from conformance.suite import OLDER, RECORDED, Case, all_cases, answers_of, recorded
from testbed.controlplane import ControlPlane, ControlPlaneFleet
from testbed.processes import Run


def target_of(plane: ControlPlane) -> Target:
    """A real control plane as a target; what was before version 2 is forgotten."""
    plane.compact(2)
    return Target(plane.url, plane.trust, {user: plane.tokens[user] for user in USERS})


async def _record(fleet: ControlPlaneFleet, chosen: list[Case]) -> int:
    bare = [case for case in chosen if not case.controllers]
    full = [case for case in chosen if case.controllers]
    rounds: list[dict[str, Any]] = []
    for _ in range(2):
        answers = await answers_of(target_of(fleet["bare"]), bare) if bare else {}
        if full:
            answers |= await answers_of(target_of(fleet["full"]), full)
        rounds.append(answers)
    refused = 0
    for case in chosen:
        first, second = (answers[case.id] for answers in rounds)
        raised = isinstance(first, dict) and "raised" in first
        if raised or first != second:
            refused += 1
            print(f"{case.id}: {first['raised'] if raised else _difference(first, second)}", file=sys.stderr)
    (RECORDED / "version").write_text(fleet["bare"].client().get("/version")["gitVersion"] + "\n")
    for topic in sorted({case.topic for case in chosen}):
        _write(topic, rounds[0])
    print(f"recorded {len(chosen) - refused} of {len(chosen)} cases")
    return 1 if refused else 0


def _write(topic: str, answers: dict[str, Any]) -> None:
    known = recorded(topic)
    names = [case.name for case in all_cases() if case.topic == topic]
    merged = {name: answers.get(f"{topic}/{name}", known.get(name)) for name in names}
    RECORDED.mkdir(exist_ok=True)
    (RECORDED / f"{topic}.json").write_text(json.dumps(merged, indent=1, sort_keys=True) + "\n")


async def _record_older(plane: ControlPlane) -> int:
    cases = [case for case in all_cases() if not case.controllers]
    first, second = [await answers_of(target_of(plane), cases) for _ in range(2)]
    unsteady = [case.id for case in cases if first[case.id] != second[case.id]]
    differs = {case.id: first[case.id] for case in cases if first[case.id] != recorded(case.topic)[case.name]}
    OLDER.write_text(json.dumps(differs, indent=1, sort_keys=True) + "\n")
    print(f"{len(differs)} of {len(cases)} cases are answered otherwise; {len(unsteady)} differ between two runs")
    return 1 if unsteady else 0


def _difference(first: Any, second: Any) -> str:
    return f"two runs differ\n  {json.dumps(first, sort_keys=True)}\n  {json.dumps(second, sort_keys=True)}"


def main(wanted: list[str]) -> int:
    """Record what is named (all without a name)."""
    if wanted == ["older"]:
        run = Run.begin()
        try:
            return asyncio.run(_record_older(ControlPlane.start(run, "older", program="kube-apiserver-older")))
        finally:
            run.end()
    chosen = [case for case in all_cases() if not wanted or case.topic in wanted or case.id in wanted]
    if not chosen:
        print(f"no case is called {' or '.join(wanted)}", file=sys.stderr)
        return 2
    run = Run.begin()
    try:
        names = ["bare", *(["full"] if any(case.controllers for case in chosen) else [])]
        fleet = ControlPlaneFleet.start(run, names, controllers_in=["full"])
        return asyncio.run(_record(fleet, chosen))
    finally:
        run.end()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
