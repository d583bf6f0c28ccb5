"""Problems of a fleet repo as SARIF 2.1.0, so that a code host shows each at its line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote

from fleet.core.documents import Document, Json
from fleet.core.planning.fleet_plan import FleetPlan
from fleet.core.problems import Origin, Problem, Severity

# `PATH:LINE` of an error: the directory that is built may stand before it, and another place or a word behind it.
_PLACE = re.compile(r"(?:.*: )?(?P<path>.+?):(?P<line>\d+)(?=[\s,]|\Z)")


def problems_of(plan: FleetPlan) -> tuple[Problem, ...]:
    """What the change brings: problems of the inventory, and builds that fail, each once."""
    failed = {
        (unit.problem.reason, unit.problem.message, unit.problem.where): unit for unit in plan.units if unit.problem
    }
    known = {(problem.reason, str(problem.origin)) for problem in plan.problems}
    builds = [
        Problem(Severity.ERROR, reason, message, _origin(where or unit.path_after), next_step=unit.problem.next_step)
        for (reason, message, where), unit in failed.items()
        if unit.problem is not None and (reason, where) not in known
    ]
    return (*plan.problems, *builds)


def sarif_of(problems: Iterable[Problem], version: str, *, inside: str = "") -> Document:
    """One run of one tool; version: of fleet. A code host goes by URIs from the top of the repository.

    inside: the path of the fleet repo in its repository; "": it is the whole.
    """
    found = list(problems)
    rules: list[Json] = [{"id": reason} for reason in sorted({problem.reason for problem in found})]
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "fleet", "version": version, "rules": rules}},
                "results": [_result(problem, inside) for problem in found],
            }
        ],
    }


def _result(problem: Problem, inside: str) -> Document:
    parts = (problem.what, problem.why, problem.next_step and f"next: {problem.next_step}")
    text = ". ".join(part for part in parts if part)
    path = "/".join(filter(None, (inside, problem.origin.path or "fleet.yaml")))
    region: Document = {"startLine": max(1, problem.origin.line)}
    if problem.column:
        region["startColumn"] = problem.column
        region["endColumn"] = problem.column + max(1, problem.length)
    return {
        "ruleId": problem.reason,
        "level": problem.severity.value,
        "message": {"text": text},
        "locations": [
            {"physicalLocation": {"artifactLocation": {"uri": quote(path, errors="surrogateescape")}, "region": region}}
        ],
    }


def _origin(where: str) -> Origin:
    place = _PLACE.match(where)
    return Origin(place["path"], int(place["line"])) if place else Origin(where)
