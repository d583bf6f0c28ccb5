"""What becomes of an object whose marks somebody took off: never deleted, and no dead end for its unit."""

from __future__ import annotations

import pytest
from rig import config_map
from simulated import SHOP, SimHub

from fleet.core.ids import ObjectRef, UnitName
from fleet.core.objects import OWNER_ANNOTATION
from fleet.core.record import PART_OF_LABEL
from fleet.core.status import EventKind, Health
from fleet.core.sync_policy import SyncPolicy, Validate, Window, WindowKind

NO_HEAL = SyncPolicy(validate=Validate.SCHEMA, self_heal=False)
CLOSED = SyncPolicy(validate=Validate.SCHEMA, windows=(Window(WindowKind.DENY, "* * * * *", 3600),))
KEPT = [config_map(f"kept{n}", SHOP) for n in range(4)]
NEXT = config_map("next", SHOP)
DROPPED = ObjectRef("", "ConfigMap", SHOP, "dropped")


def unmark(hub: SimHub, name: str, **metadata: dict[str, None]) -> None:
    hub.cluster.drift("", "ConfigMap", SHOP, name, {"metadata": metadata})


def uid(hub: SimHub, name: str) -> str:
    live = hub.cluster.get("", "ConfigMap", SHOP, name)
    return live["metadata"]["uid"] if live else ""  # type: ignore[index, call-overload, return-value]


def data_of(hub: SimHub, name: str) -> str:
    live = hub.cluster.get("", "ConfigMap", SHOP, name)
    return live["data"]["a"] if live else ""  # type: ignore[index, call-overload, return-value]


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


async def released(hub: SimHub, sync: SyncPolicy | None = None) -> UnitName:
    """A unit of two objects, one of which a person released. Its worker runs."""
    unit = hub.want("web", [config_map("a", SHOP), config_map("b", SHOP)], sync=sync)
    await hub.until_well(unit)
    unmark(hub, "a", annotations={OWNER_ANNOTATION: None})
    await hub.until(lambda: hub.object(unit, "ConfigMap", "a").reason == "Released", "released")
    return unit


async def test_what_was_released_and_then_deleted_is_made_anew(first: SimHub) -> None:
    async with first.worker():
        unit = await released(first)
        was = uid(first, "a")
        first.cluster.remove("", "ConfigMap", SHOP, "a")
        await first.until_well(unit)
        assert uid(first, "a") not in ("", was)


async def test_what_was_released_and_deleted_while_no_hub_ran_is_made_anew(first: SimHub) -> None:
    async with first.worker():
        unit = await released(first)
    first.cluster.remove("", "ConfigMap", SHOP, "a")
    first.units.clear()
    async with first.worker():
        await first.until_well(unit)
    assert uid(first, "a")


async def test_what_was_released_is_left_alone_while_it_is_there_whatever_git_says(first: SimHub) -> None:
    async with first.worker():
        unit = await released(first)
        was = uid(first, "a")
        first.want("web", [config_map("a", SHOP, {"a": "2"}), config_map("b", SHOP, {"a": "2"})], commit="b")
        await first.until(lambda: first.units[unit].observed_commit == "b" * 40, "passed over")
        await first.until(lambda: data_of(first, "b") == "2", "the rest goes on")
        assert first.object(unit, "ConfigMap", "a").reason == "Released"
        assert (uid(first, "a"), data_of(first, "a")) == (was, "1")


async def test_what_was_released_and_deleted_is_healed_no_further_than_anything_else(first: SimHub) -> None:
    async with first.worker():
        unit = await released(first, NO_HEAL)
        first.cluster.remove("", "ConfigMap", SHOP, "a")
        await first.until(
            lambda: ((a := first.object(unit, "ConfigMap", "a")).health, a.reason) == (Health.MISSING, ""), "missing"
        )
        assert not uid(first, "a")
        changed = [config_map("a", SHOP, {"a": "2"}), config_map("b", SHOP)]
        first.want("web", changed, commit="b", sync=CLOSED)
        await first.until(lambda: first.units[unit].blocked_by, "waits")
        assert not uid(first, "a"), "what a commit changed since is new"
        first.want("web", changed, commit="b", sync=NO_HEAL)
        await first.until_well(unit)
        assert data_of(first, "a") == "2"


async def test_a_job_that_was_released_and_then_deleted_is_not_run_again_and_the_unit_says_so(first: SimHub) -> None:
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "app:1"}]}
    metadata = {"name": "seed", "namespace": SHOP}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": {"spec": pod}}}
    unit = first.want("web", [job, config_map("b", SHOP)])
    async with first.worker():
        await first.until(lambda: first.object(unit, "Job", "seed"), "made")
        await first.until(lambda: first.units[unit].commit == "a" * 40, "applied")
        first.cluster.drift("batch", "Job", SHOP, "seed", {"metadata": {"annotations": {OWNER_ANNOTATION: None}}})
        await first.until(lambda: first.object(unit, "Job", "seed").reason == "Released", "released")
        first.cluster.remove("batch", "Job", SHOP, "seed")
        await first.until(lambda: "it is not run again" in "".join(first.units[unit].warnings), "warned")
        await first.until_well(unit)
        assert first.cluster.get("batch", "Job", SHOP, "seed") is None
