"""From adapters to a hub: the loops, the view between them, and the API."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from aiohttp import web

from fleet.access.policy import Role
from fleet.access.tokens import LONGEST_SECONDS, Tokens
from fleet.api.app import build_app
from fleet.api.health import exposition
from fleet.api.parts import ApiParts
from fleet.controllers.ancestry import Ancestry
from fleet.controllers.board import Board
from fleet.controllers.claims import Claims
from fleet.controllers.commits import Commits
from fleet.controllers.convergence import Convergence
from fleet.controllers.credentials import CredentialKeeper
from fleet.controllers.gate_jobs import GateJobs
from fleet.controllers.gates import Gates
from fleet.controllers.going import GoingReader
from fleet.controllers.identities import OneToOne
from fleet.controllers.keys import KeyKeeper
from fleet.controllers.orders import Orders
from fleet.controllers.plan_approvals import STEPS, PlanApprovals
from fleet.controllers.refusals import Refusals
from fleet.controllers.releases import Releases
from fleet.controllers.reports import Intake
from fleet.controllers.rollouts import Rollouts
from fleet.controllers.value_sweeps import ValueSweeps
from fleet.core.ids import Revision
from fleet.core.view import Head, View
from fleet.hub.loops import Service, Troubles
from fleet.hub.main import Hub
from fleet.hub.workers import Workers
from fleet.ports.state import Bells
from fleet.reconcile.limits import WorkerLimits
from fleet.settings import Settings
from fleet.values import dataclass
from fleet.wiring import Adapters, check_kubeconfig, open_adapters

LOCAL_ADMIN = "local-admin"


@dataclass(frozen=True, slots=True)
class Clocks:
    """What time it is for a hub. Deadlines of requests are not by these, but by the loop.

    wall: seconds since the epoch; steady: seconds that only go on, by which rollouts wait, soak and lose patience.
    """

    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic


@dataclass(frozen=True, slots=True)
class OpenedHub:
    """A hub that is ready to run, with what its starter may want to look at."""

    hub: Hub
    view: View
    adapters: Adapters
    bells: Bells
    tokens: Tokens
    data_dir: Path

    async def announce(self, url: str) -> str:
        """Write `url` and a fresh admin token (0600) where the local CLI finds them; returns the token."""
        await self.tokens.revoke(LOCAL_ADMIN)
        token, _ = await self.tokens.create(LOCAL_ADMIN, Role.ADMIN, LONGEST_SECONDS)
        await asyncio.to_thread(write_private, self.data_dir / "admin.token", token)
        await asyncio.to_thread(write_private, self.data_dir / "url", url)
        return token


def write_private(path: Path, text: str) -> None:
    """Replace a file that only its owner may read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text + "\n")


async def open_hub(
    settings: Settings, *, limits: WorkerLimits | None = None, clocks: Clocks | None = None
) -> OpenedHub:
    """Open a hub; raises StateError, RendererMissing, UsageInvalid, GitUrlRefused."""
    adapters = await open_adapters(settings, limits=limits)
    try:
        return await _assemble(settings, adapters, clocks or Clocks())
    except BaseException:
        await adapters.close()
        raise


async def _assemble(settings: Settings, adapters: Adapters, clocks: Clocks) -> OpenedHub:
    state, wall = adapters.state, clocks.wall
    view = View(Head(settings.branch), relaxed=settings.relaxed())
    view.restore(await state.cluster_reports(), await state.unit_reports())
    bells, troubles = Bells(), Troubles()
    state.tell_of_batches(partial(troubles.note, "batches"))
    board = Board(state, view, adapters.renderer.bundle, adapters.vault, wall)
    await board.start()
    releases = Releases(state, view, board)
    claims = Claims(view, board, releases)
    convergence = Convergence(view, state, adapters.traces, wall)
    refusals = Refusals(state, wall)
    intake = Intake(
        view=view,
        state=state,
        board=board,
        releases=releases,
        claims=claims,
        bells=bells,
        convergence=convergence,
        refusals=refusals,
        wall=wall,
    )
    plans = PlanApprovals(
        state=state,
        view=view,
        bells=bells,
        renderer=adapters.renderer,
        reader=GoingReader(adapters.connector, board.identities.of, adapters.digest_key),
        at=lambda commit: adapters.source.at(Revision(commit)),
        line=partial(adapters.source.line, most=STEPS),
        wall=wall,
        lock=asyncio.Lock(),
    )
    commits = Commits(
        source=adapters.source,
        renderer=adapters.renderer,
        board=board,
        releases=releases,
        view=view,
        state=state,
        bells=bells,
        convergence=convergence,
        traces=adapters.traces,
        refusals=refusals,
        poll_seconds=settings.poll_seconds,
        wall=wall,
        plans=plans,
        builders=settings.render_workers,
    )
    orders = Orders(state, board, releases, claims, view, bells, refusals, wall, plans)
    jobs = GateJobs(
        connector=adapters.connector,
        fence_of=adapters.ownership.of,
        identity_of=board.identities.of,
        suspensions_of=board.standing.suspensions_at,
        source=adapters.source,
        audit=state,
        view=view,
        wall=wall,
    )
    gates = Gates(measure=adapters.measure, jobs=jobs, bells=bells, wall=wall)
    rollouts = Rollouts(
        state=state,
        board=board,
        releases=releases,
        view=view,
        bells=bells,
        gates=gates,
        wall=wall,
        clock=clocks.steady,
    )
    await rollouts.start()  # before any result comes: what was taken back must be known
    adapters.renderer.spare(board.books.in_use)
    start = adapters.worker_of(board.feed, intake, OneToOne(adapters.connector, claims.claim, bells), wall)
    workers = Workers(view=view, board=board, intake=intake, bells=bells, start=start, wall=wall)
    keeper = CredentialKeeper(renewer=adapters.renewer, state=state, view=view, bells=bells, wall=wall)
    keys = KeyKeeper(adapters.keys, state, refusals.note, wall)
    tokens = Tokens(state, wall)
    parts = ApiParts(
        view=view,
        state=state,
        tokens=tokens,
        bells=bells,
        wall=wall,
        check_kubeconfig=check_kubeconfig,
        ready=lambda: troubles.why() or ("" if view.fleet is not None else "no commit was read yet"),
        refused=refusals.note,
        webhook_secret=adapters.webhook_secret,
        plans=plans,
        ancestry=Ancestry(adapters.source),
    )

    hub = Hub(
        services=(
            Service("commits", commits.run),
            Service("orders", orders.run),
            Service("workers", workers.run),
            Service("rollouts", rollouts.run),
            Service("refusals", refusals.run),
            Service("credentials", keeper.run),
            Service("keys", keys.run),
            Service("values", ValueSweeps(adapters.renderer).run),
        ),
        troubles=troubles,
        probe=adapters.ownership.prove,
        app=build_app(parts),
        listen=settings.listen_address(),
        metrics_app=_metrics_app(parts) if settings.metrics_listen else None,
        metrics_listen=settings.metrics_address(),
        close=adapters.close,
    )
    return OpenedHub(hub, view, adapters, bells, tokens, settings.data_dir)


def _metrics_app(parts: ApiParts) -> web.Application:
    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=exposition(parts), content_type="text/plain")

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    return app
