"""The hub's credentials and the clusters behind them: refusals, ends of certificates and tokens, clocks.

A cluster is asked one thing without any credential, `GET /version`: whatever it answers carries its certificate and
its time. A proxy is not asked, nor an address that the hub would not dial (R31).
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509

from fleet.cli.checkup import Check, Level, judge_clocks, judge_end, judge_renewed
from fleet.core.clocks import skew_of
from fleet.core.renewal import Place, renewal_due
from fleet.errors import AddressRefused, FleetError
from fleet.kube.access import Ticket, tls_context
from fleet.kube.addresses import AddressRule, Network
from fleet.kube.ends import ends_of, token_ends
from fleet.kube.kubeconfig import Trust, access_from, read_kubeconfig

_ASK_SECONDS = 5.0
_AT_ONCE = 16


async def check_clusters(
    directory: Path | None,
    stored: Mapping[str, bytes],
    *,
    ask: bool,
    allowed: Sequence[Network] = (),
    wall: Callable[[], float] = time.time,
) -> list[Check]:
    """All credentials by name, files before stored ones as in the hub; ask: also each cluster.

    allowed: lab addresses that may be dialled, as of the hub.
    """
    now, raw, checks, files = wall(), dict(stored), list[Check](), dict[str, bytes]()
    if directory is not None:
        files, checks = await asyncio.to_thread(_files, directory)
        raw |= files
    if not raw:
        return [*checks, Check(Level.OK, "no credential of a cluster yet; fleet cluster grant gives one")]
    tickets: dict[str, Ticket] = {}
    for name, content in sorted(raw.items()):
        try:
            tickets[name] = await access_from(read_kubeconfig(content, f"credential {name}"), Trust.HUB).ticket()
        except FleetError as error:
            checks.append(Check(Level.MISS, f"credential {name}: {error.brief}", error.next_step))
            continue
        place = Place.FILE if name in files else Place.STORED
        checks.append(_ends(name, tickets[name], place, now))
    direct = {name: ticket for name, ticket in tickets.items() if not ticket.endpoint.proxy}
    if ask and direct:
        checks += await _asked(direct, AddressRule(allowed=tuple(allowed)), wall)
    return checks


def _files(directory: Path) -> tuple[dict[str, bytes], list[Check]]:
    found, checks = dict[str, bytes](), list[Check]()
    for path in sorted(directory.glob("*.kubeconfig")):
        try:
            found[path.stem] = path.read_bytes()
        except OSError as error:
            checks.append(Check(Level.MISS, f"{path} cannot be read: {error.strerror}", "check its rights"))
    return found, checks


def _ends(name: str, ticket: Ticket, place: Place, now: float) -> Check:
    """The first end of what a credential consists of, and whether the hub sees to it."""
    renew = f"fleet cluster grant {name}, or fleet credential add {name} FILE"
    try:
        first = ends_of(ticket, f"credential {name}")
    except FleetError as error:
        return Check(Level.MISS, f"credential {name}: {error.brief}", renew)
    if not first.at:
        return Check(Level.OK, f"credential {name}: a token without an end")
    due = renewal_due(token_ends(ticket.authorization), place)
    if due and first.what == "token":
        return judge_renewed(name, first.at, due, now, renew)
    return judge_end(f"credential {name}: {first.what}", first.at, now, renew)


async def _asked(tickets: Mapping[str, Ticket], rule: AddressRule, wall: Callable[[], float]) -> list[Check]:
    slots = asyncio.Semaphore(_AT_ONCE)

    async def ask(name: str, ticket: Ticket) -> tuple[str, tuple[float | None, float] | Check]:
        async with slots:
            return name, await asyncio.to_thread(_answer, name, ticket, rule, wall)

    skews: dict[str, float] = {}
    checks: list[Check] = []
    for name, answer in await asyncio.gather(*(ask(name, ticket) for name, ticket in sorted(tickets.items()))):
        if isinstance(answer, Check):
            checks.append(answer)
            continue
        skew, until = answer
        if skew is not None:
            skews[name] = skew
        ends = judge_end(f"server certificate of {name}", until, wall(), f"renew it on the control plane of {name}")
        if ends.level is not Level.OK:
            checks.append(ends)
    return [*checks, *judge_clocks(skews)]


def _answer(
    name: str, ticket: Ticket, rule: AddressRule, wall: Callable[[], float]
) -> tuple[float | None, float] | Check:
    """How far its clock is ahead of ours, and the end of its certificate; or what is wrong with reaching it."""
    connection: http.client.HTTPSConnection | None = None
    try:
        server = urlsplit(ticket.endpoint.server)
        host, port = server.hostname or "", server.port or 443
        context = tls_context(replace(ticket, certificate=b"", key=b""), f"credential {name}")
        secured = context.wrap_socket(
            _dialled(host, port, rule), server_hostname=ticket.endpoint.tls_server_name or host
        )
        connection = http.client.HTTPSConnection(host, port, timeout=_ASK_SECONDS, context=context)
        connection.sock = secured
        certificate = x509.load_der_x509_certificate(secured.getpeercert(binary_form=True) or b"")
        before = wall()
        connection.request("GET", f"{server.path}/version", headers={"User-Agent": "fleet-doctor"})
        said = connection.getresponse().getheader("Date", "")
        after = wall()
    except AddressRefused as error:
        next_step = "correct the address; for a lab set FLEET_ALLOW_ADDRESS=CIDR, here and for the hub"
        return Check(Level.WARN, f"{name} is not asked: {error.brief}", next_step)
    except FleetError as error:
        return Check(Level.MISS, f"{name}: {error.brief}", error.next_step)
    except ssl.SSLCertVerificationError as error:
        next_step = f"if its certificate was renewed: fleet cluster grant {name}; an expired one is renewed over there"
        return Check(Level.MISS, f"{name}: its certificate is not trusted: {error.verify_message}", next_step)
    except (OSError, http.client.HTTPException) as error:
        why = str(error) or type(error).__name__
        return Check(
            Level.WARN, f"{name} at {ticket.endpoint.place} does not answer: {why}", f"fleet describe cluster {name}"
        )
    except ValueError as error:
        next_step = f"see what answers there: fleet describe cluster {name}"
        return Check(Level.MISS, f"{name} at {ticket.endpoint.place} does not read: {error}", next_step)
    finally:
        if connection is not None:
            connection.close()
    return skew_of(said, before, after), certificate.not_valid_after_utc.timestamp()


def _dialled(host: str, port: int, rule: AddressRule) -> socket.socket:
    """Connect to an address that was checked, so that no second look-up leads elsewhere; OSError, AddressRefused."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        rule.check(host, address)
    for address in addresses[:-1]:
        with contextlib.suppress(OSError):
            return socket.create_connection((address, port), timeout=_ASK_SECONDS)
    return socket.create_connection((addresses[-1], port), timeout=_ASK_SECONDS)
