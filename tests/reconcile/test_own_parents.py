"""Our own parents, where somebody took them away or changed their marks: named, written again, in nobody's way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rig import config_map
from simulated import SHOP, SimHub
from two_hubs import SOON, WAITS_SECONDS, finding, owner_of, parent_on, refused, seen_there, settled, writes_since

from fleet.core.fleet import Mode
from fleet.core.ids import Digest, UnitName
from fleet.core.neighbours import judge_parent
from fleet.core.objects import INSTALLATION_LABEL, OWNER_ANNOTATION
from fleet.core.parent import parse_parent
from fleet.core.record import PARENT_NAMESPACE
from fleet.core.rollout import Detach, Hold, UnknownDesired
from fleet.core.sync_policy import (
    Suspension,
    SyncMode,
    SyncPolicy,
    Validate,
    Window,
    WindowKind,
)
from fleet.reconcile.limits import WorkerLimits


def change_owner(hub: SimHub, overlay: str, owner: str) -> None:
    """As anybody may who can edit ConfigMaps in fleet-system."""
    change = {"metadata": {"annotations": {OWNER_ANNOTATION: owner}}}
    hub.cluster.drift("", "ConfigMap", PARENT_NAMESPACE, f"unit-{overlay}", change)


@pytest.mark.parametrize("owner", ["rival/5f0c/web", "nonsense"])
async def test_a_hub_goes_on_where_the_owner_of_its_oldest_parent_was_changed_and_mends_it(
    first: SimHub, owner: str
) -> None:
    await settled(first, "web")
    await asyncio.sleep(1.1)  # the server's times are of whole seconds
    await settled(first, "api", "b")
    change_owner(first, "web", owner)
    web = first.want("web", [config_map("a", SHOP, {"a": "2"})], commit="b")
    api = first.want("api", [config_map("b", SHOP, {"a": "2"})], commit="b")
    async with first.worker():
        await first.until_well(web, api)
        await first.until(lambda: owner_of(parent_on(first)) == "acme", "mended")
        assert not finding(first)


@pytest.mark.parametrize("changed", ["gone", "owner", "label"])
async def test_a_parent_that_somebody_took_away_or_damaged_is_written_again(first: SimHub, changed: str) -> None:
    """Our own next steps order such deletions; without a parent a hub that loses its data finds no record."""
    unit = await settled(first)
    async with first.worker():
        await first.until_well(unit)
        if changed == "gone":
            first.cluster.remove("", "ConfigMap", PARENT_NAMESPACE, "unit-web")
        elif changed == "owner":
            change_owner(first, "web", "rival/5f0c/web")
        else:
            change = {"metadata": {"labels": {INSTALLATION_LABEL: None}}}
            first.cluster.drift("", "ConfigMap", PARENT_NAMESPACE, "unit-web", change)
        await first.until(lambda: parent_on(first) and is_whole(first), "written again")
        assert not first.units[unit].warnings


def is_whole(hub: SimHub) -> bool:
    return judge_parent(parent_on(hub), hub.installation, hub.cluster.identity).is_whole


@pytest.mark.parametrize("name", ["record-digest", "bundle-digest", "quarantined"])
@pytest.mark.parametrize("restarted", [True, False])
async def test_what_somebody_changed_in_a_parent_is_put_right(first: SimHub, name: str, restarted: bool) -> None:
    """Or a cluster that was restored from a snapshot has in it: a lost hub would believe it."""
    unit = await settled(first)
    before, change = parse_parent(parent_on(first)), '["77"]' if name == "quarantined" else "77"
    edited = {"metadata": {"annotations": {f"fleet.internal/{name}": change}}}
    if restarted:
        first.cluster.drift("", "ConfigMap", PARENT_NAMESPACE, "unit-web", edited)
    async with first.worker():
        await first.until_well(unit)
        if not restarted:
            first.cluster.drift("", "ConfigMap", PARENT_NAMESPACE, "unit-web", edited)
        await seen_there(lambda: (found := parse_parent(parent_on(first))) and found.same_content(before))
        mark = first.cluster.ledger.sequence
        await asyncio.sleep(WAITS_SECONDS)
    assert writes_since(first, mark) == []


@pytest.mark.parametrize("gone", [True, False])
async def test_after_a_restart_a_parent_that_is_gone_is_written_again_and_one_that_stands_is_not(
    first: SimHub, gone: bool
) -> None:
    unit = await settled(first)
    if gone:
        first.cluster.remove("", "ConfigMap", PARENT_NAMESPACE, "unit-web")
    mark = first.cluster.ledger.sequence
    async with first.worker():
        await first.until_well(unit)
        await asyncio.sleep(WAITS_SECONDS)
    assert writes_since(first, mark) == (["patch configmaps unit-web"] if gone else [])


async def test_a_newcomer_finds_the_parents_of_the_first_hub_though_somebody_deleted_them(
    first: SimHub, second: SimHub
) -> None:
    unit = await settled(first)
    other = second.want("api", [config_map("b", SHOP)])
    async with first.worker():
        await first.until_well(unit)
        first.cluster.remove("", "ConfigMap", PARENT_NAMESPACE, "unit-web")
        await first.until(lambda: parent_on(first), "written again")
        async with second.worker():
            await second.until(lambda: refused(second, other), "refused")
        assert not finding(first)


@pytest.mark.parametrize("looks", [True, False], ids=["by the next look", "by the next change"])
async def test_one_of_ours_that_lost_its_whole_mark_is_named_with_what_to_do(
    first: SimHub, monkeypatch: pytest.MonkeyPatch, looks: bool
) -> None:
    unit = await settled(first)
    marks = {"labels": {INSTALLATION_LABEL: None}, "annotations": {OWNER_ANNOTATION: None}}
    first.cluster.drift("", "ConfigMap", PARENT_NAMESPACE, "unit-web", {"metadata": marks})
    first.limits = SOON if looks else WorkerLimits()
    async with first.worker():
        await first.until(lambda: first.units.get(unit) and first.units[unit].warnings, "said")
        said = first.units[unit].warnings[0]
        assert "kubectl -n fleet-system delete configmap unit-web" in said
        assert first.is_well(unit)
        first.cluster.remove("", "ConfigMap", PARENT_NAMESPACE, "unit-web")
        if not looks:
            first.want("web", [config_map("a", SHOP, {"a": "2"})], commit="b")
        await first.until(lambda: parent_on(first) and is_whole(first), "written again")
        await first.until(lambda: not first.units[unit].warnings, "nothing to say")


async def test_a_stranger_in_its_place_costs_no_commit_of_the_journal(first: SimHub) -> None:
    await settled(first, "api", "b")
    first.cluster.create(config_map("unit-web", PARENT_NAMESPACE))
    unit = first.want("web", [config_map("a", SHOP)])
    async with first.worker():
        await first.until_well(unit)
        await first.until(lambda: first.units[unit].warnings, "said")
        commits: list[Any] = []
        commit = first.journal.commit

        async def counted(entry: Any) -> None:
            commits.append(entry)
            await commit(entry)

        first.journal.commit = counted  # type: ignore[method-assign]
        mark = first.cluster.ledger.sequence
        await asyncio.sleep(WAITS_SECONDS)
    looked = [e for e in first.cluster.ledger.since(mark) if (e.verb, e.name) == ("get", "unit-web")]
    assert looked, "whether it is there still"
    assert commits == []


@pytest.mark.parametrize("looks", [True, False], ids=["by the next look", "by the next change"])
async def test_where_its_namespace_was_deleted_both_are_written_again(first: SimHub, looks: bool) -> None:
    web = await settled(first)
    first.limits = replace(SOON, retry_most_seconds=0.3) if looks else WorkerLimits()
    async with first.worker():
        api = first.want("api", [config_map("b", SHOP)])
        await first.until_well(web, api)
        await first.until(lambda: parent_on(first, "api"), "its parent, by this session")
        first.cluster.remove("", "Namespace", "", PARENT_NAMESPACE)
        if not looks:
            await seen_there(lambda: first.cluster.get("", "Namespace", "", PARENT_NAMESPACE) is None)
            first.want("web", [config_map("a", SHOP, {"a": "2"})], commit="b")
            first.want("api", [config_map("b", SHOP, {"a": "2"})], commit="b")
        await seen_there(lambda: parent_on(first) and parent_on(first, "api"))
        await seen_there(lambda: not (first.units[web].warnings or first.units[api].warnings))


async def test_while_its_namespace_cannot_be_made_again_it_is_said(first: SimHub) -> None:
    web = await settled(first)
    first.limits = replace(SOON, retry_most_seconds=0.2)
    async with first.worker():
        await first.until_well(web)
        first.cluster.remove("", "Namespace", "", PARENT_NAMESPACE)
        fault = first.cluster.faults.add("error", code=403, verbs={"patch", "create"}, resource="namespaces")
        await first.until(lambda: first.units[web].warnings, "said")
        first.cluster.faults.remove(fault)
        await seen_there(lambda: parent_on(first))


# Whatever the unit waits for

CLOSED = Window(WindowKind.DENY, "* * * * *", 120)
WAY = dict[str, Callable[[SimHub], Any]]


def bundle_on(hub: SimHub) -> Digest:
    found = hub.units[UnitName.parse("web@eu-1")].bundle
    assert found is not None
    return found


def never_settles(hub: SimHub) -> None:
    hub.cluster.create(config_map("foreign", SHOP))
    hub.want("web", [config_map("a", SHOP), config_map("foreign", SHOP)], commit="b")


WAITS: WAY = {
    "manual": lambda hub: hub.want(
        "web", [config_map("a", SHOP, {"a": "2"})], sync=SyncPolicy(SyncMode.MANUAL), commit="b"
    ),
    "manual, nothing new": lambda hub: hub.want("web", [config_map("a", SHOP)], sync=SyncPolicy(SyncMode.MANUAL)),
    "closed": lambda hub: hub.want(
        "web", [config_map("a", SHOP, {"a": "2"})], sync=SyncPolicy(windows=(CLOSED,)), commit="b"
    ),
    "held": lambda hub: hub.want("web", action=Hold("a person decides", bundle_on(hub)), commit="b"),
    "unknown": lambda hub: hub.want("web", action=UnknownDesired("RenderFailed", "no", bundle_on(hub)), commit="b"),
    "not known at all": lambda hub: hub.want("web", action=UnknownDesired("RenderFailed", "no"), commit="b"),
    "a dependency": lambda hub: hub.want(
        "web", [config_map("a", SHOP, {"a": "2"})], commit="b", depends_on=(UnitName.parse("db@eu-1"),)
    ),
    "no more objects": lambda hub: hub.want("web", [], commit="b"),
    "never settles": never_settles,
}


@pytest.mark.parametrize(
    ("waits", "change"), [("manual", "damaged"), *((waits, change) for waits in WAITS for change in ("gone", "barred"))]
)
async def test_what_a_lost_hub_is_to_find_is_written_whatever_the_unit_waits_for(
    first: SimHub, waits: str, change: str
) -> None:
    unit = await settled(first)
    before = parse_parent(parent_on(first))
    assert before is not None
    async with first.worker():
        await first.until_well(unit)
        WAITS[waits](first)
        await asyncio.sleep(0.3)
        if change == "gone":
            first.cluster.remove("", "ConfigMap", PARENT_NAMESPACE, "unit-web")
        elif change == "damaged":
            broken = {"metadata": {"annotations": {"fleet.internal/record-digest": None}}}
            first.cluster.drift("", "ConfigMap", PARENT_NAMESPACE, "unit-web", broken)
        else:
            first._parts[unit] = replace(first._parts[unit], quarantined=(Digest("5f0c"),))
            first.send_desired()

        def written() -> bool:
            found = parse_parent(parent_on(first) or {})
            barred = (Digest("5f0c"),) if change == "barred" else ()
            return found is not None and found.quarantined == barred and found.bundle == before.bundle

        await seen_there(written)
        await asyncio.sleep(0.3)
        mark = first.cluster.ledger.sequence
        await asyncio.sleep(0.5)
        own = [e for e in first.cluster.ledger.since(mark) if e.name in ("unit-web", PARENT_NAMESPACE)]
        assert own == [], "no request while nothing changes"


@pytest.mark.parametrize("stop", ["suspended", "observed", "never applied"])
async def test_where_nothing_is_to_be_written_no_parent_is_either(first: SimHub, stop: str) -> None:
    """The harmless twin."""
    unit = await settled(first)
    if stop == "never applied":
        unit = first.want("api", [config_map("b", SHOP)], sync=SyncPolicy(SyncMode.MANUAL, validate=Validate.SCHEMA))
    elif stop == "suspended":
        first.want("web", [config_map("a", SHOP)], suspensions=(Suspension("web", "why", "jo"),))
    else:
        first.mode = Mode.OBSERVE
        first.send_desired()
    if stop != "never applied":
        first.cluster.remove("", "ConfigMap", PARENT_NAMESPACE, "unit-web")
    mark = first.cluster.ledger.sequence
    first.units.clear()
    async with first.worker():
        await first.until(lambda: unit in first.units, "judged")
        await asyncio.sleep(WAITS_SECONDS)
    assert [write for write in writes_since(first, mark) if "unit-" in write] == []


@pytest.mark.parametrize("owner", ["rival/5f0c/web", "nonsense", None])
async def test_with_a_unit_that_is_let_go_its_parent_goes_whatever_its_annotation_was_changed_to(
    first: SimHub, owner: str | None
) -> None:
    unit = await settled(first)
    first.cluster.drift(
        "", "ConfigMap", PARENT_NAMESPACE, "unit-web", {"metadata": {"annotations": {OWNER_ANNOTATION: owner}}}
    )
    first.want("web", action=Detach())
    async with first.worker():
        await first.until(lambda: unit not in first.units, "let go")
    assert parent_on(first) is None
