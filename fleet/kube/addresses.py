"""Which addresses the hub may dial: never loopback, link-local, metadata services or itself (R31).

Judged after name resolution, on every connection: a name that was harmless a minute ago may point elsewhere now.
The hub's own configuration can allow lab addresses by CIDR; nothing in the repo can.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import unicodedata
from collections.abc import Callable
from typing import TypeAlias

import psutil
from aiohttp.abc import AbstractResolver, ResolveResult

from fleet.errors import AddressRefused
from fleet.kube.lookups import resolve
from fleet.values import dataclass

Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"
Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"

_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",  # most clouds; link-local as well
        "fd00:ec2::254",  # AWS over IPv6
        "100.100.100.200",  # Alibaba Cloud
        "168.63.129.16",  # Azure's wire server
        "192.0.0.192",  # Oracle Cloud
    )
)
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+").fullmatch
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def own_addresses() -> frozenset[Address]:
    """The addresses of this machine's interfaces, as they are now."""
    found: set[Address] = set()
    for addresses in psutil.net_if_addrs().values():
        for entry in addresses:
            if entry.family in (socket.AF_INET, socket.AF_INET6):
                found.add(ipaddress.ip_address(entry.address.split("%", 1)[0]))
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class AddressRule:
    """Says what may be dialled.

    guarded False: a person's own commands, which may dial what that person may.
    """

    guarded: bool = True
    allowed: tuple[Network, ...] = ()
    only_allowed: bool = False  # for plain http, which shows and believes what anybody on the way wants
    own: Callable[[], frozenset[Address]] = own_addresses

    def refusal(self, text: str) -> str:
        """Why this address is not dialled; "" where it may be."""
        if not self.guarded:
            return ""
        address = _plain(ipaddress.ip_address(text.split("%", 1)[0]))
        if any(address.version == network.version and address in network for network in self.allowed):
            return ""
        if self.only_allowed:
            return "asked by plain http, and is no lab address that the hub was allowed"
        if address in _METADATA:
            return "a metadata service"
        if address.is_loopback:
            return "a loopback address"
        if address.is_link_local:
            return "a link-local address"
        if address.is_unspecified or address.is_multicast or address.is_reserved:
            return "no address of a host"
        return "an address of the hub itself" if address in map(_plain, self.own()) else ""

    def check(self, host: str, address: str) -> None:
        """Raise AddressRefused where the address that `host` stands for may not be dialled."""
        if why := self.refusal(address):
            named = address if host == address else f"{host} ({address})"
            raise AddressRefused(
                f"{named} is not dialled",
                where=host,
                why=f"it is {why} (R31)",
                next_step="correct the address; for a lab start the hub with --allow-address CIDR",
            )

    def check_literal(self, host: str) -> None:
        """The check for a host that is written as an address, which no resolver ever sees.

        What others read as one and this does not (`127.1`, `0x7f000001`, `2130706433`) is refused: no name of the DNS
        ends in a number.
        """
        try:
            ipaddress.ip_address(host)
        except ValueError:
            if self.guarded and _ends_in_a_number(host):
                raise AddressRefused(
                    f"{host} is not dialled",
                    where=host,
                    why="it is an address that is not written in full, which may stand for any (R31)",
                    next_step="write the address in full, or a name",
                ) from None
            return
        self.check(host, host)


def _ends_in_a_number(host: str) -> bool:
    """Whether a host is an address to somebody, as browsers tell; digits and dots of other scripts are such too."""
    plain = unicodedata.normalize("NFKC", host).replace("\u3002", ".").rstrip(".")
    return ":" in plain or _NUMBER(plain.rpartition(".")[2]) is not None


def _plain(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one, where there is one: ::ffff:127.0.0.1 is loopback too."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address in _NAT64:
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return inner or address


class CheckedResolver(AbstractResolver):
    """Resolves by the system, in `seconds`, and refuses a name as a whole when any of its addresses is refused."""

    def __init__(self, rule: AddressRule, seconds: float = 10.0) -> None:
        self._rule, self._seconds = rule, seconds

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host; OSError where there are none, AddressRefused where one may not be dialled."""
        addresses = await resolve(host, port, family, seconds=self._seconds)
        for address in addresses:
            self._rule.check(host, address)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""
