"""What was taken back, on its way to the clusters and back."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fleet.core.ids import ClusterName, Digest, OverlayName, Revision, UnitName
from fleet.core.passage import Passage, Passages, Quarantined, Row, Stop, decode_passages, encode_passages
from fleet.core.quarantine import (
    KEPT,
    MOST_FOUND,
    MOST_SAID,
    TOLD,
    barred_again,
    barred_by,
    newest_of,
    readmitted,
    told_of,
    with_found,
    with_known,
    with_other_inputs,
)
from fleet.core.results import Rendered, RenderProblem
from fleet.core.status import ASKS_RECOVERY, Blocker, Health, Standing, Sync, UnitReport
from fleet.core.takeover import RolloutUnit, aborted, take_over

WEB = OverlayName("web")
PROBLEM = RenderProblem("RenderFailed", "it cannot be built", Revision("c1"))
STOP = Stop("it breaks", "jo", 1.0)
clusters = st.frozensets(st.sampled_from(["a", "b", "c"]).map(ClusterName), max_size=3)


@given(st.lists(clusters, max_size=25))
def test_each_unit_is_told_its_newest_and_no_others(who: list[frozenset[ClusterName]]) -> None:
    entries = {f"d{n:02}": Quarantined(Revision(f"c{n}"), STOP, names) for n, names in enumerate(who)}
    kept = Passages(quarantine={WEB: entries})
    assert decode_passages(encode_passages(kept)) == kept
    told = told_of(kept.quarantine)
    for name in ("a", "b", "c"):
        mine = [digest for digest, entry in entries.items() if name in entry.clusters]
        assert list(told.get(UnitName(WEB, ClusterName(name)), ())) == mine[-TOLD:]


def report(cluster: str, *digests: str) -> UnitReport:
    unit = UnitName(WEB, ClusterName(cluster))
    told = tuple(map(Digest, digests))
    return UnitReport(unit, Revision("c1"), Digest("d1"), Sync.SYNCED, Health.HEALTHY, 1.0, quarantined=told)


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["d1", "d2", "d3"])), max_size=8))
def test_what_parents_say_is_barred_once_and_a_second_reading_adds_nothing(said: list[tuple[str, str]]) -> None:
    known = {"d1": Quarantined(Revision("c9"), STOP, frozenset({ClusterName("a")}))}
    reports = [report(cluster, digest) for cluster, digest in said]
    kept = with_found(Passages(quarantine={WEB: known}), reports, {}, 5.0)
    assert with_found(kept, reports, {}, 9.0) == kept
    for cluster, digest in said:
        assert cluster in kept.quarantine[WEB][digest].clusters
    assert kept.quarantine[WEB]["d1"].commit == "c9", "what the hub knows itself stands"


def test_it_is_named_by_the_commit_that_would_bring_it_again() -> None:
    unit = UnitName(WEB, ClusterName("a"))
    kept = with_found(Passages(), [report("a", "d2")], {unit: Rendered(Digest("d2"), Revision("c7"))}, 5.0)
    assert kept.quarantine[WEB]["d2"].commit == "c7"
    kept = with_found(Passages(), [report("a", "d2")], {}, 5.0)
    assert kept.quarantine[WEB]["d2"].commit == "d2", "c1 is the commit in force, and good"


def test_what_a_cluster_bars_until_its_recovery_is_not_let_in_again_before() -> None:
    kept = with_found(Passages(), [report("a", "d2"), report("b", "d1")], {}, 5.0).quarantine
    after = {WEB: {"d2": kept[WEB]["d2"]}}
    assert barred_again(kept, after, [report("a", "d2"), report("b", "d1")]) == "b"
    assert barred_again(kept, after, [report("a", "d2"), report("b")]) == ""
    assert barred_again(kept, kept, [report("b", "d1")]) == ""


def test_one_cluster_that_bars_a_result_keeps_it_from_no_other_that_a_person_lets_it_in_on() -> None:
    both = with_found(Passages(), [report("a", "d1"), report("b", "d1")], {}, 5.0).quarantine
    assert barred_again(both, {}, [report("b", "d1")]) == "", "a asks nothing any more"
    own = {WEB: {"d1": Quarantined(Revision("c1"), STOP, frozenset({ClusterName("b")}))}}
    assert barred_again(own, {}, [report("b", "d1")]) == ""
    freed = with_found(Passages(), [report("b", "d1")], {}, 9.0).quarantine
    assert (barred_by(freed, web("a"), ("d1",)), barred_by(freed, web("b"), ("d1",)) is not None) == (None, True)


def test_what_only_a_parent_says_is_barred_on_its_own_cluster_alone() -> None:
    kept = with_found(Passages(), [report("a", "d1")], {web("b"): made("d1")}, 5.0)
    assert decode_passages(encode_passages(kept)) == kept
    assert barred_by(kept.quarantine, web("a"), ("d1",)) is not None
    assert barred_by(kept.quarantine, web("b"), ("d1",)) is None
    wanted = {ClusterName(name): RolloutUnit(made("d1"), made("d0")) for name in ("a", "b")}
    (passage,) = take_over(kept, WEB, wanted, Revision("c7"), 5.0).all
    assert set(passage.rows[WEB].targets) == {"b"}
    assert told_of(kept.quarantine) == {web("a"): ("d1",)}, "it stays there over another loss"


def test_after_a_loss_all_clusters_whose_parents_say_so_bar_it_and_what_the_hub_took_back_is_barred_everywhere() -> (
    None
):
    """The twin."""
    lost = with_found(Passages(), [report("a", "d1"), report("b", "d1")], {}, 5.0)
    assert all(barred_by(lost.quarantine, web(name), ("d1",)) is not None for name in ("a", "b"))
    known = with_found(known_of_web(), [report("b", "d1")], {}, 5.0)
    assert all(barred_by(known.quarantine, web(name), ("d1",)) is not None for name in ("a", "b", "c"))
    assert known.quarantine[WEB]["d1"].clusters == {"a", "b"}


def asks(cluster: str, *digests: str) -> UnitReport:
    """As one does whose record was rebuilt."""
    link = Blocker(Standing.HELD, f"cluster {cluster}", "its record was rebuilt", 1.0, "", ASKS_RECOVERY)
    return replace(report(cluster, *digests), blocked_by=(link,))


def test_a_unit_that_was_confirmed_before_it_was_known_what_it_gets_does_not_get_what_another_parent_bars() -> None:
    found = with_found(Passages(), [asks("a", "d1", "i2")], {}, 5.0)
    kept = replace(found, unsure=frozenset(map(web, "bce")))
    assert decode_passages(encode_passages(kept)) == kept
    assert kept.renamed(ClusterName("b"), ClusterName("f")).unsure == set(map(web, "fce"))
    known = with_known(kept, {web("b"): made("d1"), web("c"): made("d9", "i2"), web("e"): PROBLEM})
    assert barred_by(known.quarantine, web("b"), ("d1",)) is not None
    assert all(barred_by(known.quarantine, web("c"), (name,)) is not None for name in ("d9", "i2"))
    assert known.unsure == {web("e")}, "nor is that known yet"


def test_twin_what_no_parent_bars_or_is_known_already_comes_to_a_unit_as_ever() -> None:
    found = with_found(Passages(), [asks("a", "d1", "i2")], {}, 5.0)
    kept = replace(found, unsure=frozenset({web("b")}))
    known = with_known(kept, {web("b"): made("d3", "i3"), web("c"): made("d1")})
    assert (known.quarantine, known.unsure) == (found.quarantine, frozenset())
    assert with_known(known, {web("b"): made("d1")}) is known, "one cluster has no say over the others from then on"


def test_where_the_hub_knows_no_more_what_was_done_a_result_that_another_parent_bars_is_barred_too() -> None:
    results = {web("a"): made("d1", "i1"), web("b"): made("d1", "i1"), web("c"): made("d2")}
    lost = with_found(Passages(), [asks("a", "i1", "d7"), asks("b"), asks("c")], results, 5.0)
    assert with_found(lost, [asks("a", "i1", "d7"), asks("b"), asks("c")], results, 9.0) == lost
    assert all(barred_by(lost.quarantine, web("b"), (name,)) is not None for name in ("d1", "i1"))
    assert barred_by(lost.quarantine, web("b"), ("d7",)) is None, "no commit brings that there"
    assert barred_by(lost.quarantine, web("c"), ("d1", "d2")) is None
    later = with_found(lost, [report("a"), report("b")], results, 9.0)
    assert later == lost, "and it stays barred once a person confirmed what is there"
    late = with_found(with_found(Passages(), [asks("a", "d1")], results, 5.0), [asks("b")], results, 9.0)
    assert barred_by(late.quarantine, web("b"), ("d1",)) is not None, "of a cluster that comes back later"


def test_what_such_a_cluster_would_bar_again_at_the_next_look_is_not_let_in_before() -> None:
    results = {web(name): made("d1") for name in ("a", "b")}
    both = [asks("a", "d1"), asks("b")]
    kept = with_found(Passages(), both, results, 5.0).quarantine
    assert barred_again(kept, {}, both) == "a"
    assert barred_again(kept, {}, [report("a"), asks("b")]) == "", "nobody says it any more"
    assert barred_again(kept, {}, [asks("a", "d1"), report("b")]) == "", "it is let in on b"


def test_neither_name_of_a_result_that_one_parent_bars_bars_the_other_on_another_cluster() -> None:
    results = {web("a"): made("d1", "i1"), web("b"): made("d1", "i1")}
    kept = with_found(Passages(), [report("a", "i1")], results, 5.0)
    assert barred_by(kept.quarantine, web("a"), ("d1",)) is not None
    assert barred_by(kept.quarantine, web("b"), ("d1", "i1")) is None
    moved = with_other_inputs(kept, results, {web("a"): made("d1", "i2"), web("b"): made("d1", "i2")})
    assert barred_by(moved.quarantine, web("a"), ("i2",)) is not None
    assert barred_by(moved.quarantine, web("b"), ("d1", "i2")) is None
    own = with_found(known_of_web(), [report("a", "i1")], results, 5.0)
    assert barred_by(own.quarantine, web("b"), ("i1",)) is not None, "another name of what the hub took back"


def test_of_units_that_nobody_has_a_result_of_so_much_is_kept_of_each_cluster() -> None:
    names = [OverlayName(f"made-up-{number}") for number in range(MOST_FOUND)]
    said = [replace(report("a", "d1", "d2"), unit=UnitName(name, ClusterName("a"))) for name in names]
    kept = Passages()
    for _ in range(2):
        kept = with_found(kept, [*said, report("a", "d3"), report("b", "d4")], {web("a"): made("d9")}, 5.0)
    assert sum(map(len, kept.quarantine.values())) == MOST_FOUND + 2
    assert set(kept.quarantine[WEB]) == {"d3", "d4"}, "neither its own units nor another cluster's count there"


def test_of_a_unit_that_says_others_at_each_reading_the_last_hundred_are_kept() -> None:
    results = {web(name): made("d9", "i9") for name in ("a", "b", "h")}
    kept = with_found(known_of_web(), [report("a", "d2"), report("h", "i9"), report("b", "x3-5")], results, 5.0)
    for reading in range(5):
        said = [report("h", *(f"x{reading}-{number}" for number in range(MOST_SAID)))]
        kept = with_found(kept, said, results, 5.0)
        assert with_found(kept, said, results, 9.0) == kept
        mine = {name for name, entry in kept.quarantine[WEB].items() if "h" in entry.clusters}
        assert mine == {*said[0].quarantined, "d9", "i9"}, "and the newest result there stays barred"
    assert set(kept.quarantine[WEB]) == {*mine, "d1", "d2", "x3-5"}, (
        "what others say stands, and what the hub took back"
    )
    assert kept.quarantine[WEB]["x3-5"].clusters == {"b"}


def test_an_honest_parent_that_says_a_few_at_each_reading_keeps_those_from_before() -> None:
    """The twin."""
    kept = Passages()
    for reading in range(MOST_SAID // TOLD):
        said = tuple(f"x{reading}-{number}" for number in range(TOLD))
        kept = with_found(kept, [report(name, *said) for name in ("a", "b")], {}, 5.0)
    assert all(entry.clusters == {"a", "b"} for entry in kept.quarantine[WEB].values())
    assert len(kept.quarantine[WEB]) == MOST_SAID


def test_what_parents_say_takes_no_place_of_what_the_hub_took_back() -> None:
    own = Quarantined(Revision("c1"), STOP, frozenset({ClusterName("a")}))
    found = replace(own, found=True)
    many = {"d1": own, **{f"x{number}": found for number in range(KEPT + 5)}, "d2": own}
    left = newest_of(many)
    assert (len(left), list(left)[:2], list(left)[-1]) == (KEPT, ["d1", "x7"], "d2")
    taken_back = {f"d{number}": own for number in range(KEPT + 5)}
    assert list(newest_of(taken_back)) == list(taken_back)[5:], "the twin: its own newest"
    assert newest_of({"d1": own, "x1": found}) == {"d1": own, "x1": found}
    going = Passage(Revision("c7"), 1.0, {WEB: Row({ClusterName("a"): "d3"})})
    kept = aborted(Passages((going,), {WEB: many}), going, STOP)
    assert len(kept.quarantine[WEB]) == KEPT
    assert all(barred_by(kept.quarantine, web("b"), (name,)) is not None for name in ("d1", "d2", "d3"))


def test_a_form_from_before_clusters_were_kept_is_read() -> None:
    text = encode_passages(Passages(quarantine={WEB: {"d1": Quarantined(Revision("c1"), STOP)}}))
    old = text.replace(",[]]", "]")
    assert old != text
    assert decode_passages(old).quarantine[WEB]["d1"].clusters == frozenset()


def made(bundle: str, inputs: str = "") -> Rendered:
    return Rendered(Digest(bundle), Revision("c7"), Digest(inputs))


def web(cluster: str) -> UnitName:
    return UnitName(WEB, ClusterName(cluster))


def test_a_result_that_cannot_be_known_by_its_digest_is_known_by_what_it_is_made_from() -> None:
    said = [report("a", "sealed by the key before", "i1")]
    kept = with_found(Passages(), said, {web("a"): made("d2", "i1")}, 5.0)
    entry = kept.quarantine[WEB]["d2"]
    assert (entry.commit, entry.clusters) == ("c7", {"a"})
    later = with_found(Passages(), said, {}, 5.0)
    later = with_found(later, [], {web("a"): made("d2", "i1")}, 9.0)  # it comes once the recovery was confirmed
    assert later.quarantine[WEB]["d2"].clusters == {"a"}
    for other in (made("d2"), made("d2", "i2")):
        assert "d2" not in with_found(Passages(), said, {web("a"): other}, 5.0).quarantine[WEB]


def test_what_is_taken_back_is_told_by_both_names_where_it_was_to_go_and_let_in_by_both() -> None:
    known = {"d1": Quarantined(Revision("c1"), STOP, frozenset({ClusterName("a")}))}
    results = {web("a"): made("d1", "i1"), web("b"): made("d1", "i9")}
    kept = with_found(Passages(quarantine={WEB: known}), [], results, 5.0)
    assert told_of(kept.quarantine) == {web("a"): ("d1", "i1")}
    assert not readmitted(kept, Revision("c1")).quarantine
    without = {web("a"): made("d1"), web("b"): made("d9", "i9")}
    assert with_found(Passages(quarantine={WEB: known}), [], without, 5.0).quarantine == {WEB: known}


def known_of_web() -> Passages:
    return Passages(quarantine={WEB: {"d1": Quarantined(Revision("c1"), STOP, frozenset({ClusterName("a")}))}})


def test_a_result_is_barred_on_all_clusters_of_its_overlay_by_any_of_its_names_and_nowhere_else() -> None:
    kept, shop = known_of_web(), UnitName(OverlayName("shop"), ClusterName("a"))
    assert barred_by(kept.quarantine, web("b"), ("d1",)) is barred_by(kept.quarantine, web("a"), ("d9", "d1"))
    assert barred_by(kept.quarantine, web("a"), ("d1",)) is not None
    assert barred_by(kept.quarantine, web("a"), ("d2",)) is None
    assert barred_by(kept.quarantine, shop, ("d1",)) is None
    assert with_found(kept, [], {shop: made("d1")}, 5.0) is kept


names = st.sampled_from(["a", "b"]).map(web)
few = st.sampled_from([("d1", ""), ("d1", "i1"), ("d1", "i2"), ("d2", "i3")])  # the same input makes the same


@given(
    st.dictionaries(st.sampled_from(["d1", "d2", "i1", "i2", "i3"]), clusters, max_size=5),
    st.dictionaries(names, few.map(lambda both: made(*both)), max_size=2),
)
def test_both_names_are_barred_or_none_by_one_commit_and_a_second_look_adds_nothing(
    barred: dict[str, frozenset[ClusterName]], results: dict[UnitName, Rendered]
) -> None:
    entries = {name: Quarantined(Revision(f"c-{name}"), STOP, who) for name, who in barred.items()}
    kept = Passages(quarantine={WEB: entries} if entries else {})
    once = with_found(kept, [], results, 5.0)
    assert with_found(once, [], results, 9.0) == once
    after = once.quarantine.get(WEB, {})
    for name, entry in entries.items():
        assert entry.clusters <= after[name].clusters
    for unit, result in results.items():
        if result.inputs and result.inputs in entries:
            assert unit.cluster in after[result.bundle].clusters
        if result.inputs and unit.cluster in getattr(after.get(result.bundle), "clusters", ()):
            assert after[result.inputs].commit == after[result.bundle].commit
    if not any(result.inputs for result in results.values()):
        assert once is kept


@given(clusters, st.sampled_from(["a", "b", "c"]).map(ClusterName), st.sampled_from(["i1", "i2"]))
def test_a_result_that_is_made_from_other_files_by_now_is_barred_by_those_for_its_cluster_alone(
    who: frozenset[ClusterName], cluster: ClusterName, now: str
) -> None:
    unit = UnitName(WEB, cluster)
    names = ("d1", "i1")
    kept = Passages(quarantine={WEB: {name: Quarantined(Revision("c1"), STOP, who) for name in names}})
    was = Rendered(Digest("d1"), Revision("c1"), Digest("i1"))
    found = with_other_inputs(kept, {unit: was}, {unit: Rendered(Digest("d1"), Revision("c1"), Digest(now))})
    before, after = told_of(kept.quarantine), told_of(found.quarantine)
    moved = {digest if digest != "i1" else now for digest in before.get(unit, ())}
    assert set(after.get(unit, ())) == moved
    assert {name: told for name, told in after.items() if name != unit} == {
        name: told for name, told in before.items() if name != unit
    }
    assert {entry.commit for entry in found.quarantine[WEB].values()} == {"c1"}, "a person lets all of it in, or none"
