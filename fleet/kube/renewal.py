"""New tokens for the hub's own service accounts, asked for with the old ones and proven before anything is replaced."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from fleet.core.ids import ClusterName, Identity
from fleet.errors import CredentialRefused
from fleet.kube.access import Access
from fleet.kube.addresses import AddressRule, Network
from fleet.kube.connect import ReadsOnly, connected
from fleet.kube.credentials import NamedCredentials
from fleet.kube.ends import ends_of, token_ends
from fleet.kube.kubeconfig import Trust, access_from, read_kubeconfig, token_kubeconfig
from fleet.kube.limits import KubeLimits
from fleet.kube.objects import ClusterKube
from fleet.kube.transport import Transport
from fleet.ports.kube import Held


class TokenRenewer:
    """Implements `fleet.ports.kube.Renewer`. allowed: lab networks that R31 would refuse."""

    def __init__(
        self, credentials: NamedCredentials, *, limits: KubeLimits | None = None, allowed: Sequence[Network] = ()
    ) -> None:
        self._credentials, self._limits = credentials, limits or KubeLimits()
        self._rule = AddressRule(allowed=tuple(allowed))

    async def look(self, name: str) -> Held:
        """As it lies there now."""
        raw, place = await self._credentials.find(name)
        ticket = await _access(name, raw).ticket()
        token = token_ends(ticket.authorization)
        if ticket.certificate or ticket.endpoint.headers:
            token = replace(token, account="")  # it is not by the token that the server knows us
        return Held(raw, place, ends_of(ticket, f"credential {name}"), token)

    async def renew(self, name: str, held: Held, cluster: ClusterName, identity: Identity) -> bytes:
        """A kubeconfig with a new token that lives as long as the old one was to, or at least ends after it."""
        namespace, _, account = held.token.account.partition("/")
        if not account:
            raise CredentialRefused(
                f"credential {name} is no token of a service account",
                where=f"cluster {cluster}",
                next_step=f"fleet cluster grant {cluster}",
            )
        old = _access(name, held.kubeconfig)
        kube = await self._connect(cluster, old, identity)
        try:
            token, _ = await kube.issue_token(namespace, account, held.token.life_seconds)
        finally:
            await kube.close()
        ends = token_ends(token)
        if ends.at < held.token.at:  # the server may give shorter ones by now than it did
            raise CredentialRefused(
                f"the new token for credential {name} would end before the one in use",
                where=f"cluster {cluster}",
                why=f"the server gives {max(0.0, ends.at - ends.issued):.0f} s, asked were {held.token.life_seconds} s",
                next_step=f"fleet cluster grant {cluster}",
            )
        raw = json.dumps(token_kubeconfig(name, (await old.ticket()).endpoint, token)).encode()
        proof = await self._connect(cluster, _access(name, raw), identity)
        await proof.close()
        return raw

    async def _connect(self, cluster: ClusterName, access: Access, identity: Identity) -> ClusterKube:
        return await connected(
            Transport(cluster, access, ReadsOnly(), expected=identity, rule=self._rule, limits=self._limits)
        )


def _access(name: str, raw: bytes) -> Access:
    return access_from(read_kubeconfig(raw, f"credential {name}"), Trust.HUB)
