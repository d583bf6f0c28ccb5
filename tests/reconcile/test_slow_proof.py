"""The hourly list of each kind, beside kinds that come and go (R19)."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from fleet.ports.kube import ServedKind
from fleet.reconcile.memory import KindView, LiveView
from fleet.reconcile.proof import SlowProof


def followed(name: str) -> KindView:
    view = KindView(SimpleNamespace(group="example.test", kind=name))  # type: ignore[arg-type]
    view.parts[""].unknown = ""
    return view


@pytest.mark.parametrize("happens", ["removed", "lost", "nothing"])
async def test_a_kind_that_goes_before_its_turn_costs_the_others_nothing(happens: str) -> None:
    """It ended the session of the cluster, as a bug would."""
    view, asked, done = LiveView(), list[str](), asyncio.Event()
    view.kinds = {("example.test", name): followed(name) for name in ("Gone", "Stays")}
    known = view.kinds[("example.test", "Gone")]

    class Observer:
        async def listed(self, served: ServedKind, namespaces: Any) -> tuple[()]:
            asked.append(served.kind)
            if served.kind == "Stays":
                done.set()
            return ()

    def random() -> float:  # asked as the pause begins: from then on it is another view
        loop = asyncio.get_running_loop()
        if happens == "removed":
            loop.call_soon(view.kinds.pop, ("example.test", "Gone"), None)
        elif happens == "lost":
            loop.call_soon(setattr, known.parts[""], "unknown", "Forbidden")
        return 0.5

    site = SimpleNamespace(view=view, limits=SimpleNamespace(proof_seconds=0.02), random=random)
    task = asyncio.create_task(SlowProof(site, Observer()).run())  # type: ignore[arg-type]
    waiting = asyncio.create_task(done.wait())
    await asyncio.wait({task, waiting}, timeout=20, return_when=asyncio.FIRST_COMPLETED)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ("Gone" in asked) is (happens == "nothing")
    assert "Stays" in asked
