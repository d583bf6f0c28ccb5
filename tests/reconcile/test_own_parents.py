"""Our own parents, where somebody took them away or changed their marks: named, written again, in nobody's way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from rig import config_map
from simulated import SHOP, SimHub
from two_hubs import SOON, WAITS_SECONDS, finding, owner_of, parent_on, refused, settled, writes_since

from fleet.core.neighbours import judge_parent
from fleet.core.objects import INSTALLATION_LABEL, OWNER_ANNOTATION
from fleet.core.record import PARENT_NAMESPACE
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
