"""What was taken back, on its way to the clusters and back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleet.core.ids import ClusterName, Digest, OverlayName, Revision, UnitName
from fleet.core.passage import Passages, Quarantined, Stop, decode_passages, encode_passages
from fleet.core.quarantine import TOLD, barred_again, told_of, with_found
from fleet.core.results import Rendered
from fleet.core.status import Health, Sync, UnitReport

WEB = OverlayName("web")
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
    before = {WEB: {"d1": Quarantined(Revision("c1"), STOP), "d2": Quarantined(Revision("c2"), STOP)}}
    after = {WEB: {"d2": Quarantined(Revision("c2"), STOP)}}
    assert barred_again(before, after, [report("a", "d2"), report("b", "d1")]) == "b"
    assert barred_again(before, after, [report("a", "d2"), report("b")]) == ""
    assert barred_again(before, before, [report("b", "d1")]) == ""


def test_a_form_from_before_clusters_were_kept_is_read() -> None:
    text = encode_passages(Passages(quarantine={WEB: {"d1": Quarantined(Revision("c1"), STOP)}}))
    old = text.replace(",[]]", "]")
    assert old != text
    assert decode_passages(old).quarantine[WEB]["d1"].clusters == frozenset()
