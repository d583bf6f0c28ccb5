"""Clusters are told what is new for them, all in one turn, with numbers that rise and cost one write."""

from __future__ import annotations

from hypothesis import given
from hypothesis.strategies import integers, lists, sampled_from, tuples

from fleet.controllers.publishing import SEQUENCE_BLOCK, Parts, Publisher
from fleet.core.fleet import Connection, Mode
from fleet.core.ids import ClusterName, OverlayName, Revision, UnitName
from fleet.core.rollout import Desired, Detach, UnitDesired, UnitPolicy
from fleet.store.memory import MemoryState

C1, C2 = Revision("1" * 40), Revision("2" * 40)


def part(name: UnitName, commit: Revision = C1) -> UnitDesired:
    return UnitDesired(name, commit, Detach(), UnitPolicy())


def unit(cluster: str, overlay: str = "web") -> UnitName:
    return UnitName(OverlayName(overlay), ClusterName(cluster))


def desired_of(cluster: ClusterName, parts: Parts, sequence: int) -> Desired | None:
    if cluster == "gone":
        return None
    return Desired(sequence, cluster, C1, "acme", Mode.MANAGE, Connection(), None, tuple(parts.values()))


async def test_a_commit_for_many_clusters_is_one_write_and_one_turn() -> None:
    state, count = MemoryState(), SEQUENCE_BLOCK * 2 + 3
    publisher, before = Publisher(state), await state.next_sequence()
    for number in range(count):
        publisher.put(unit(f"c{number}"), part(unit(f"c{number}")))
    await publisher.reserve()
    publisher.publish(desired_of)  # no await: nothing else ran meanwhile
    sequences = [publisher.slot(ClusterName(f"c{number}")).desired.sequence for number in range(count)]  # type: ignore[union-attr]
    assert len(set(sequences)) == count
    assert await state.next_sequence() == before + 1 + count
    assert publisher.dirty == set()


async def test_only_what_differs_is_told_and_what_is_gone_is_passed_over() -> None:
    publisher = Publisher(MemoryState())
    for name in (unit("eu-1"), unit("eu-2"), unit("gone")):
        publisher.put(name, part(name))
    await publisher.reserve()
    publisher.publish(desired_of)
    first = publisher.slot(ClusterName("eu-1")).desired
    assert publisher.slot(ClusterName("gone")).desired is None
    for name in (unit("eu-1"), unit("eu-2")):
        publisher.put(name, part(name))
        publisher.put(name, None)
    publisher.put(unit("eu-2"), part(unit("eu-2"), C2))
    assert publisher.dirty == {"eu-2"}
    publisher.drop(unit("eu-1", "none"))
    await publisher.reserve()
    publisher.publish(desired_of)
    assert publisher.slot(ClusterName("eu-1")).desired is first
    assert publisher.slot(ClusterName("eu-2")).desired.units[0].commit == C2  # type: ignore[union-attr]
    publisher.drop(unit("eu-2"))
    assert publisher.dirty == {"eu-2"}
    assert publisher.told() == {unit("eu-1"), unit("gone")}


@given(lists(lists(tuples(sampled_from(["a", "b", "c"]), integers(0, 3)), max_size=6), max_size=8))
async def test_sequences_rise_at_each_cluster(rounds: list[list[tuple[str, int]]]) -> None:
    publisher, seen = Publisher(MemoryState()), dict[str, int]()
    for changes in rounds:
        for cluster, number in changes:
            publisher.put(unit(cluster), part(unit(cluster), Revision(f"{number}" * 40)))
        dirty = set(publisher.dirty)
        await publisher.reserve()
        publisher.publish(desired_of)
        for cluster in dirty:
            desired = publisher.slot(ClusterName(cluster)).desired
            assert desired is not None
            assert desired.sequence > seen.get(cluster, -1)
            seen[cluster] = desired.sequence
