"""Rollouts of a cluster that gets another name: nothing is lost, nothing is doubled, all others stay as they are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleet.core.ids import ClusterName, Digest, OverlayName, Revision, UnitName
from fleet.core.passage import Passage, Passages, Quarantined, Row, Stop, decode_passages, encode_passages
from fleet.core.results import Rendered

OLD, NEW, OTHER = (ClusterName(name) for name in ("old", "new", "other"))
WEB = OverlayName("web")
names = st.sampled_from([OLD, NEW, OTHER])
moments = st.floats(0, 100)


@st.composite
def rows(draw) -> Row:
    targets = draw(st.dictionaries(names, st.sampled_from(["d1", "d2"])))
    among = st.sampled_from(sorted(targets)) if targets else st.nothing()
    held = st.builds(Rendered, st.just(Digest("d0")), st.just(Revision("c0")))
    gone = draw(st.sampled_from([{}, {OLD: Rendered(Digest("d9"), Revision("c0"))}]))
    return Row(
        targets,
        flying=draw(st.dictionaries(among, moments)),
        away=draw(st.dictionaries(among, moments)),
        before={**gone, **draw(st.dictionaries(among, held))},
        landed=draw(st.dictionaries(among, moments)),
        excused=frozenset(draw(st.sets(among))),
    )


@st.composite
def all_rollouts(draw) -> Passages:
    stop = Stop("crash", "hub", 1.0, UnitName(WEB, draw(names)))
    passages = [
        Passage(Revision(f"c{number}"), 1.0, {WEB: draw(rows())}, halted=draw(st.sampled_from([None, stop])))
        for number in range(draw(st.integers(0, 2)))
    ]
    entry = Quarantined(Revision("c1"), stop, frozenset(draw(st.sets(names))))
    return Passages(tuple(passages), {WEB: {"d1": entry}})


def mentioned(kept: Passages) -> set[str]:
    """All clusters that a text of it names."""
    return {name for name in (OLD, NEW, OTHER) if f'"{name}"' in encode_passages(kept) or f"@{name}" in str(kept.all)}


@given(kept=all_rollouts())
def test_a_renamed_cluster_has_what_it_had_and_all_others_what_they_had(kept: Passages) -> None:
    moved = kept.renamed(OLD, NEW)
    assert OLD not in mentioned(moved)
    assert decode_passages(encode_passages(moved)) == moved
    for before, after in zip(kept.all, moved.all, strict=True):
        was, now = before.rows[WEB], after.rows[WEB]
        if OLD not in was.targets and OLD not in was.before:
            assert was == now
            continue
        if OLD not in was.targets:
            assert now.targets == was.targets
        for book in ("targets",) * (OLD in was.targets) + ("flying", "away", "before", "landed"):
            assert getattr(now, book).get(NEW) == getattr(was, book).get(OLD)
            assert getattr(now, book).get(OTHER) == getattr(was, book).get(OTHER)
        assert (NEW in now.excused, OTHER in now.excused) == (OLD in was.excused, OTHER in was.excused)
    had, has = kept.quarantine[WEB]["d1"].clusters, moved.quarantine[WEB]["d1"].clusters
    assert has == {NEW if name == OLD else name for name in had}


@given(kept=all_rollouts())
def test_a_name_that_no_rollout_knows_changes_nothing(kept: Passages) -> None:
    assert kept.renamed(ClusterName("nobody"), NEW) is kept
