"""A word that a rebuilt record counts is for what was shown, and for nothing else."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fleet.core.ids import ClusterName, Digest, Identity, OverlayName, Revision, UnitName
from fleet.core.recovery import Words, asked_of, given_of, list_digest_of, text_of, words_of
from fleet.core.status import ASKS_RECOVERY, Blocker, Health, Report, Standing, Sync, UnitReport

ASKS = (Blocker(Standing.HELD, "cluster eu-1", "its record was rebuilt", 1.0, "", ASKS_RECOVERY),)
NAMES = st.sampled_from(["eu-1", "eu-2", "us-1"]).map(ClusterName)
words = st.dictionaries(NAMES, st.frozensets(st.sampled_from(["a1", "b2", "c3"])))


def unit(overlay: str = "web", cluster: str = "eu-1", bundle: str = "d1") -> UnitReport:
    name = UnitName(OverlayName(overlay), ClusterName(cluster))
    return UnitReport(name, Revision("c1"), Digest(bundle), Sync.UNKNOWN, Health.UNKNOWN, 1.0, blocked_by=ASKS)


def asked(*units: UnitReport, identity: str = "uid-1") -> Words:
    reports = [Report(one.unit.cluster, 1, 1, 1.0, identity=Identity(identity)) for one in units]
    return asked_of(units, {report.cluster: report for report in reports})


@given(words)
def test_words_survive_being_written_down(said: Words) -> None:
    assert words_of(text_of(said)) == said


@given(words, words)
def test_a_word_holds_while_any_of_what_it_was_for_is_asked_and_where_nothing_is(said: Words, now: Words) -> None:
    for name, shown in said.items():
        assert (name in given_of(said, now)) == (not shown or name not in now or bool(now[name] & shown))


def test_it_is_over_for_another_unit_another_result_and_another_cluster_and_not_as_units_are_done() -> None:
    said = asked(unit(), unit("edge"))
    heard = replace(unit("edge"), blocked_by=(), observed_at=9.0, objects=())
    for now in (asked(unit(), unit("edge")), asked(unit(), heard), asked(heard), asked(unit(), unit("late"))):
        assert given_of(said, now) == said
    for other in (asked(unit("late")), asked(unit(bundle="d2")), asked(unit(), identity="uid-2")):
        assert given_of(said, other) == {}


def test_a_list_is_another_one_once_another_cluster_was_not_heard() -> None:
    lists = [(), (ClusterName("eu-2"),), (ClusterName("eu-2"), ClusterName("us-1"))]
    assert len({list_digest_of(asked(unit()), names) for names in lists}) == len(lists)
    assert list_digest_of(asked(unit()), ()) == list_digest_of(asked(unit()))


def test_any_other_list_has_another_digest() -> None:
    lists = [asked(unit()), asked(unit(), unit("edge")), asked(unit(), unit(cluster="eu-2")), asked(unit(bundle="d2"))]
    assert len({list_digest_of(one) for one in lists}) == len(lists)
