"""From settings to adapters: the only place that names concrete classes."""

from __future__ import annotations

import asyncio
import hmac
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from fleet import __version__
from fleet.core.ids import ClusterName
from fleet.errors import UsageInvalid
from fleet.integrations.gate_credentials import NamedSecrets, Stored, is_gate_credential, secret_of
from fleet.integrations.measure import Guard, HttpMeasure
from fleet.kube.addresses import AddressRule, CheckedResolver
from fleet.kube.connect import KubeConnector
from fleet.kube.credentials import NamedCredentials
from fleet.kube.kubeconfig import Trust, access_from, read_kubeconfig
from fleet.kube.renewal import TokenRenewer
from fleet.ownership.local import LocalOwnership
from fleet.ports.gates import Measure
from fleet.ports.kube import Connector, Renewer
from fleet.ports.render import Renderer, Vault
from fleet.ports.source import Source
from fleet.ports.state import Keys, State
from fleet.ports.worker import Feed, Sink
from fleet.reconcile.limits import WorkerLimits
from fleet.reconcile.rush import Rush
from fleet.reconcile.worker import Worker
from fleet.render.cache import DiskCache
from fleet.render.service import open_renderer
from fleet.settings import Settings
from fleet.source.askpass import GitAuth
from fleet.source.mirror import Mirror, MirrorSettings
from fleet.source.signatures import SignaturePolicy
from fleet.store.crypto import find_key, load_or_make_key
from fleet.store.sql import open_state
from fleet.telemetry import Traces
from fleet.values import dataclass

log = structlog.get_logger("hub")


@dataclass(frozen=True, slots=True)
class Adapters:
    """Everything of a hub that touches the outside."""

    state: State
    keys: Keys
    vault: Vault
    source: Source
    renderer: Renderer
    connector: Connector
    measure: Measure
    renewer: Renewer
    ownership: LocalOwnership
    traces: Traces
    digest_key: bytes  # of digests of live Secrets (R32)
    webhook_secret: bytes
    limits: WorkerLimits

    async def close(self) -> None:
        """In the order in which they depend on each other."""
        await self.source.close()
        await self.renderer.close()
        await self.state.close()
        await asyncio.to_thread(self.traces.close)

    def worker_of(
        self,
        feed_of: Callable[[ClusterName], Feed],
        sink: Sink,
        connector: Connector,
        wall: Callable[[], float],
    ) -> Callable[[ClusterName], Awaitable[None]]:
        """A function that runs one cluster's worker until it is cancelled, under an epoch of its own (R23)."""

        rush = Rush()

        async def run(name: ClusterName) -> None:
            fence = await self.ownership.take(name)
            try:
                worker = Worker(
                    name,
                    feed=feed_of(name),
                    sink=sink,
                    journal=self.state.journal(name),
                    audit=self.state,
                    connector=connector,
                    fence=fence,
                    limits=self.limits,
                    wall=wall,
                    digest_key=self.digest_key,
                    rush=rush,
                )
                await worker.run()
            finally:
                fence.is_open = False

        return run


async def open_adapters(settings: Settings, *, limits: WorkerLimits | None = None) -> Adapters:
    """Open everything in order; what was opened is closed again when a later part fails."""
    await asyncio.to_thread(settings.data_dir.mkdir, mode=0o700, parents=True, exist_ok=True)
    environment = dict(os.environ)
    if settings.key_file is not None:
        environment["FLEET_KEY_FILE"] = str(settings.key_file)
    environment["FLEET_ALLOW_CHARTS"] = str(settings.allow_charts)
    if settings.helm is not None:
        environment["FLEET_HELM"] = str(settings.helm)
    found = await asyncio.to_thread(load_or_make_key, settings.data_dir, environment)
    source = mirror_of(settings)
    secret = await asyncio.to_thread(_secret_of, settings.webhook_secret_file)
    state = await open_state(settings.data_dir, found.key, older=found.older, event_cap=settings.events_kept)
    try:
        renderer = await open_renderer(
            DiskCache(settings.data_dir / "cache", found.key, cap_bytes=settings.cache_limit_mib << 20),
            state.vault,
            state.root,
            environment=environment,
            workers=settings.render_workers,
            warn=_warn_of_builds,
        )
    except BaseException:
        await state.close()
        raise
    credentials = NamedCredentials(settings.credentials, state.credential)
    return Adapters(
        state=state,
        keys=state.keys(lambda: find_key(settings.data_dir, environment)),
        vault=state.vault,
        source=source,
        renderer=renderer,
        connector=KubeConnector(credentials, allowed=settings.allowed_networks()),
        measure=measure_of(settings, state.credential),
        renewer=TokenRenewer(credentials, allowed=settings.allowed_networks()),
        ownership=LocalOwnership(state),
        traces=Traces(settings.otlp_endpoint, version=__version__),
        digest_key=hmac.digest(state.root, b"object digests", "sha256"),
        webhook_secret=secret,
        limits=limits or WorkerLimits(),
    )


def _warn_of_builds(could: str) -> None:
    log.warning("builds are not shut in by the kernel", could=could, next_step="fleet doctor")


def measure_of(settings: Settings, stored: Stored) -> HttpMeasure:
    """What reads gates, guarded as connections to clusters are (R30, R31)."""
    allowed = settings.allowed_networks()
    secure, plain = AddressRule(allowed=allowed), AddressRule(allowed=allowed, only_allowed=True)
    return HttpMeasure(
        secure=Guard(CheckedResolver(secure), secure.check_literal),
        plain=Guard(CheckedResolver(plain), plain.check_literal),
        credentials=NamedSecrets(settings.credentials, stored),
    )


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
            keep_days=settings.mirror_keep_days,
        ),
        settings.data_dir / "mirror",
    )


def check_kubeconfig(name: str, raw: bytes) -> None:
    """Refuse what the hub would not use, before it is kept (R30); a gate's credential is one, too."""
    if is_gate_credential(raw):
        secret_of(raw, name)
        return
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
