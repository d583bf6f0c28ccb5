"""What an overlay that is gone left with its mark, and who may have it then (R4, R16): on a simulated cluster."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from rig import config_map, notes
from simulated import SHOP, SimHub
from two_hubs import WAITS_SECONDS, put_parent, writes_since

from fleet.core.ids import UnitName
from fleet.core.objects import OWNER_ANNOTATION
from fleet.core.rollout import Detach, UnknownDesired
from fleet.core.sync_policy import Adopt, SyncPolicy, Validate

ALWAYS = SyncPolicy(validate=Validate.SCHEMA, adopt=Adopt.ALWAYS)
NO_DIFF = SyncPolicy(validate=Validate.SCHEMA, adopt=Adopt.IF_NO_DIFF)
NOTE = {"fleet.internal/reconcile": "ifAbsent"}


def x_of(value: str, **more: Any) -> dict[str, Any]:
    return config_map("x", SHOP, {"a": value}, **more)


def if_absent(value: str) -> dict[str, Any]:
    return x_of(value, annotations=dict(NOTE))


def live(hub: SimHub, name: str = "x") -> Any:
    return hub.cluster.get("", "ConfigMap", SHOP, name)


def owner(hub: SimHub, name: str = "x") -> str:
    return live(hub, name)["metadata"].get("annotations", {}).get(OWNER_ANNOTATION, "").rpartition("/")[2]


def reason(hub: SimHub, unit: UnitName) -> str:
    return hub.units[unit].reason if unit in hub.units else ""


async def handed(hub: SimHub) -> tuple[UnitName, UnitName]:
    """`old` dropped x, which `new` makes only where it is absent. To be called while a worker runs."""
    old = hub.want("old", [config_map("k", SHOP), x_of("1")])
    await hub.until_well(old)
    hub.want("old", [config_map("k", SHOP)], commit="b", send=False)
    new = hub.want("new", [config_map("n", SHOP), if_absent("2")], commit="b")
    await hub.until_well(old, new)
    await hub.until(lambda: not hub.object(old, "ConfigMap", "x"), "let go")
    return old, new


async def left(hub: SimHub) -> UnitName:
    """The same, and `old` is gone since."""
    old, new = await handed(hub)
    hub.want("old", action=Detach(), commit="c")
    await hub.until(lambda: old not in hub.units, "gone")
    hub.unmention(old)
    assert owner(hub) == "old"
    return new


def wants(hub: SimHub, sync: SyncPolicy | None = None, value: str = "2", commit: str = "d") -> UnitName:
    return hub.want("new", [config_map("n", SHOP), x_of(value)], commit=commit, sync=sync)


async def test_what_an_overlay_that_is_gone_left_is_taken_over_as_adoption_says(first: SimHub) -> None:
    async with first.worker():
        new = await left(first)
        before = live(first)
        wants(first)
        await first.until(lambda: reason(first, new) == "ObjectForeign", "nobody's, and no adoption is asked for")
        said = first.units[new]
        assert "overlay old, which is gone" in said.message
        assert "sync.adopt" in said.next_step
        wants(first, NO_DIFF, commit="e")
        await first.until(lambda: first.units[new].observed_commit == "e" * 40 and reason(first, new), "differs")
        assert reason(first, new) == "ObjectForeign"
        assert live(first) == before
        wants(first, ALWAYS, commit="f")
        await first.until_well(new)
        assert (owner(first), live(first)["data"]) == ("new", {"a": "2"})
        assert live(first)["metadata"]["uid"] == before["metadata"]["uid"]
        said = {entry.reason for entry in first.audited if entry.action == "adopt"}
        assert said == {"sync.adopt: it moves from overlay old, which is gone"}
        wants(first, ALWAYS, value="3", commit="0")
        await first.until_well(new)
        assert live(first)["data"] == {"a": "3"}


async def test_what_is_as_it_was_left_is_taken_over_where_nothing_would_change(first: SimHub) -> None:
    async with first.worker():
        new = await left(first)
        wants(first, NO_DIFF, value="1")
        await first.until_well(new)
    assert (owner(first), live(first)["data"]) == ("new", {"a": "1"})


async def test_after_a_restart_it_is_still_known_that_the_overlay_is_gone(first: SimHub) -> None:
    async with first.worker():
        new = await left(first)
    wants(first, ALWAYS)
    async with first.worker():
        await first.until_well(new)
    assert owner(first) == "new"


async def test_a_parent_of_that_overlay_keeps_what_bears_its_mark(first: SimHub) -> None:
    """Another hub of the same name has it: also where it came since the parents were listed."""
    async with first.worker():
        new = await left(first)
        before = live(first)
        put_parent(first, "acme", "old")
        mark = first.cluster.ledger.sequence
        wants(first, ALWAYS)
        await first.until(lambda: reason(first, new) == "OwnedByOther", "disputed")
        assert "belongs to overlay old" in first.units[new].message
        await asyncio.sleep(WAITS_SECONDS)
    assert live(first) == before
    assert not [line for line in writes_since(first, mark) if line.endswith(" x")]


async def test_a_unit_of_which_nothing_is_said_keeps_what_bears_its_mark(first: SimHub) -> None:
    async with first.worker():
        old, new = await handed(first)
        before = live(first)
        first.unmention(old)
        wants(first, ALWAYS)
        await first.until(lambda: reason(first, new) == "OwnedByOther", "disputed")
        await asyncio.sleep(WAITS_SECONDS)
    assert live(first) == before


@pytest.mark.parametrize("is_said", [True, False], ids=["unknown", "not said"])
async def test_what_a_unit_gave_up_moves_as_soon_as_it_is_known_what_it_wants(first: SimHub, is_said: bool) -> None:
    """As after a restart of the hub, where what the other one wants is not built yet."""
    async with first.worker():
        old, new = await handed(first)
        if is_said:
            first.want("old", action=UnknownDesired("PathMissing", "overlays/old is not there"), commit="d")
        else:
            first.unmention(old)
        wants(first)
        await first.until(lambda: reason(first, new) == "OwnedByOther", "disputed")
        first.want("old", [config_map("k", SHOP)], commit="d")
        await first.until_well(old, new, seconds=10)
    assert (owner(first), live(first)["data"]) == ("new", {"a": "2"})


@pytest.mark.parametrize("mark", ["Not/An/overlay", "acme/{identity}/no overlay", "acme/other-identity/old"])
async def test_a_mark_that_no_overlay_writes_is_not_taken_over(first: SimHub, mark: str) -> None:
    async with first.worker():
        new = await left(first)
        found = live(first)
        owner_text = mark.format(identity=first.cluster.identity)
        first.cluster.drift("", "ConfigMap", SHOP, "x", {"metadata": {"annotations": {OWNER_ANNOTATION: owner_text}}})
        wants(first, ALWAYS)
        await first.until(lambda: reason(first, new) == "OwnedByOther", "disputed")
        await asyncio.sleep(WAITS_SECONDS)
    assert live(first)["data"] == found["data"]


async def test_the_commit_that_dropped_it_can_be_reverted(first: SimHub) -> None:
    async with first.worker():
        old, new = await handed(first)
        first.want("old", [config_map("k", SHOP), x_of("1")], commit="d", send=False)
        first.want("new", [config_map("n", SHOP)], commit="d")
        await first.until_well(old, new)
        assert owner(first) == "old"


async def test_the_overlay_that_comes_back_gets_it_as_any_move(first: SimHub) -> None:
    async with first.worker():
        new = await left(first)
        wants(first, ALWAYS)
        await first.until_well(new)
        uid = live(first)["metadata"]["uid"]
        old = first.want("old", [config_map("k", SHOP), x_of("1")], commit="e", sync=ALWAYS, send=False)
        first.want("new", [config_map("n", SHOP)], commit="e")
        await first.until_well(old, new)
        assert (owner(first), live(first)["metadata"]["uid"]) == ("old", uid)


def hook(value: str) -> dict[str, Any]:
    return x_of(value, **notes(hook="PreSync", hook_delete="BeforeHookCreation"))


async def left_by_a_hook(hub: SimHub) -> None:
    """`old` ran the hook x, and is gone since. To be called while a worker runs."""
    old = hub.want("old", [config_map("k", SHOP), hook("1")])
    await hub.until_well(old)
    hub.want("old", action=Detach(), commit="b")
    await hub.until(lambda: old not in hub.units, "gone")
    hub.unmention(old)
    assert owner(hub) == "old"


async def test_what_a_hook_left_is_run_anew_by_the_overlay_that_has_it_now(first: SimHub) -> None:
    async with first.worker():
        await left_by_a_hook(first)
        before = live(first)["metadata"]["uid"]
        await first.until_well(first.want("new", [config_map("n", SHOP), hook("2")], commit="c"))
    assert (owner(first), live(first)["data"]) == ("new", {"a": "2"})
    assert live(first)["metadata"]["uid"] != before


async def test_a_parent_of_that_overlay_keeps_what_its_hook_left(first: SimHub) -> None:
    """Another hub of the same name has it: its hook may run just now."""
    async with first.worker():
        await left_by_a_hook(first)
        before = live(first)
        put_parent(first, "acme", "old")
        new = first.want("new", [config_map("n", SHOP), hook("2")], commit="c")
        await first.until(lambda: reason(first, new) == "OwnedByOther", "refused")
        assert "belongs to overlay old" in first.units[new].message
        await asyncio.sleep(WAITS_SECONDS)
    assert live(first) == before


async def test_an_object_under_the_name_that_a_hook_of_a_gone_overlay_left_is_adopted(first: SimHub) -> None:
    async with first.worker():
        await left_by_a_hook(first)
        uid = live(first)["metadata"]["uid"]
        new = wants(first)
        await first.until(lambda: reason(first, new) == "ObjectForeign", "nobody's, and no adoption is asked for")
        wants(first, ALWAYS, commit="e")
        await first.until_well(new)
    assert (owner(first), live(first)["data"], live(first)["metadata"]["uid"]) == ("new", {"a": "2"}, uid)


async def test_what_a_gone_overlay_left_that_is_no_hooks_is_not_run_over(first: SimHub) -> None:
    async with first.worker():
        await left(first)
        before = live(first)
        new = first.want("new", [config_map("n", SHOP), hook("2")], commit="d", sync=ALWAYS)
        await first.until(lambda: reason(first, new) == "ObjectForeign", "refused")
        assert first.units[new].next_step == "give the hook a name of its own"
    assert live(first) == before
