"""How a cluster is reached and what lets us in, as plain values, and the TLS context they make.

`Ticket` is an endpoint with a credential that is good for some time. An `Access` hands tickets out: from a
kubeconfig, a token file, an exec plugin, a mounted service account. There is no ticket without a credential, so a
request can never go out anonymously in silence.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Protocol

from fleet.errors import CredentialFailed
from fleet.values import dataclass, field

FOREVER = float("inf")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the API server is and whom to trust there. `ca` empty: the system's authorities."""

    server: str  # "https://host:port/prefix", no slash at the end
    ca: bytes = b""  # PEM
    tls_server_name: str = ""
    insecure: bool = False  # a person's own choice; never set in the hub (R30)
    proxy: str = field(default="", repr=False)  # may hold a password
    compress: bool = True
    headers: tuple[tuple[str, str], ...] = ()  # Impersonate-*

    @property
    def place(self) -> str:
        """Host and port, as people read it in messages."""
        return self.server.split("://", 1)[-1]


@dataclass(frozen=True, slots=True)
class Ticket:
    """An endpoint and a credential; `until` is a time of the loop's clock."""

    endpoint: Endpoint
    authorization: str = field(default="", repr=False)  # the whole header value
    certificate: bytes = field(default=b"", repr=False)  # PEM, with `key`
    key: bytes = field(default=b"", repr=False)
    until: float = FOREVER


class Access(Protocol):
    """Gives tickets for one cluster."""

    async def ticket(self, refused: Ticket | None = None) -> Ticket:
        """A ticket in force. With `refused` (401) a newer one if there can be one, else the same.

        Raises CredentialMissing, CredentialRefused, CredentialFailed; never a ticket without a credential.
        """
        ...


@dataclass(frozen=True, slots=True)
class FixedAccess:
    """A credential that does not change: a static token, a client certificate, a password."""

    fixed: Ticket

    async def ticket(self, refused: Ticket | None = None) -> Ticket:
        """The one ticket there is."""
        return self.fixed


class _NamedContext(ssl.SSLContext):
    """Asks for, and verifies, one name whatever host was dialled (`tls-server-name`), through any kind of proxy."""

    name: str = ""

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        return super().wrap_bio(incoming, outgoing, server_side, self.name or server_hostname, session)


def tls_context(ticket: Ticket, where: str) -> ssl.SSLContext:
    """The TLS context for a ticket; raises CredentialFailed when certificate or key cannot be read.

    The key is never written to a disk where the system can hold it in memory (R32).
    """
    endpoint = ticket.endpoint
    context = _NamedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.name = endpoint.tls_server_name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # As kubectl: an intermediate authority may be the anchor, and clusters' own authorities lack the extensions that
    # strict mode (the default from Python 3.13 on) demands.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if endpoint.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif endpoint.ca:
        try:
            context.load_verify_locations(cadata=endpoint.ca.decode("ascii"))
        except (ssl.SSLError, ValueError) as error:
            raise CredentialFailed(
                "the certificate authority cannot be read",
                where=where,
                why="certificate-authority-data is no PEM certificate",
                next_step="copy the cluster's CA into the kubeconfig again",
            ) from error
    else:
        context.load_default_certs()
    if ticket.certificate:
        _load_client_certificate(context, ticket, where)
    return context


def _load_client_certificate(context: ssl.SSLContext, ticket: Ticket, where: str) -> None:
    def refuse_passphrase() -> bytes:
        # Without this OpenSSL would ask at the terminal and stop the process.
        raise ValueError("the key is encrypted")

    try:
        with _as_file(ticket.certificate) as certificate, _as_file(ticket.key) as key:
            context.load_cert_chain(certificate, key, password=refuse_passphrase)
    except (ssl.SSLError, ValueError, OSError) as error:
        reason = "the key is encrypted" if "encrypted" in str(error) else "they are no PEM pair that belongs together"
        raise CredentialFailed(
            "the client certificate cannot be used",
            where=where,
            why=f"client-certificate-data and client-key-data: {reason}",
            next_step="make a new credential for this cluster",
        ) from error


@contextlib.contextmanager
def _as_file(content: bytes) -> Generator[str, None, None]:
    """A path that OpenSSL can open, in memory where the system can, else a 0600 file that is removed at once."""
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir():
        handle = os.memfd_create("fleet-tls")
        try:
            os.write(handle, content)
            yield f"/proc/self/fd/{handle}"
        finally:
            os.close(handle)
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        yield file.name
