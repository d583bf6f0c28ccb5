"""When a wipe is over, and to what it is bound."""

from __future__ import annotations

from dataclasses import replace

import pytest
from core.building import ref

from fleet.core.ids import ClusterName, Digest, OverlayName, Revision, UnitName
from fleet.core.leaving import Leave, Leaving
from fleet.core.results import EMPTY_BUNDLE
from fleet.core.status import Health, HoldRequest, ObjectStatus, PendingDeletion, Sync, UnitReport
from fleet.core.wipe import is_over, key_of, words_of

WEB = UnitName(OverlayName("web"), ClusterName("eu-1"))
EDGE = UnitName(OverlayName("edge"), ClusterName("eu-1"))
C1, C2 = Revision("1" * 40), Revision("2" * 40)
CLEAN = UnitReport(WEB, C1, EMPTY_BUNDLE.digest, Sync.SYNCED, Health.HEALTHY, 1.0)
KEPT = ObjectStatus(ref("kept"), Sync.SYNCED, Health.HEALTHY)
HELD = HoldRequest(WEB, C1, "sharp-fall", "m", (PendingDeletion(ref("a"), "u", Digest("c")),))


@pytest.mark.parametrize("report", [CLEAN, replace(CLEAN, objects=(KEPT,))])
def test_a_wipe_is_over_once_nothing_is_left_that_may_be_deleted(report: UnitReport) -> None:
    assert is_over(report, C1)


@pytest.mark.parametrize(
    "report",
    [
        None,
        replace(CLEAN, bundle=Digest("b")),
        replace(CLEAN, bundle=None),
        replace(CLEAN, sync=Sync.UNKNOWN),
        replace(CLEAN, sync=Sync.OUT_OF_SYNC),
        replace(CLEAN, holds=(HELD,)),
        replace(CLEAN, objects=(KEPT, replace(KEPT, sync=Sync.OUT_OF_SYNC))),
        replace(CLEAN, detached=True),
        replace(CLEAN, commit=C2),  # from before it left: everything may stand there, kept by sync.prune: false
    ],
)
def test_a_wipe_is_not_over_while_anything_is_held_left_or_unknown(report: UnitReport | None) -> None:
    assert not is_over(report, C1)


def test_how_it_ended_counts_what_stays() -> None:
    assert words_of(CLEAN) == "all that fleet owned there is deleted"
    assert words_of(replace(CLEAN, objects=(KEPT,))).endswith("1 that are never to be deleted stay, without our marks")


def test_a_word_is_bound_to_the_commit_by_which_a_unit_leaves() -> None:
    assert key_of(WEB, C1) != key_of(WEB, C2) != key_of(EDGE, C2)


def test_the_first_word_stays_and_only_what_is_asked_for_is_wiped() -> None:
    leaving = Leaving({WEB: Leave(C1), EDGE: Leave(C1)})
    asked = leaving.with_wipes({WEB: "op-1 by mara"}, frozenset())
    assert asked.with_wipes({WEB: "op-2 by jo"}, frozenset()) == asked
    assert (asked.units[WEB].wipe, asked.units[EDGE].wipe) == ("op-1 by mara", "")
    assert asked.with_wipes({}, frozenset({WEB})).units[WEB].wiped
    assert asked.with_wipes({}, frozenset()) is asked


def test_a_wipe_ends_with_the_name_that_was_typed_and_others_go_on() -> None:
    other = UnitName(WEB.overlay, ClusterName("eu-3"))
    wiping = Leave(C1, "4 of 4 units leave", "op-1 by mara", wiped=True)
    renamed = Leaving({WEB: wiping, other: wiping}).renamed(WEB.cluster, ClusterName("eu-9"), wanted=())
    assert renamed.units == {
        UnitName(WEB.overlay, ClusterName("eu-9")): Leave(C1, "4 of 4 units leave"), other: wiping
    }  # fmt: skip
