"""Looks at the credentials of all clusters, says when they end, and renews the hub's own tokens in time.

A new token takes the place of the old one only after it has proven the cluster's identity, and only if nobody gave
another one meanwhile; so a hub that is killed at any point still holds one that works, and starts over. What lies in
files is read again, never written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

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
from fleet.values import dataclass, field

LOOK_SECONDS = 60.0
RENEW_SECONDS = 60.0  # the whole of one renewal
_AT_ONCE = 32
_AGAIN_AT_ONCE = 8  # of those that failed before: they take no turn of the others (R18)
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
    _waiting: set[str] = field(default_factory=set[str])  # credentials that have a task, by name
    _renewing: set[str] = field(default_factory=set[str])  # those of them whose turn it is
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))
    _turns_again: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AGAIN_AT_ONCE))

    async def run(self) -> None:
        """Until cancelled."""
        hurried = 0
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    is_whole = await self.look(tasks)
                    hurried = 0 if is_whole else hurried + 1
                    hurries = 0 < hurried < _SOON_LOOKS
                    await asyncio.sleep(min(self.soon_seconds, self.look_seconds) if hurries else self.look_seconds)
        except* FleetError as several:
            ended = several.exceptions[0]
        raise ended

    async def look(self, tasks: asyncio.TaskGroup) -> bool:
        """Once over all clusters of the fleet; what is due is renewed in `tasks`, and nothing waits for it.

        False where no inventory is known yet, or no identity of a cluster whose token is due.
        """
        fleet = self.view.fleet
        entries = fleet.clusters if fleet is not None else dict[ClusterName, Cluster]()
        for name in self.view.credentials.keys() - entries.keys():
            del self.view.credentials[name]
        identities = await self.state.identities()
        is_whole = fleet is not None
        due: list[tuple[CredentialState, Identity]] = []
        for entry in entries.values():
            if _name_of(entry) in self._renewing:
                continue  # it shows itself what comes of it
            state = await self._state_of(entry)
            if state is None:
                self.view.credentials.pop(entry.name, None)
                continue
            self._show(state)
            identity = entry.identity or identities.get(entry.name)
            at = next_renewal(state)
            if not at or at > self.wall():
                continue
            if identity is None:
                is_whole = False
            else:
                due.append((state, identity))
        for state, identity in sorted(due, key=lambda one: one[0].token.at):
            if state.name not in self._waiting:
                self._waiting.add(state.name)
                tasks.create_task(self._take_turn(state, identity), name=f"renew {state.name}")
        return is_whole

    async def _state_of(self, entry: Cluster) -> CredentialState | None:
        """What is known of a cluster's credential; None where the hub has none of its own to look at."""
        if entry.connection.in_cluster:
            return None
        name = _name_of(entry)
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

    async def _take_turn(self, state: CredentialState, identity: Identity) -> None:
        held = self._read[state.name]
        try:
            async with self._turns_again if state.failures else self._turns:
                if self._read[state.name].kubeconfig != held.kubeconfig or state.cluster not in self.view.credentials:
                    return  # it was given anew, or its cluster left, while this one waited
                self._renewing.add(state.name)
                await self._renew(state, identity, held)
        finally:
            self._renewing.discard(state.name)
            self._waiting.discard(state.name)

    async def _renew(self, state: CredentialState, identity: Identity, held: Held) -> None:
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
        """The audit log has the attempt before it counts, and then how it went (R43)."""
        at = self.wall()
        entry = AuditEntry(at, "hub", "renew-credential", state.cluster, identity, object=f"credential {state.name}")
        await self.state.write(entry)
        if not await self.state.renew_credential(state.name, held.kubeconfig, renewed, at):
            another = "another one was given meanwhile, and stands"
            await self.state.write(replace(entry, at=self.wall(), outcome="refused", reason=another))
            return
        await self.state.write(replace(entry, at=self.wall(), outcome="done"))
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


def _name_of(entry: Cluster) -> str:
    return entry.connection.credential or entry.name
