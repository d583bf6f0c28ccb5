"""What is shown Synced at a commit that its cluster never held is found, and what it holds later is not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from safety.arrivals import Arrivals
from safety.checker import Script
from safety.looks import Looks


class Told:
    """A cluster's history: hands events to who listens."""

    def __init__(self) -> None:
        self.store = self

    def listen(self, _: str, listener: Any) -> None:
        self._listener = listener

    def holds(self, name: str, value: str | None) -> None:
        after = None if value is None else SimpleNamespace(document=lambda: {"data": {"a": value}})
        self._listener(SimpleNamespace(key=("default", name), after=after))


def looks_of(cluster: Any) -> Looks:
    rig: Any = SimpleNamespace(script=Script(commits=["c0", "c1", "c2"]))
    return Looks(rig, {"eu-1": Arrivals(cluster)})


def test_a_unit_that_is_shown_synced_at_what_its_cluster_never_held_is_named_once() -> None:
    cluster = Told()
    looks = looks_of(cluster)
    looks.promise("c0", "web", "a", 1)
    looks.promise("c1", "web", "a", 2)
    cluster.holds("a", "1")
    looks.see("web@eu-1", "Synced", "c0")
    assert looks.wrong == []
    looks.see("web@eu-1", "Synced", "c1")
    looks.see("web@eu-1", "Synced", "c2")
    assert len(looks.wrong) == 1
    assert "Synced at c1, and a was never 2" in looks.wrong[0]


def test_what_was_held_what_is_another_units_and_what_is_not_shown_as_synced_is_none() -> None:
    cluster = Told()
    looks = looks_of(cluster)
    looks.promise("c0", "web", "a", 1)
    looks.promise("c1", "web", "b", None)
    cluster.holds("a", "3")  # a later commit's
    cluster.holds("a", "by hand")
    for unit, sync, commit in (("web@eu-1", "Synced", "c0"), ("shop@eu-1", "Synced", "c2"),
                               ("web@eu-1", "OutOfSync", "c1"), ("web@eu-1", "Synced", "unknown")):  # fmt: skip
        looks.see(unit, sync, commit)
    assert looks.wrong == []
    cluster.holds("b", None)
    looks.see("web@eu-1", "Synced", "c2")
    assert looks.wrong == []
    assert looks.looked == 3


def test_a_dropped_object_that_was_never_there_as_it_was_said_before_is_none() -> None:
    cluster = Told()
    looks = looks_of(cluster)
    looks.promise("c0", "web", "a", 7)
    looks.promise("c1", "web", "a", None)
    cluster.holds("a", None)
    looks.see("web@eu-1", "Synced", "c1")
    assert looks.wrong == []
