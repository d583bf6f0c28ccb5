"""What measures the gates of rollouts, as the controllers see it."""

from __future__ import annotations

from typing import Protocol

from fleet.core.gates import Read
from fleet.core.rollout_policy import HttpCheck, PrometheusCheck
from fleet.values import dataclass


class Measure(Protocol):
    """Reads servers over HTTP. Whatever they do is a reading: only a bug, or being cancelled, raises."""

    async def read(self, check: PrometheusCheck | HttpCheck, seconds: float) -> Read:
        """One reading within `seconds`, of at most 1 MiB; no redirect is followed, no refused address dialled (R31)."""
        ...

    async def close(self) -> None:
        """End all connections."""
        ...


@dataclass(frozen=True, slots=True)
class Secret:
    """What a named credential says: the one server it may be shown to, and the value of the Authorization header."""

    origin: str  # scheme, host and port
    authorization: str
    ca: bytes = b""


class GateCredentials(Protocol):
    """Credentials of gates by name (R32)."""

    async def secret(self, name: str) -> Secret:
        """As it stands now; raises CredentialMissing, CredentialRefused. Never logged."""
        ...
