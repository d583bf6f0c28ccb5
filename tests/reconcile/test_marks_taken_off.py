"""What becomes of an object whose marks somebody took off: never deleted, and no dead end for its unit."""

from __future__ import annotations

import pytest
from rig import config_map
from simulated import SHOP, SimHub

from fleet.core.ids import ObjectRef, UnitName
from fleet.core.record import PART_OF_LABEL
from fleet.core.status import EventKind

KEPT = [config_map(f"kept{n}", SHOP) for n in range(4)]
NEXT = config_map("next", SHOP)
DROPPED = ObjectRef("", "ConfigMap", SHOP, "dropped")


def unmark(hub: SimHub, name: str, **metadata: dict[str, None]) -> None:
    hub.cluster.drift("", "ConfigMap", SHOP, name, {"metadata": metadata})


def uid(hub: SimHub, name: str) -> str:
    live = hub.cluster.get("", "ConfigMap", SHOP, name)
    return live["metadata"]["uid"] if live else ""  # type: ignore[index, call-overload, return-value]


async def dropped(hub: SimHub) -> UnitName:
    """A unit that keeps some objects, and dropped one whose deletion is not permitted yet. Its worker runs."""
    unit = hub.want("web", [*KEPT, config_map("dropped", SHOP), NEXT])
    await hub.until_well(unit)
    hub.want("web", [*KEPT, NEXT], commit="b", permits=())
    await hub.until(lambda: hub.units[unit].holds, "asked for")
    return unit


async def test_what_lost_a_label_and_was_dropped_is_let_go_with_a_line_and_its_unit_goes_on(first: SimHub) -> None:
    async with first.worker():
        unit = await dropped(first)
        was = uid(first, "dropped")
        unmark(first, "dropped", labels={PART_OF_LABEL: None})
        await first.until_well(unit)
        assert not first.units[unit].holds
        first.want("web", KEPT, commit="d")
        await first.until_well(unit)
        await first.until(lambda: first.told(EventKind.PRUNED, "next"), "the next one goes")
        told = [event for event in first.told(EventKind.DRIFTED, "without a label of ours") if event.unit == unit]
        assert [event.ref for event in told] == [DROPPED]
        assert uid(first, "dropped") == was
        assert {entry.object for entry in first.audited if entry.action == "delete"} == {f"/ConfigMap/{SHOP}/next"}


async def test_what_was_dropped_with_all_its_marks_is_kept_in_mind_and_goes_once_it_may(first: SimHub) -> None:
    async with first.worker():
        unit = await dropped(first)
        assert first.object(unit, "ConfigMap", "dropped")
        first.want("web", KEPT, commit="d")
        await first.until_well(unit)
        assert (uid(first, "dropped"), uid(first, "next")) == ("", "")
        assert not first.told(EventKind.DRIFTED)


@pytest.mark.parametrize("labels", [{}, {PART_OF_LABEL: None}], ids=["marked", "unlabelled"])
async def test_what_lost_a_label_moves_to_another_overlay_with_its_uid(first: SimHub, labels: dict[str, None]) -> None:
    async with first.worker():
        web = await dropped(first)
        was = uid(first, "dropped")
        unmark(first, "dropped", labels=labels)
        api = first.want("api", [config_map("dropped", SHOP, {"a": "2"})])
        await first.until_well(api, web)
        live = first.cluster.get("", "ConfigMap", SHOP, "dropped")
        assert live
        assert (uid(first, "dropped"), live["data"]) == (was, {"a": "2"})
