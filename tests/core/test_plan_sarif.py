"""Problems as SARIF: a code host finds each file by a URI from the top of the repository."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import jsonschema
import pytest
from core.test_change import plan, web
from hypothesis import given
from hypothesis import strategies as st

from fleet.core.planning.change import SideProblem, SideResult
from fleet.core.planning.sarif import problems_of, sarif_of
from fleet.core.problems import Origin, Problem, Severity

# A relative reference of RFC 3986 without query: no space, no colon in its first part, "%" before two hex digits alone.
_PLACE = {
    "type": "object",
    "required": ["artifactLocation", "region"],
    "properties": {
        "artifactLocation": {
            "required": ["uri"],
            "properties": {"uri": {"pattern": r"^(?!/)(?:[A-Za-z0-9._~!$&'()*+,;=@/-]|%[0-9A-F]{2})+$"}},
        },
        "region": {"required": ["startLine"], "properties": {"startLine": {"type": "integer", "minimum": 1}}},
    },
}


def place_of(problem: Problem, inside: str = "") -> tuple[str, int]:
    document: Any = sarif_of([problem], "1.0", inside=inside)
    (result,) = document["runs"][0]["results"]
    place = result["locations"][0]["physicalLocation"]
    jsonschema.validate(place, _PLACE)
    return place["artifactLocation"]["uri"], place["region"]["startLine"]


def built(where: str) -> Problem:
    broken = SideResult("overlays/web", SideProblem("ResourceMissing", "no such file", where))
    (problem,) = problems_of(plan([web(None, broken)]))
    return problem


@pytest.mark.parametrize(
    ("where", "uri", "line"),
    [
        ("overlays/web/base/my dir/kustomization.yaml:1", "overlays/web/base/my%20dir/kustomization.yaml", 1),
        ("overlays/web: overlays/my dir/a.yaml:3", "overlays/my%20dir/a.yaml", 3),
        ("a b.yaml:3 and c d.yaml:5", "a%20b.yaml", 3),
        ("a:b/50%/c#d?.yaml:7", "a%3Ab/50%25/c%23d%3F.yaml", 7),
        ("目/a.yaml:2", "%E7%9B%AE/a.yaml", 2),
        ("my dir", "my%20dir", 1),
        # Twins: as they were.
        ("overlays/web/kustomization.yaml:4", "overlays/web/kustomization.yaml", 4),
        ("a.yaml:3 and b.yaml:5", "a.yaml", 3),
        ("", "overlays/web", 1),
    ],
)
def test_a_place_is_the_uri_of_its_file(where: str, uri: str, line: int) -> None:
    assert place_of(built(where)) == (uri, line)


@pytest.mark.parametrize(("inside", "before"), [("", ""), ("fl", "fl/"), ("our fleet/a", "our%20fleet/a/")])
def test_a_fleet_repo_inside_of_a_repository_is_found_from_its_top(inside: str, before: str) -> None:
    assert place_of(built("a.yaml:3"), inside) == (f"{before}a.yaml", 3)
    nowhere = Problem(Severity.ERROR, "X", "what", Origin(""))
    assert place_of(nowhere, inside) == (f"{before}fleet.yaml", 1)


@given(st.text("ab /%:#?&+目é'\"<", min_size=1, max_size=9), st.integers(0, 3))
def test_every_uri_is_one_and_names_its_path(path: str, line: int) -> None:
    found = place_of(Problem(Severity.ERROR, "X", "what", Origin(f"o/{path}", line)))
    assert (unquote(found[0]), found[1]) == (f"o/{path}", max(1, line))
