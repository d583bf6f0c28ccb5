"""Addresses the hub never dials (R31)."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis.strategies import ip_addresses
from kube.hostile import World

from fleet.errors import AddressRefused
from fleet.kube.addresses import AddressRule, own_addresses

STRANGER = AddressRule(own=frozenset)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("127.0.0.1", "loopback"),
        ("127.8.9.1", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("64:ff9b::7f00:1", "loopback"),
        ("2002:7f00:1::", "loopback"),
        ("169.254.169.254", "metadata"),
        ("::ffff:169.254.169.254", "metadata"),
        ("fd00:ec2::254", "metadata"),
        ("100.100.100.200", "metadata"),
        ("169.254.7.7", "link-local"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("0.0.0.0", "no address of a host"),
        ("::", "no address of a host"),
        ("224.0.0.1", "no address of a host"),
        ("255.255.255.255", "no address of a host"),
    ],
)
def test_such_an_address_is_refused_with_the_reason(address: str, why: str) -> None:
    assert why in STRANGER.refusal(address)


@pytest.mark.parametrize("address", ["10.7.0.1", "192.168.1.4", "172.16.0.9", "8.8.8.8", "2001:db8::5", "fd12::7"])
def test_private_and_public_addresses_are_dialled(address: str) -> None:
    assert STRANGER.refusal(address) == ""


@given(ip_addresses())
def test_an_address_of_the_hub_itself_is_refused(address: ipaddress.IPv4Address) -> None:
    assert AddressRule(own=lambda: frozenset({address})).refusal(str(address)) != ""


def test_the_addresses_of_this_machine_are_known() -> None:
    assert ipaddress.ip_address("127.0.0.1") in own_addresses()


@given(ip_addresses(v=4))
def test_allowing_a_network_allows_what_is_in_it_and_nothing_else(address: ipaddress.IPv4Address) -> None:
    lab = ipaddress.ip_network("127.0.0.0/9")
    rule = AddressRule(allowed=(lab,), own=frozenset)
    assert rule.refusal(str(address)) == ("" if address in lab else STRANGER.refusal(str(address)))


@given(ip_addresses())
def test_a_persons_own_commands_dial_what_the_person_may(address: ipaddress.IPv4Address) -> None:
    assert AddressRule(guarded=False).refusal(str(address)) == ""


async def test_an_address_that_is_written_out_is_refused_before_any_connection(world: World) -> None:
    with pytest.raises(AddressRefused, match="--allow-address"):
        async with world.connected(allowed=()):
            pass
    assert world.server.connections == 0


NOT_IN_FULL = (
    "127.1",
    "127.0.0.1.",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "0",
    "0x",
    "1.2.3.4.5",
    "１２７.0.0.1",
    "127。0。0。1",
    "::1::2",
)


@pytest.mark.parametrize("host", NOT_IN_FULL)
def test_an_address_that_is_not_written_in_full_is_refused(host: str) -> None:
    for rule in (STRANGER, AddressRule(allowed=(ipaddress.ip_network("0.0.0.0/0"),), own=frozenset)):
        with pytest.raises(AddressRefused, match="not written in full"):
            rule.check_literal(host)
    AddressRule(guarded=False).check_literal(host)  # a person's own command


@pytest.mark.parametrize(
    "host", ["10.7.0.1", "2001:db8::5", "fd12::7%eth0", "api.example.org", "api-1", "0xfleet", "k8s.a1", ""]
)
def test_an_address_in_full_and_a_name_pass(host: str) -> None:
    STRANGER.check_literal(host)


async def test_a_name_that_resolves_to_a_refused_address_is_refused(world: World) -> None:
    config = world.kubeconfig(server=f"https://localhost:{world.server.port}")
    with pytest.raises(AddressRefused, match=r"localhost \((127\.0\.0\.1|::1)\) is not dialled"):
        async with world.connected(config, allowed=()):
            pass
    assert world.server.connections == 0
    async with world.connected(config) as kube:
        assert kube.version == "v1.36.3"
