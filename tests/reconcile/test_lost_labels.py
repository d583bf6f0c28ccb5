"""Healing brings back what was applied, and nothing new: not with a label that is put back, nor with an object that
vanished. What a commit brings waits as ever, and is applied with its commit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from rig import CLUSTER, config_map, notes
from simulated import SHOP, SimHub

from fleet.core.ids import OverlayName, UnitName
from fleet.core.record import PART_OF_LABEL
from fleet.core.status import Health
from fleet.core.sync_policy import SyncPolicy, Validate, Window, WindowKind

ANY = SyncPolicy(validate=Validate.SCHEMA)
CLOSED = SyncPolicy(validate=Validate.SCHEMA, windows=(Window(WindowKind.DENY, "* * * * *", 3600),))
CHECKED = SyncPolicy(validate=Validate.SERVER)
NO_HEAL = SyncPolicy(validate=Validate.SERVER, self_heal=False)


def service(port: int) -> dict[str, Any]:
    spec = {"ports": [{"port": port}], "selector": {"app": "web"}}
    metadata = {"name": "s", "namespace": SHOP, **notes(wave="1")}  # with the others: no wave keeps them from anything
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def workload(image: str) -> dict[str, Any]:
    pod = {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    spec = {"selector": {"matchLabels": {"app": "d"}}, "template": pod}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": SHOP}, "spec": spec}


def hook() -> dict[str, Any]:
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "app:crash"}]}
    metadata = {"name": "migrate", "namespace": SHOP, **notes(hook="PreSync")}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": {"spec": pod}}}


def unlabel(hub: SimHub, name: str) -> None:
    hub.cluster.drift("", "ConfigMap", SHOP, name, {"metadata": {"labels": {PART_OF_LABEL: None}}})


def held(hub: SimHub, name: str) -> tuple[str, bool] | None:
    """The value of a ConfigMap, and whether it has its label; None where it is not there."""
    live: Any = hub.cluster.get("", "ConfigMap", SHOP, name)
    return (live["data"]["a"], PART_OF_LABEL in live["metadata"]["labels"]) if live else None


def objects(value: str, *more: dict[str, Any]) -> list[dict[str, Any]]:
    """One that the commit changes, one that it does not, both in the second wave, and what keeps the commit waiting."""
    late = notes(wave="1")
    return [config_map("changed", SHOP, {"a": value}, **late), config_map("same", SHOP, **late), *more]


@dataclass(frozen=True)
class Wait:
    """Why a commit is not applied yet, what it brings that is to blame, and what stood there before."""

    reason: str
    sync: SyncPolicy = ANY
    before: tuple[dict[str, Any], ...] = ()
    after: tuple[dict[str, Any], ...] = ()
    depends_on: tuple[UnitName, ...] = ()


WAITS = {
    "window": Wait("in a deny window", CLOSED),
    "depends": Wait("to be Healthy", depends_on=(UnitName(OverlayName("platform"), CLUSTER),)),
    "refused": Wait("99999999", CHECKED, (service(80),), (service(99999999),)),
    "hook": Wait("migrate", after=(hook(),)),
    "wave": Wait("wave 1 waits", before=(workload("app:1"),), after=(workload("app:crash"),)),
}


async def waiting(hub: SimHub, wait: Wait) -> UnitName:
    """A unit whose next commit is not applied for this reason. Its worker runs."""
    unit = hub.want("web", objects("1", *wait.before), sync=ANY)
    await hub.until_well(unit)
    order(hub, wait, "b")
    await hub.until(
        lambda: (
            (now := hub.units[unit]).observed_commit == "b" * 40
            and wait.reason in now.message + "".join(link.reason for link in now.blocked_by)
        ),
        "waits",
    )
    return unit


def order(hub: SimHub, wait: Wait, commit: str) -> None:
    hub.want("web", objects("2", *wait.after), commit=commit, sync=wait.sync, depends_on=wait.depends_on)


async def passed_over(hub: SimHub, unit: UnitName, wait: Wait) -> None:
    """Once more: a pass over all that was seen until now has ended."""
    order(hub, wait, "c")
    await hub.until(lambda: hub.units[unit].observed_commit == "c" * 40, "passed over")


async def applied(hub: SimHub, unit: UnitName, wait: Wait) -> None:
    """Nothing keeps the commit any more."""
    hub.want("web", objects("2", *wait.before), commit="d", sync=ANY)
    await hub.until_well(unit)


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
async def test_a_label_is_put_back_where_nothing_changed_and_brings_nothing_new_where_something_did(
    first: SimHub, wait: Wait
) -> None:
    async with first.worker():
        unit = await waiting(first, wait)
        unlabel(first, "changed")
        unlabel(first, "same")
        await first.until(lambda: held(first, "same") == ("1", True), "twin: healed all the same")
        await passed_over(first, unit, wait)
        assert held(first, "changed") == ("1", False)
        await applied(first, unit, wait)
        assert held(first, "changed") == ("2", True)


async def test_what_vanishes_while_its_commit_is_refused_is_made_anew_only_as_it_was(first: SimHub) -> None:
    wait = WAITS["refused"]
    async with first.worker():
        unit = await waiting(first, wait)
        for name in ("changed", "same"):
            first.cluster.remove("", "ConfigMap", SHOP, name)
        await first.until(lambda: held(first, "same"), "twin: it is as it was")
        await first.until(lambda: first.object(unit, "ConfigMap", "changed").health is Health.MISSING, "missing")
        await passed_over(first, unit, wait)
        assert held(first, "changed") is None
        await applied(first, unit, wait)
        assert held(first, "changed") == ("2", True)


async def test_what_lost_its_label_gets_its_commit_before_anything_is_pruned_though_nothing_is_healed(
    first: SimHub,
) -> None:
    more = [config_map("dropped", SHOP)]
    unit = first.want("web", objects("1", *more), sync=NO_HEAL)
    async with first.worker():
        await first.until_well(unit)
        unlabel(first, "changed")
        unlabel(first, "same")
        await first.until(lambda: first.object(unit, "ConfigMap", "same").drift, "reported")
        first.want("web", objects("2"), commit="b", sync=NO_HEAL)
        await first.until(lambda: held(first, "changed") == ("2", True), "applied")
        await first.until(lambda: held(first, "dropped") is None, "pruned")
        assert held(first, "same") == ("1", False), "twin: what no commit changed is reported only"
        done = [(entry.verb, entry.name) for entry in first.cluster.ledger.writes(0) if entry.agent != "sim"]
        assert done.index(("delete", "dropped")) > max(n for n, each in enumerate(done) if each == ("patch", "changed"))
