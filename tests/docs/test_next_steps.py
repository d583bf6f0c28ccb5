"""Every error that the package makes tells what to do next."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from docs.generate import error_classes

ROOT = Path(__file__).resolve().parents[2] / "fleet"
ERRORS = {item.__name__ for item in error_classes()}
# A module of the package: why nobody reads what it raises. None is known that needs this.
EXCEPTIONS: Mapping[str, str] = {}


def without_next_step(source: str) -> Iterator[tuple[int, str]]:
    """Line and class of each call that makes an error of fleet and names no next step, or an empty one."""
    tree = ast.parse(source)
    names: dict[str, str] = {}
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "fleet.errors":
            names |= {alias.asname or alias.name: alias.name for alias in node.names if alias.name in ERRORS}
        elif isinstance(node, ast.ImportFrom) and node.module == "fleet":
            modules |= {alias.asname or alias.name for alias in node.names if alias.name == "errors"}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        match node.func:
            case ast.Name(id=name) if name in names:
                made = names[name]
            case ast.Attribute(value=ast.Name(id=module), attr=name) if module in modules and name in ERRORS:
                made = name
            case _:
                continue
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        step = given.get("next_step", given.get(None))
        if step is None or (isinstance(step, ast.Constant) and not step.value):
            yield node.lineno, made


def places() -> list[str]:
    return [str(path.relative_to(ROOT)) for path in sorted(ROOT.rglob("*.py"))]


def test_every_error_of_the_package_says_what_to_do_next() -> None:
    silent = [
        f"fleet/{place}:{line} {made}"
        for place in places()
        if place not in EXCEPTIONS
        for line, made in without_next_step((ROOT / place).read_text(encoding="utf-8"))
    ]
    assert silent == []


def test_no_exception_outlives_its_place() -> None:
    assert set(EXCEPTIONS) <= set(places())


@pytest.mark.parametrize(
    "source",
    [
        "from fleet.errors import NotKnown\nraise NotKnown('there is none')",
        "from fleet.errors import NotKnown\nraise NotKnown('there is none', next_step='')",
        "from fleet.errors import NotKnown as Gone\nerror = Gone('there is none', why='it left')",
        "from fleet import errors\nerrors.NotKnown('there is none')",
    ],
)
def test_the_scan_sees_an_error_that_says_nothing(source: str) -> None:
    assert [made for _, made in without_next_step(source)] == ["NotKnown"]


@pytest.mark.parametrize(
    "source",
    [
        "from fleet.errors import NotKnown\nraise NotKnown('there is none', next_step='fleet get units')",
        "from fleet.errors import NotKnown\nraise NotKnown('there is none', next_step=step)",
        "from fleet.errors import NotKnown\ntry: pass\nexcept NotKnown: pass",
        "class NotFound: pass\nNotFound(())",
    ],
)
def test_the_scan_leaves_alone_what_says_it_or_is_no_error_of_ours(source: str) -> None:
    assert list(without_next_step(source)) == []
