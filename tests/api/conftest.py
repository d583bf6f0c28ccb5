"""The API over a real server, on a state in memory and a view that a test fills."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from fleet.access.policy import Role
from fleet.access.tokens import Tokens
from fleet.api.app import build_app
from fleet.api.parts import ApiParts
from fleet.controllers.ancestry import Ancestry
from fleet.controllers.refusals import Refusals
from fleet.core.field_diff import FieldDrift
from fleet.core.fleet import Cluster, Fleet, Overlay, Unit
from fleet.core.ids import ClusterName, Digest, Identity, ObjectRef, OverlayName, Revision, UnitName
from fleet.core.problems import Origin
from fleet.core.results import Rendered
from fleet.core.status import Health, ObjectStatus, Report, Sync, UnitReport
from fleet.core.view import Head, View
from fleet.ports.state import Bells
from fleet.store.memory import MemoryState
from fleet.wiring import check_kubeconfig

HEAD = Revision("a" * 40)
SECRET = b"webhook-secret"


@dataclass
class Api:
    """One running API."""

    view: View
    state: MemoryState
    bells: Bells
    tokens: Tokens
    refusals: Refusals
    session: aiohttp.ClientSession
    url: str = ""
    now: float = 1_800_000_000.0
    trouble: str = ""
    parts: ApiParts = field(init=False)
    keys: dict[str, str] = field(default_factory=dict)

    async def call(
        self, method: str, path: str, body: Any = None, *, role: str = "admin", raw: bytes | None = None, **headers: str
    ) -> tuple[int, Any]:
        sent = {**({"Authorization": f"Bearer {self.keys[role]}"} if role in self.keys else {}), **headers}
        data = raw
        if body is not None:
            data, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
        async with self.session.request(method, self.url + path, data=data, headers=sent) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if "json" in answer.content_type else text

    def put(self, unit: str, *, health: Health = Health.HEALTHY, sync: Sync = Sync.SYNCED, **more: Any) -> None:
        name = UnitName.parse(unit)
        self.view.units[name] = UnitReport(name, HEAD, Digest("b"), sync, health, self.now, **more)
        self.view.since[name] = self.now


class Line:
    """A fake `Source` that knows the ancestry of three commits, one after the other."""

    COMMITS = (Revision("0d" * 20), Revision("0e" * 20), HEAD)

    async def named(self, prefix: str) -> Revision | None:
        found = [commit for commit in self.COMMITS if commit.startswith(prefix)]
        return found[0] if len(found) == 1 else None

    async def is_ancestor(self, older: Revision, newer: Revision) -> bool:
        return self.COMMITS.index(older) <= self.COMMITS.index(newer)

    async def since(self, older: Revision, newer: Revision) -> frozenset[Revision]:
        return frozenset(self.COMMITS[self.COMMITS.index(older) : self.COMMITS.index(newer) + 1])


def fleet_of(clusters: dict[str, str], overlays: dict[str, list[str]]) -> Fleet:
    """clusters: name -> environment; overlays: name -> clusters."""
    here = Origin("fleet.yaml", 1)
    entries = {
        ClusterName(name): Cluster(
            ClusterName(name), Origin(f"clusters/{name}.yaml", 1), {"region": name[:2]}, environment
        )
        for name, environment in clusters.items()
    }
    found = {OverlayName(name): Overlay(OverlayName(name), f"overlays/{name}", here) for name in overlays}
    units = {}
    for overlay, names in overlays.items():
        for cluster in names:
            name = UnitName(OverlayName(overlay), ClusterName(cluster))
            units[name] = Unit(name, f"overlays/{overlay}", here, (), {}, found[name.overlay], entries[name.cluster])
    return Fleet(HEAD, "acme", clusters=entries, overlays=found, units=units)


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """Three clusters, two overlays, all Synced and Healthy; a token for each role."""
    state, bells = MemoryState(), Bells()
    view = View(Head("main", HEAD, "web: 1.8.0", "mara", is_taken=True))
    view.fleet = fleet_of(
        {"dev-1": "dev", "eu-1": "prod", "eu-2": "prod"}, {"web": ["dev-1", "eu-1", "eu-2"], "edge": ["eu-1"]}
    )
    view.results = {name: Rendered(Digest("b"), HEAD) for name in view.fleet.units}
    async with aiohttp.ClientSession() as session:
        made = Api(
            view, state, bells, Tokens(state, lambda: made.now), Refusals(state, lambda: made.now), session
        )  # fmt: skip
        parts = ApiParts(
            view=view, state=state, tokens=made.tokens, bells=bells, wall=lambda: made.now,
            check_kubeconfig=check_kubeconfig, ready=lambda: made.trouble, refused=made.refusals.note,
            webhook_secret=SECRET, ancestry=Ancestry(Line()),
        )  # fmt: skip
        made.parts = parts
        for name in view.fleet.units:
            made.put(str(name))
        for name in view.fleet.clusters:
            view.take(Report(name, 1, 1, made.now, identity=Identity(f"uid-{name}"), reachable=True))
            await state.record_identity(name, Identity(f"uid-{name}"))
        for role in Role:
            made.keys[role.value], _ = await made.tokens.create(f"t-{role}", role, 3600)
        runner = web.AppRunner(build_app(parts), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield made
        await asyncio.wait_for(runner.cleanup(), 10)


def drifted_object(name: str, *, masked: bool = False) -> ObjectStatus:
    drift = FieldDrift("data.a", "1", "2", "kubectl-edit", 5.0, masked)
    return ObjectStatus(
        ObjectRef("", "Secret" if masked else "ConfigMap", "shop", name), Sync.OUT_OF_SYNC, Health.HEALTHY,
        drift=(drift,),
    )  # fmt: skip
