"""Looks at the credentials of all clusters, says when they end, and renews the hub's own tokens in time.

A new token takes the place of the old one only after it has proven the cluster's identity, and only if nobody gave
another one meanwhile; so a hub that is killed at any point still holds one that works, and starts over. What lies in
files is read again, never written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import structlog

from fleet import telemetry
from fleet.core.audit import AuditEntry
from fleet.core.fleet import Cluster
from fleet.core.ids import ClusterName, Identity
from fleet.core.renewal import CredentialState, next_renewal, renewal_due
from fleet.core.status import Event, EventKind
from fleet.core.view import View
from fleet.errors import ClusterTimeout, CredentialMissing, FleetError, Retry
from fleet.ports.kube import Held, Renewer
from fleet.ports.state import Bells, State

LOOK_SECONDS = 60.0
RENEW_SECONDS = 60.0  # the whole of one renewal
_AT_ONCE = 4
_SOON_SECONDS = 1.0
_SOON_LOOKS = 60  # in a row: a hub that starts meets its clusters in this time, or they are silent

log = structlog.get_logger("credentials")


@dataclass(slots=True)
class CredentialKeeper:
    """One loop for all clusters. wall: seconds since the epoch."""

    renewer: Renewer
    state: State
    view: View
    bells: Bells
    wall: Callable[[], float]
    look_seconds: float = LOOK_SECONDS
    soon_seconds: float = _SOON_SECONDS
    _read: dict[str, Held] = field(default_factory=dict[str, Held])

    async def run(self) -> None:
        """Until cancelled."""
        hurried = 0
        while True:
            is_whole = await self.look()
            hurried = 0 if is_whole else hurried + 1
            hurries = 0 < hurried < _SOON_LOOKS
            await asyncio.sleep(min(self.soon_seconds, self.look_seconds) if hurries else self.look_seconds)

    async def look(self) -> bool:
        """Once over all clusters of the fleet; what is due is renewed, some at once.

        False where no inventory is known yet, or no identity of a cluster whose token is due.
        """
        fleet = self.view.fleet
        entries = fleet.clusters if fleet is not None else dict[ClusterName, Cluster]()
        for name in self.view.credentials.keys() - entries.keys():
            del self.view.credentials[name]
        identities = await self.state.identities()
        slots, is_whole = asyncio.Semaphore(_AT_ONCE), fleet is not None
        async with asyncio.TaskGroup() as tasks:
            for entry in entries.values():
                state = await self._state_of(entry)
                if state is None:
                    self.view.credentials.pop(entry.name, None)
                    continue
                self._show(state)
                identity = entry.identity or identities.get(entry.name)
                due = next_renewal(state)
                if not due or due > self.wall():
                    continue
                if identity is None:
                    is_whole = False
                else:
                    tasks.create_task(self._renew(state, identity, slots), name=f"renew {state.name}")
        return is_whole

    async def _state_of(self, entry: Cluster) -> CredentialState | None:
        """What is known of a cluster's credential; None where the hub has none of its own to look at."""
        if entry.connection.in_cluster:
            return None
        name = entry.connection.credential or entry.name
        try:
            held = await self.renewer.look(name)
        except CredentialMissing:
            return None  # the cluster itself says so already
        except FleetError as error:
            log.warning(error.what, credential=name, why=error.why)
            return None
        before = self.view.credentials.get(entry.name)
        known = self._read.get(name)
        self._read[name] = held
        if before is not None and before.name == name and known is not None and known.kubeconfig == held.kubeconfig:
            return before
        return CredentialState(
            name, entry.name, held.place, held.ends, held.token, renew_at=renewal_due(held.token, held.place)
        )

    async def _renew(self, state: CredentialState, identity: Identity, slots: asyncio.Semaphore) -> None:
        held = self._read[state.name]
        async with slots:
            try:
                async with asyncio.timeout(RENEW_SECONDS):
                    renewed = await self.renewer.renew(state.name, held, state.cluster, identity)
            except TimeoutError:
                error = ClusterTimeout(
                    f"no new token within {RENEW_SECONDS:.0f} s", next_step=f"fleet describe cluster {state.cluster}"
                )
                await self._failed(state, error)
            except FleetError as error:
                await self._failed(state, error)
            else:
                await self._keep(state, identity, held, renewed)

    async def _keep(self, state: CredentialState, identity: Identity, held: Held, renewed: bytes) -> None:
        at = self.wall()
        entry = AuditEntry(
            at, "hub", "renew-credential", state.cluster, identity, object=f"credential {state.name}", outcome="done"
        )
        await self.state.write(entry)
        if not await self.state.renew_credential(state.name, held.kubeconfig, renewed, at):
            return  # somebody gave another one meanwhile, and that one stands
        telemetry.RENEWALS.labels("done").inc()
        fresh = await self.renewer.look(state.name)
        self._read[state.name] = fresh
        due = renewal_due(fresh.token, fresh.place)
        self._show(CredentialState(state.name, state.cluster, fresh.place, fresh.ends, fresh.token, renew_at=due))
        await self._tell(state.cluster, f"credential {state.name} was renewed")

    async def _failed(self, state: CredentialState, error: FleetError) -> None:
        """Kept for the next try, and said: at once in status, in the timeline when it is something new."""
        telemetry.RENEWALS.labels(error.reason).inc()
        now = self.wall()
        failed = replace(
            state,
            problem=error.brief,
            reason=error.reason,
            passing=error.retry is Retry.SOON,
            next_step=f"fleet cluster grant {state.cluster}",
            failures=state.failures + 1,
            tried_at=now,
            failed_since=state.failed_since or now,
        )
        self._show(replace(failed, renew_at=next_renewal(failed)))
        if state.reason != error.reason:
            log.warning("credential not renewed", credential=state.name, reason=error.reason, why=error.brief)
            await self._tell(state.cluster, f"credential {state.name} is not renewed: {error.reason}: {error.what}")

    async def _tell(self, cluster: ClusterName, message: str) -> None:
        await self.state.add_events([Event(self.wall(), EventKind.NOTE, cluster, None, message)])
        self.bells.news.ring()

    def _show(self, state: CredentialState) -> None:
        self.view.credentials[state.cluster] = state
        if state.ends.at:
            telemetry.CREDENTIAL_ENDS.labels(state.cluster).set(state.ends.at)
