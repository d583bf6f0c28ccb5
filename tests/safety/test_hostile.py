"""The hostile cases are many and different; those of the repo are refused here without a hub, by the same readers.

All of them against a whole hub, with what the kernel saw of it: `python -m safety hostile`.
"""

from __future__ import annotations

import pytest
from safety.hostile_repo import INVENTORY, OVERLAYS, files
from safety.hostile_runs import ADDRESSES, CONNECT, KUBECONFIGS, MADE, URLS

from fleet.core.refusals import rule_of
from fleet.errors import AddressRefused, GitUrlRefused
from fleet.kube.addresses import AddressRule
from fleet.source.url import parse_url


def test_there_are_at_least_sixty_different_cases_and_each_has_a_rule() -> None:
    assert len(OVERLAYS) + len(INVENTORY) + len(ADDRESSES) + len(KUBECONFIGS) + len(URLS) >= 60
    reasons = {case.reason for case in OVERLAYS.values()} | {reason for _, _, reason in INVENTORY.values()}
    assert all(rule_of(reason) for reason in reasons)
    assert len({str(case) for case in OVERLAYS.values()}) == len(OVERLAYS)
    assert files().keys() >= {path for path, _, _ in INVENTORY.values()}


@pytest.mark.parametrize("url", URLS)
def test_a_hostile_url_is_refused(url: str) -> None:
    with pytest.raises(GitUrlRefused):
        parse_url(url)


@pytest.mark.parametrize("host", ADDRESSES.values(), ids=ADDRESSES)
def test_a_hostile_address_is_refused(host: str) -> None:
    with pytest.raises(AddressRefused):
        AddressRule(own=frozenset).check_literal(host.strip("[]"))


def test_what_the_kernel_tells_is_read() -> None:
    four = '7 connect(9, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("10.0.0.1")}, 16) = 0'
    six = '7 connect(9, {sa_family=AF_INET6, sin6_port=htons(80), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "fe80::1", &sin6_addr)}, 28) = 0'  # noqa: E501
    made = '7 openat(AT_FDCWD, "/etc/x", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 3'
    for line, host, port in ((four, "10.0.0.1", "443"), (six, "fe80::1", "80")):
        match = CONNECT.search(line)
        assert match is not None
        assert ((match["host4"] or match["host6"]), (match["port4"] or match["port6"])) == (host, port)
    assert (match := MADE.search(made)) is not None
    assert match["path"] == "/etc/x"
    assert MADE.search('7 openat(AT_FDCWD, "/etc/x", O_RDONLY) = 3') is None
