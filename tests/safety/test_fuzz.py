"""The short form of the fuzzing, what it found, and that it finds things."""

from __future__ import annotations

import base64
import time
from pathlib import Path

import pytest
from safety.fuzz import Target, made, run
from safety.fuzz_targets import TARGETS

from fleet.core.webhook import WebhookVerdict, judge_webhook
from fleet.errors import CredentialRefused
from fleet.inventory.yamlfile import read_documents
from fleet.kube.access import FixedAccess
from fleet.kube.kubeconfig import Trust, access_from, read_kubeconfig
from fleet.kube.reflector import may_be_before
from fleet.kube.yamltree import read_yaml
from fleet.render.kustomization import read_kustomization
from fleet.render.parse import documents

SHORT = {"inventory": 10_000, "closure": 10_000, "kubeconfig": 10_000, "watch": 10_000, "webhook": 10_000}
pytestmark = pytest.mark.timeout(600)  # on a machine with much else to do


@pytest.mark.parametrize("name", SHORT)
def test_nothing_that_a_stranger_sends_crashes_hangs_or_fills_the_memory(name: str) -> None:
    found = run(TARGETS[name], SHORT[name], seed=0)
    assert found.is_clean, found
    assert found.inputs == SHORT[name]
    # Most inputs are refused early; some must come through, or all that is tested is the first check.
    good = {"said", "read", "widened", "used", "event", "accepted"}
    assert sum(found.outcomes[word] for word in good) > SHORT[name] / 50


# That it finds things


def _crashing(data: bytes) -> str:
    if b"Fleet" in data and len(data) % 50 == 7:
        raise KeyError("planted")
    if len(data) % 400 == 11:
        begun = time.thread_time()
        while time.thread_time() < begun + 1.05:
            pass
    return "fine"


def test_the_fuzzing_sees_a_crash_and_a_hang_and_repeats_them_by_their_number() -> None:
    seeds = (b"kind: Fleet\nmetadata: {name: a}\n" * 10,)
    target = Target("planted", seeds, (b"x",), lambda: _crashing)
    found = run(target, 400)
    assert found.crashes
    assert "KeyError: 'planted'" in found.crashes[0]
    number = int(found.crashes[0].split()[1])
    with pytest.raises(KeyError):
        _crashing(made(target, 0, number))
    assert any("s of CPU" in text for text in run(Target("slow", seeds, (b"x",), lambda: _crashing), 2_000).hangs)


# What it found. Each took the hub's loop, a worker or a request down, or did not end.


def test_a_signature_that_is_no_text_is_wrong_and_no_crash() -> None:
    header = b"sha256=\xff\xfe".decode(errors="surrogateescape")  # as the server's parser hands it over
    assert judge_webhook(b"{}", {"X-Fleet-Signature": header}, b"secret") is WebhookVerdict.WRONG


@pytest.mark.parametrize("text", ["0b_", "0x_", "0o_", "-0b__", "+0x___"])
def test_a_prefix_without_digits_is_text(text: str) -> None:
    assert [document.value for document in read_documents(f"a: {text}".encode())] == [{"a": text}]


@pytest.mark.parametrize(("text", "value"), [("0b_1", 1), ("0x_f", 15), ("0o_7", 7), ("1_000", 1000)])
def test_digits_may_be_set_apart(text: str, value: int) -> None:
    assert [document.value for document in read_documents(f"a: {text}".encode())] == [{"a": value}]


def test_a_key_of_a_kubeconfig_that_grows_by_aliases_is_refused_at_once() -> None:
    doubled = ", ".join(f"&a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))
    begun = time.thread_time()
    with pytest.raises(ValueError, match="line 1: a key that is no text"):
        read_yaml(f"? [&a0 [x, x], {doubled}]\n: 1\n".encode(), "config")
    assert time.thread_time() - begun < 1


@pytest.mark.parametrize("field", ["server", "proxy-url"])
@pytest.mark.parametrize(
    "url",
    [
        "https://[x]:6443",
        "https://[::1",
        "https://[::2147483648]:6443",
        "https://a:99999",
        "https:/\\t/a:1",
        "https://a :1",
    ],
)
def test_an_address_that_is_none_is_refused_with_its_line(field: str, url: str) -> None:
    server = '"https://a:6443"' if field != "server" else f'"{url}"'
    proxy = f'\n    proxy-url: "{url}"' if field == "proxy-url" else ""
    raw = (
        f"kind: Config\nclusters:\n- name: a\n  cluster:\n    server: {server}{proxy}\n"
        "contexts: [{name: a, context: {cluster: a, user: u}}]\nusers: [{name: u, user: {token: t}}]\n"
    )
    with pytest.raises(CredentialRefused, match=rf"config:{6 if proxy else 5}.*{field}"):
        access_from(read_kubeconfig(raw.encode(), "config"), Trust.HUB)


def test_a_scheme_in_capitals_is_asked_with_the_clusters_own_authority() -> None:
    """Else TLS would be verified by whatever the system trusts."""
    raw = (
        'kind: Config\nclusters: [{name: a, cluster: {server: "HTTPS://a:6443", proxy-url: "Socks5://p:1"}}]\n'
        "contexts: [{name: a, context: {cluster: a, user: u}}]\nusers: [{name: u, user: {token: t}}]\n"
    )
    access = access_from(read_kubeconfig(raw.encode(), "config"), Trust.HUB)
    assert isinstance(access, FixedAccess)
    assert access.fixed.endpoint.server == "https://a:6443"
    assert access.fixed.endpoint.proxy == "socks5://p:1"


def test_a_path_with_a_zero_byte_is_refused(tmp_path: Path) -> None:
    ca = base64.b64encode(b"x").decode()
    raw = (
        f'kind: Config\nclusters: [{{name: a, cluster: {{server: "https://a", certificate-authority-data: {ca}}}}}]\n'
        "contexts: [{name: a, context: {cluster: a, user: u}}]\n"
        'users: [{name: u, user: {client-certificate: "a\\0b", client-key-data: QQ==}}]\n'
    )
    with pytest.raises(CredentialRefused, match="client-certificate"):
        access_from(read_kubeconfig(raw.encode(), str(tmp_path / "config")), Trust.PERSON)


def test_a_resource_version_of_thousands_of_digits_is_compared() -> None:
    assert may_be_before("9" * 5000, "1" + "0" * 5000)
    assert not may_be_before("1" + "0" * 5000, "9" * 5000)
    assert may_be_before("0009", "10")
    assert not may_be_before("10", "0010")
    assert may_be_before("٣", "10"), "no number to a server: another history"


@pytest.mark.parametrize("text", ["9" * 60_000 + "x", "9" * 60_000, "1." + "9" * 60_000 + "x"])
def test_a_long_row_of_digits_is_read_at_once(text: str) -> None:
    begun = time.thread_time()
    documents(f"a: {text}".encode())
    read_kustomization(f"namePrefix: {text}".encode())
    assert time.thread_time() - begun < 1


@pytest.mark.parametrize("text", ["1e999", "-1e999", ".5e999", "7e12345", "9" * 400, "9" * 5000])
def test_what_is_beyond_all_numbers_stays_the_text_that_kustomize_wrote(text: str) -> None:
    """A short commit id such as 7e12345 comes without quotes; as infinity it became null."""
    assert documents(f"a: {text}".encode()) == [{"a": text}]
