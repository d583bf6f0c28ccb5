"""From settings to a hub: the only place that names concrete classes."""

from __future__ import annotations

import asyncio
import hmac
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from fleet import __version__
from fleet.access.policy import Role
from fleet.access.tokens import LONGEST_SECONDS, Tokens
from fleet.api.app import build_app
from fleet.api.health import exposition
from fleet.api.parts import ApiParts
from fleet.controllers.board import Board
from fleet.controllers.commits import Commits
from fleet.controllers.convergence import Convergence
from fleet.controllers.orders import Orders
from fleet.controllers.reports import Intake
from fleet.core.fleet import Fleet, Unit
from fleet.core.guard import judge_team_rights
from fleet.core.ids import ClusterName
from fleet.core.objects import Bundle
from fleet.core.release import RenderProblem
from fleet.core.view import Head, View
from fleet.errors import UsageInvalid
from fleet.hub.main import Hub, Service
from fleet.hub.workers import Workers
from fleet.kube.connect import KubeConnector
from fleet.kube.credentials import NamedCredentials
from fleet.kube.kubeconfig import Trust, access_from, read_kubeconfig
from fleet.ownership.local import LocalOwnership
from fleet.ports.state import Bells
from fleet.reconcile.limits import WorkerLimits
from fleet.reconcile.worker import Worker
from fleet.render.cache import DiskCache
from fleet.render.service import Renderer, open_renderer
from fleet.settings import Settings
from fleet.source.askpass import GitAuth
from fleet.source.mirror import Mirror, MirrorSettings
from fleet.source.signatures import SignaturePolicy
from fleet.store.crypto import load_or_make_key
from fleet.store.sql import SqlState, open_state
from fleet.telemetry import Traces

LOCAL_ADMIN = "local-admin"


@dataclass(frozen=True, slots=True)
class OpenedHub:
    """A hub that is ready to run, with what its starter may want to look at."""

    hub: Hub
    view: View
    state: SqlState
    renderer: Renderer
    source: Mirror
    bells: Bells
    tokens: Tokens
    data_dir: Path

    async def announce(self, url: str) -> None:
        """Write `url` and a fresh admin token (0600) where the local CLI finds them."""
        await self.state.revoke_token(LOCAL_ADMIN, time.time())
        token, _ = await self.tokens.create(LOCAL_ADMIN, Role.ADMIN, LONGEST_SECONDS)
        await asyncio.to_thread(_write_private, self.data_dir / "admin.token", token)
        await asyncio.to_thread(_write_private, self.data_dir / "url", url)


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text + "\n")


def judge_rights(unit: Unit, fleet: Fleet, bundle: Bundle) -> RenderProblem | None:
    """Whether a unit's objects are all within its team's rights (R29)."""
    if unit.team is None:
        return None
    refused = judge_team_rights(bundle.objects, unit.team, where=str(unit.overlay.origin))
    if not refused:
        return None
    first, more = refused[0], len(refused) - 1
    message = f"{first.what}: {first.why}" + (f", and {more} more" if more else "")
    return RenderProblem(first.reason, message, fleet.commit, first.next_step)


def mirror_of(settings: Settings) -> Mirror:
    """The fleet repo as the settings name it."""
    auth = GitAuth(
        username=settings.git_username,
        token_file=settings.git_token_file,
        ssh_key=settings.git_ssh_key,
        known_hosts=settings.git_known_hosts,
        ca_file=settings.git_ca,
    )
    return Mirror(
        MirrorSettings(
            url=settings.repo,
            branch=settings.branch,
            auth=auth,
            signatures=SignaturePolicy(ssh_signers=settings.signers),
            allow_http=settings.git_allow_http,
            allow_path=settings.repo.startswith("/"),
        ),
        settings.data_dir / "mirror",
    )


