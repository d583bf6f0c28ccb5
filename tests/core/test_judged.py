"""What was judged of deletions, over time and over a restart."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from core.building import ref
from hypothesis import given
from hypothesis import strategies as st

from fleet.core.ids import ClusterName, Digest, ObjectRef, OverlayName, UnitName
from fleet.core.judged import HOUR_SECONDS, HeldBack, Judged, Permitted, decode_judged, encode_judged
from fleet.core.rollout import Rename

REFS = [ref("x"), ref("y"), ref("z")]
UNITS = [UnitName(OverlayName(overlay), ClusterName(cluster)) for overlay in ("a", "b") for cluster in ("c1", "c2")]
some_refs = st.frozensets(st.sampled_from(REFS))
at_least_one = st.frozensets(st.sampled_from(REFS), min_size=1)
digests = st.sampled_from([Digest("d1"), Digest("d2")])
moments = st.floats(0, 10 * HOUR_SECONDS)
permitted = st.builds(Permitted, st.sampled_from(UNITS), digests, at_least_one, st.none() | moments)
held_back = st.builds(lambda at, refs, alone: HeldBack(at, refs, refs & alone), moments, at_least_one, some_refs)
judged = st.builds(
    Judged,
    st.lists(permitted, max_size=6).map(tuple),
    st.dictionaries(st.sampled_from(UNITS), held_back),
)
there = st.dictionaries(st.sampled_from(UNITS), some_refs)


def open_of(one: Judged) -> set[tuple[UnitName, ObjectRef]]:
    return {(each.unit, item) for each in one.permitted if each.gone_at is None for item in each.refs}


@given(judged)
def test_what_is_written_is_read_again(one: Judged) -> None:
    again = decode_judged(encode_judged(one))
    assert again.held == one.held
    assert Counter(again.permitted) == Counter(one.permitted)


def test_what_was_written_before_still_counts_for_its_hour() -> None:
    text = '{"permitted":[["a@c1",100.0,["/ConfigMap/shop/x"]]],"held":[]}'
    (one,) = decode_judged(text).permitted
    assert (str(one.unit), one.gone_at, len(one.refs)) == ("a@c1", 100.0, 1)


def test_what_an_earlier_version_held_back_bars_all_of_its_overlay() -> None:
    one = decode_judged('{"permitted":[],"held":[[[["a@c1",100.0]],["/ConfigMap/shop/x"]]],"renames":[]}')
    assert (one.held[UNITS[0]].alone, one.held_of(OverlayName("a"))) == (frozenset(), {ref("x")})


@given(judged)
def test_what_an_earlier_version_took_over_from_a_cluster_costs_nothing_but_itself(one: Judged) -> None:
    """It let in names with a slash: such a key has more parts than it was made of."""
    bad, unit = ref("a/b"), UNITS[0]
    more = Judged(
        (
            *(replace(each, refs=each.refs | {bad}) for each in one.permitted),
            Permitted(unit, Digest("d3"), frozenset({bad})),
        ),
        {unit: replace(held, refs=held.refs | {bad}, alone=held.alone | {bad}) for unit, held in one.held.items()},
        {unit: frozenset({Rename(ref("x"), ref("y"), Digest("d1")), Rename(bad, ref("y"), Digest("d1"))})},
    )
    again = decode_judged(encode_judged(more))
    assert again.held == one.held
    assert Counter(each for each in again.permitted if each.refs) == Counter(one.permitted)
    assert again.renames == {unit: {Rename(ref("x"), ref("y"), Digest("d1"))}}
    assert decode_judged(encode_judged(Judged(held={unit: HeldBack(1.0, frozenset({bad}))}))).held == {}


@given(judged, there, moments)
def test_what_may_still_go_counts_however_long_ago_it_was_permitted(
    one: Judged, left: dict[UnitName, frozenset[ObjectRef]], now: float
) -> None:
    after = one.looked_at(left.get, {}, now)
    still = {(unit, item) for unit, item in open_of(one) if unit not in left or item in left[unit]}
    assert open_of(after) == still
    for unit, item in open_of(one):
        assert unit.cluster in after.clusters_by_ref(unit.overlay)[item], "what went just now counts for an hour"


@given(judged, there, moments, st.floats(0, 2 * HOUR_SECONDS))
def test_what_went_counts_for_an_hour_and_no_longer(
    one: Judged, left: dict[UnitName, frozenset[ObjectRef]], went: float, later: float
) -> None:
    gone_at = {(unit, item): went for unit in UNITS for item in REFS}
    after = one.looked_at(left.get, gone_at, went).looked_at(left.get, {}, went + later)
    for unit, item in open_of(one) - open_of(after):
        is_counted = any(each.unit == unit and item in each.refs for each in after.permitted)
        assert is_counted or later > HOUR_SECONDS
    assert all(each.gone_at is None or each.gone_at >= went + later - HOUR_SECONDS for each in after.permitted)


@given(judged, st.dictionaries(st.sampled_from(UNITS), some_refs), digests)
def test_what_is_permitted_again_counts_once_and_is_found_by_its_result(
    one: Judged, permits: dict[UnitName, frozenset[ObjectRef]], bundle: Digest
) -> None:
    after = one.with_permits(permits, dict.fromkeys(permits, bundle))
    for unit, refs in permits.items():
        assert refs <= after.permitted_by(unit, bundle)
        assert refs.isdisjoint(after.permitted_by(unit, Digest("another")))
        for item in refs:
            assert sum(each.unit == unit and item in each.refs for each in after.permitted) == 1
