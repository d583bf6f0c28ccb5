"""From an inventory entry, or a person's kubeconfig, to a proven connection."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fleet.core.fleet import Connection
from fleet.core.ids import ClusterName, Identity
from fleet.errors import CredentialMissing, UsageInvalid
from fleet.kube.access import Access, Endpoint, Ticket
from fleet.kube.addresses import AddressRule, Network
from fleet.kube.kubeconfig import Trust, access_from, load_kubeconfigs, person_paths, read_kubeconfig
from fleet.kube.limits import KubeLimits
from fleet.kube.objects import ClusterKube
from fleet.kube.tokenfile import read_token
from fleet.kube.transport import Transport
from fleet.ports.kube import Credentials, Fence, Kube
from fleet.values import dataclass

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class ReadsOnly:
    """The fence of commands that only look: `fleet diff`, `fleet plan --live`."""

    async def check(self) -> int:
        """Always raises: a write here would be a bug."""
        raise UsageInvalid("this command writes nothing to a cluster", next_step="report this as a bug of fleet")


class WritesAsPerson:
    """The fence of commands that write with a person's own authority: `fleet cluster grant`."""

    async def check(self) -> int:
        """The epoch of no hub."""
        return 0


class StoredAccess:
    """A credential of the hub: looked at again every minute and after a refusal, since somebody may have renewed it."""

    def __init__(self, credentials: Credentials, name: str, seconds: float) -> None:
        self._credentials, self._name, self._seconds = credentials, name, seconds
        self._raw = b""
        self._access: Access | None = None

    async def ticket(self, refused: Ticket | None = None) -> Ticket:
        """The ticket that the kubeconfig gives as it stands now, under the hub's trust (R30)."""
        raw = await self._credentials.kubeconfig(self._name)
        if self._access is None or raw != self._raw:
            config = read_kubeconfig(raw, f"credential {self._name}")
            self._access, self._raw = access_from(config, Trust.HUB), raw
        ticket = await self._access.ticket(refused)
        return replace(ticket, until=min(ticket.until, asyncio.get_running_loop().time() + self._seconds))


@dataclass(frozen=True, slots=True)
class InClusterAccess:
    """The service account of the pod that the hub runs in; token and authority are read again every minute."""

    seconds: float
    environ: Mapping[str, str]
    directory: Path = _SERVICE_ACCOUNT

    async def ticket(self, refused: Ticket | None = None) -> Ticket:
        """A ticket with the mounted token as it stands now."""
        host, port = self.environ.get("KUBERNETES_SERVICE_HOST", ""), self.environ.get("KUBERNETES_SERVICE_PORT", "")
        if not host or not port:
            raise CredentialMissing(
                "the hub does not run in a cluster",
                why="KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set",
                next_step="name a credential instead of inCluster",
            )
        try:
            authority = await asyncio.to_thread((self.directory / "ca.crt").read_bytes)
        except OSError as error:
            raise CredentialMissing(
                "the pod has no service account",
                where=str(self.directory),
                why=f"ca.crt: {error.strerror}",
                next_step="set automountServiceAccountToken: true",
            ) from None
        token = await asyncio.to_thread(read_token, self.directory / "token")
        server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        until = asyncio.get_running_loop().time() + self.seconds
        return Ticket(Endpoint(server, ca=authority), f"Bearer {token}", until=until)


class KubeConnector:
    """Implements `fleet.ports.kube.Connector` for the hub. allowed: lab networks that R31 would refuse."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        limits: KubeLimits | None = None,
        allowed: Sequence[Network] = (),
        environ: Mapping[str, str] = os.environ,
        service_account: Path = _SERVICE_ACCOUNT,
    ) -> None:
        self._credentials, self._limits = credentials, limits or KubeLimits()
        self._rule = AddressRule(allowed=tuple(allowed))
        self._environ, self._service_account = environ, service_account

    async def connect(
        self, cluster: ClusterName, connection: Connection, *, expected: Identity | None, fence: Fence
    ) -> Kube:
        """Connect and prove the identity; see `fleet.ports.kube.Connector`."""
        seconds = self._limits.credential_seconds
        access: Access = (
            InClusterAccess(seconds, self._environ, self._service_account)
            if connection.in_cluster
            else StoredAccess(self._credentials, connection.credential or cluster, seconds)
        )
        return await connected(
            Transport(cluster, access, fence, expected=expected, rule=self._rule, limits=self._limits)
        )


async def person_access(*, context: str = "", paths: Sequence[Path] = ()) -> Access:
    """What a person's own kubeconfig gives. paths: default KUBECONFIG, else ~/.kube/config."""
    files = tuple(paths) or person_paths(os.environ, Path.home())
    config = await asyncio.to_thread(load_kubeconfigs, files)
    return await asyncio.to_thread(access_from, config, Trust.PERSON, context=context)


async def connect_person(
    *,
    context: str = "",
    paths: Sequence[Path] = (),
    cluster: str = "",
    expected: Identity | None = None,
    fence: Fence | None = None,
    limits: KubeLimits | None = None,
    access: Access | None = None,
) -> ClusterKube:
    """Connect by a person's own kubeconfig, as kubectl would; without a fence the connection only reads.

    access: one that `person_access` gave, or another that this person holds. cluster: its name in messages.
    """
    transport = Transport(
        cluster or context or "current-context",
        access or await person_access(context=context, paths=paths),
        fence or ReadsOnly(),
        expected=expected,
        rule=AddressRule(guarded=False),
        limits=limits,
    )
    return await connected(transport)


async def connected(transport: Transport) -> ClusterKube:
    """A connection whose identity is proven, or none."""
    kube = ClusterKube(transport)
    try:
        await kube.connect()
    except BaseException:
        await kube.close()
        raise
    return kube