async def open_hub(settings: Settings, *, limits: WorkerLimits | None = None) -> OpenedHub:
    """Open everything in order; what was opened is closed again when a later part fails."""
    await asyncio.to_thread(settings.data_dir.mkdir, mode=0o700, parents=True, exist_ok=True)
    environment = dict(os.environ)
    if settings.key_file is not None:
        environment["FLEET_KEY_FILE"] = str(settings.key_file)
    key = await asyncio.to_thread(load_or_make_key, settings.data_dir, environment)
    source = mirror_of(settings)
    state = await open_state(settings.data_dir, key)
    try:
        renderer = await open_renderer(
            DiskCache(settings.data_dir / "cache", key),
            state.vault,
            key,
            environment=environment,
            scratch=settings.data_dir / "scratch",
            workers=settings.render_workers,
        )
    except BaseException:
        await state.close()
        raise
    return await _assemble(settings, state, renderer, source, key, limits or WorkerLimits())


async def _assemble(
    settings: Settings, state: SqlState, renderer: Renderer, source: Mirror, key: bytes, limits: WorkerLimits
) -> OpenedHub:
    wall = time.time
    view = View(Head(settings.branch), relaxed=settings.relaxed())
    view.restore(await state.cluster_reports(), await state.unit_reports())
    bells = Bells(asyncio.Event(), asyncio.Event(), asyncio.Event())
    traces = Traces(settings.otlp_endpoint, version=__version__)
    board = Board(state, view, renderer.bundle, state.vault)
    await board.start()
    convergence = Convergence(view, state, traces, wall)
    intake = Intake(view=view, state=state, board=board, bells=bells, convergence=convergence, wall=wall)
    commits = Commits(
        source=source,
        renderer=renderer,
        board=board,
        view=view,
        state=state,
        bells=bells,
        convergence=convergence,
        traces=traces,
        judge=judge_rights,
        poll_seconds=settings.poll_seconds,
        wall=wall,
    )
    orders = Orders(state=state, board=board, view=view, bells=bells, wall=wall)
    start = _starter(settings, state, board, intake, key, limits)
    workers = Workers(view=view, board=board, intake=intake, start=start, wall=wall)
    tokens = Tokens(state, wall)
    parts = ApiParts(
        view=view,
        state=state,
        tokens=tokens,
        bells=bells,
        wall=wall,
        check_kubeconfig=check_kubeconfig,
        ready=lambda: "" if view.fleet is not None else "no commit was read yet",
        webhook_secret=await asyncio.to_thread(_secret_of, settings.webhook_secret_file),
    )

    async def close() -> None:
        await source.close()
        await renderer.close()
        await state.close()
        await asyncio.to_thread(traces.close)

    services = (Service("commits", commits.run), Service("orders", orders.run), Service("workers", workers.run))
    hub = Hub(
        services=services,
        app=build_app(parts),
        listen=settings.listen_address(),
        metrics_app=_metrics_app(parts) if settings.metrics_listen else None,
        metrics_listen=_address(settings.metrics_listen) if settings.metrics_listen else None,
        close=close,
    )
    return OpenedHub(hub, view, state, renderer, source, bells, tokens, settings.data_dir)


def _starter(
    settings: Settings, state: SqlState, board: Board, intake: Intake, key: bytes, limits: WorkerLimits
) -> Callable[[ClusterName], Awaitable[None]]:
    credentials = NamedCredentials(settings.credentials, state.credential)
    connector = KubeConnector(credentials, allowed=settings.allowed_networks())
    ownership = LocalOwnership(state)

    async def start(name: ClusterName) -> None:
        fence = await ownership.take(name)
        try:
            worker = Worker(
                name,
                feed=board.feed(name),
                sink=intake,
                journal=state.journal(name),
                audit=state,
                connector=connector,
                fence=fence,
                limits=limits,
                wall=time.time,
                digest_key=hmac.digest(key, b"object digests", "sha256"),
            )
            await worker.run()
        finally:
            fence.is_open = False

    return start


def check_kubeconfig(name: str, raw: bytes) -> None:
    """Refuse what the hub would not use, before it is kept (R30)."""
    access_from(read_kubeconfig(raw, f"credential {name}"), Trust.HUB)


def _secret_of(path: Path | None) -> bytes:
    if path is None:
        return b""
    try:
        return path.read_bytes().strip()
    except OSError as error:
        raise UsageInvalid(
            "the webhook secret cannot be read", where=str(path), why=error.strerror or "", next_step="check the file"
        ) from error


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def _metrics_app(parts: ApiParts) -> web.Application:
    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=exposition(parts), content_type="text/plain")

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    return app
