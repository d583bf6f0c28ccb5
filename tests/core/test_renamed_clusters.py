"""Which clusters a change renames, by Git alone: a name goes, one comes, with one identity; all else is two (R2)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.core.fleet import Cluster, Fleet, Unknown
from fleet.core.ids import ClusterName, Identity, ObjectRef, Revision, UnitName
from fleet.core.planning.change import How, ObjectChange, Sign, UnitChange
from fleet.core.planning.listing import listed_of, plan_text
from fleet.core.planning.renamed_clusters import perhaps_renamed, renamed_clusters, under_new_names
from fleet.core.planning.settings import settings_of
from fleet.core.problems import Origin, Problem, Severity

P1, Q1 = ClusterName("p1"), ClusterName("q1")
BROKEN = Problem(Severity.ERROR, "InventoryInvalid", "not YAML", Origin("clusters/x.yaml", 3))


def fleet(unknown: Unknown | None = None, **identities: str) -> Fleet:
    """Clusters by name with their identities; "" where Git does not say it."""
    entries = {
        ClusterName(name): Cluster(ClusterName(name), Origin("c.yaml"), identity=Identity(text) if text else None)
        for name, text in identities.items()
    }
    return replace(Fleet(Revision("a" * 40), clusters=entries), unknown=unknown or Unknown())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (fleet(p1="a"), fleet(q1="b")),
        (fleet(p1="a"), fleet(q1="a-longer")),
        (fleet(p1="a"), fleet(p1="a", q1="b")),
        (fleet(p1="a", q1="b"), fleet(p1="b", q1="a")),
        (fleet(p1="a", q1="b"), fleet(q1="a")),
        (fleet(p1="a"), fleet(p1="b", q1="a")),
        (fleet(p1="a"), fleet(q1="a", q2="a")),
        (fleet(p1="a"), fleet(Unknown(clusters={P1: BROKEN}), q1="a")),
        (fleet(Unknown(clusters={Q1: BROKEN}), p1="a"), fleet(q1="a")),
        (fleet(p1="a"), fleet(Unknown(unnamed=(BROKEN,)), q1="a")),
        (fleet(p1="a"), fleet(Unknown(identities={Identity("a"): ClusterName("x")}), q1="a")),
    ],
    ids=[
        "two clusters", "only alike", "one comes", "swapped", "moved to one that was there", "moved to a new one",
        "twice", "old file broken", "new file was broken", "a file says nothing", "another says it too",
    ],
)  # fmt: skip
def test_only_a_name_that_surely_goes_and_one_that_comes_with_one_identity_are_a_rename(
    before: Fleet, after: Fleet
) -> None:
    assert renamed_clusters(before, after) == {}
    assert under_new_names(before, after) is before
    assert list(perhaps_renamed(before, after)) == []


def test_each_rename_is_paired_by_its_own_identity() -> None:
    before, after = fleet(p1="a", p2="b", p3="c"), fleet(q1="b", q2="a", p3="c")
    assert renamed_clusters(before, after) == {"p1": "q2", "p2": "q1"}
    seen = under_new_names(before, after)
    assert {name: entry.name for name, entry in seen.clusters.items()} == {"q2": "p1", "q1": "p2", "p3": "p3"}
    assert list(perhaps_renamed(before, after)) == []


def test_what_git_leaves_open_is_said_of_those_that_it_is_open_for() -> None:
    (note,) = perhaps_renamed(fleet(p1="a", p2="", p3="c"), fleet(q1="b", q3="c"))
    assert note.startswith("p2 goes and q1 comes, and Git does not say")
    (note,) = perhaps_renamed(fleet(p1="a", p2="b"), fleet(q1=""))
    assert note.startswith("p1, p2 go and q1 comes, and Git does not say")
    assert list(perhaps_renamed(fleet(p1=""), fleet())) == []
    assert list(perhaps_renamed(fleet(), fleet(q1=""))) == []


def test_a_plan_says_by_its_text_what_a_renamed_cluster_is_called_until_the_merge() -> None:
    web, claim = UnitName.parse("web@q1"), ObjectRef("", "PersistentVolumeClaim", "shop", "cache")
    gone = UnitChange(web, How.CHANGES, (ObjectChange(Sign.DELETE, claim, "v1"),))
    listed = listed_of(plan_text([gone], settings_of(fleet(p1="a"), fleet(q1="a"))))
    assert (listed.doomed, listed.old_names) == ({web: frozenset({claim})}, {Q1: P1})
    assert listed.units == {web, UnitName.parse("web@p1")}
    assert listed.as_it_was(web) == UnitName.parse("web@p1")
    other = listed_of(plan_text([gone], settings_of(fleet(q1="a"), fleet(q1="b"))))
    assert (other.old_names, other.units) == ({}, {web})
