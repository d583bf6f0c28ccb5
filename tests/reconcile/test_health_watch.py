"""Pods are asked about for what is unwell at that moment, and for nothing that became well meanwhile."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from fleet.core.documents import Document
from fleet.core.health import ObjectHealth
from fleet.core.ids import ObjectRef, UnitName
from fleet.core.status import Health, Kstatus
from fleet.ports.kube import ObjectList, ServedKind
from fleet.ports.worker import UnitMemory
from fleet.reconcile.health_watch import HealthWatch
from fleet.reconcile.memory import UnitState

REFS = [ObjectRef("apps", "Deployment", "shop", name) for name in ("a", "b")]
PODS = ServedKind("", "v1", "Pod", "pods", True, frozenset({"list"}))


def row(ref: ObjectRef, kstatus: Kstatus) -> Any:
    health = ObjectHealth(kstatus, Health.PROGRESSING, "rolls out")
    document: Document = {"spec": {"selector": {"matchLabels": {"app": ref.name}}}}
    return SimpleNamespace(own_health=health, health=health, document=document)


@pytest.mark.parametrize("becomes_well", [True, False])
async def test_what_became_well_while_another_was_asked_about_is_not_asked_about(becomes_well: bool) -> None:
    name = UnitName.parse("web@eu-1")
    unit = UnitState(name, UnitMemory(name), rows=dict.fromkeys(REFS))  # type: ignore[arg-type]
    live, asked = {ref: row(ref, Kstatus.IN_PROGRESS) for ref in REFS}, list[str]()

    async def listed(kind: ServedKind, *, namespace: str, selector: str) -> ObjectList:
        asked.append(selector)
        if becomes_well:
            live.update((ref, row(ref, Kstatus.CURRENT)) for ref in REFS)
        elif len(asked) == len(REFS):
            live.clear()
        return ObjectList((), "1")

    site: Any = SimpleNamespace(
        units={name: unit},
        view=SimpleNamespace(find=live.get),
        served=lambda ref: PODS if ref.kind == "Pod" else None,
        kube=SimpleNamespace(list=listed),
        limits=SimpleNamespace(watch_seconds=0.0),
        wall_there=lambda: 0.0,
        wake=lambda unit: None,
    )
    watch = HealthWatch(site)
    watch.nudge()
    running = asyncio.create_task(watch.run())
    await asyncio.sleep(0.05)
    running.cancel()
    assert asked == (["app=a"] if becomes_well else ["app=a", "app=b"])
