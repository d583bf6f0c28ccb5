"""Which tests of a run begin first."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from testbed.plugin import pytest_collection_modifyitems


def item(name: str, *, seconds: float | None = None) -> Any:
    mark = SimpleNamespace(args=(seconds,)) if seconds else None
    return SimpleNamespace(
        name=name,
        path=Path(name.partition("::")[0]),
        get_closest_marker=lambda what: mark if what == "timeout" else None,
    )


def test_files_with_the_longest_tests_begin_first_and_stay_whole() -> None:
    items = [item("a::1"), item("b::1"), item("b::2", seconds=300), item("c::1", seconds=400), item("b::3")]
    pytest_collection_modifyitems(items)
    assert [one.name for one in items] == ["c::1", "b::1", "b::2", "b::3", "a::1"]


def test_all_others_stay_in_their_order() -> None:
    items = [item("b::2"), item("b::1"), item("a::1")]
    pytest_collection_modifyitems(items)
    assert [one.name for one in items] == ["b::2", "b::1", "a::1"]
