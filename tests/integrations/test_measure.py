"""Gates read real servers on loopback that behave badly: each misbehaviour is a reading in words, in time."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from badserver import BadServer, bad_server, vector

from fleet.core.gates import Read, Word, origin_of
from fleet.core.rollout_policy import HttpCheck, PrometheusCheck
from fleet.errors import CredentialRefused
from fleet.integrations.gate_credentials import NamedSecrets, is_gate_credential, secret_of
from fleet.integrations.measure import Guard, HttpMeasure
from fleet.kube.addresses import AddressRule, CheckedResolver

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


def measure_of(directory: Path | None = None, *, lab: bool = True) -> HttpMeasure:
    allowed = LOOPBACK if lab else ()
    rules = (AddressRule(allowed=allowed), AddressRule(allowed=allowed, only_allowed=True))
    secure, plain = (Guard(CheckedResolver(rule), rule.check_literal) for rule in rules)
    return HttpMeasure(secure=secure, plain=plain, credentials=NamedSecrets(directory))


@pytest.fixture
async def server() -> AsyncIterator[BadServer]:
    async with bad_server() as made:
        yield made


async def read(server: BadServer, *, directory: Path | None = None, credential: str = "", seconds: float = 5.0) -> Read:
    check = PrometheusCheck(server.url, "sum(x)", below=1.0, credential=credential)
    return await measure_of(directory).read(check, seconds)


async def test_a_value_is_read_and_500_then_ok_is_none_then_good(server: BadServer) -> None:
    server.say("oops", 500)
    assert (await read(server)).word is Word.NONE
    server.say(vector("0.25"))
    assert await read(server) == Read(Word.GOOD, "0.25")
    assert server.asked[-1][0] == "/api/v1/query?query=sum%28x%29"
    assert "Authorization" not in server.asked[-1][1]


async def test_a_health_check_that_answers_500_is_bad_and_then_good(server: BadServer) -> None:
    check = HttpCheck(f"{server.url}/healthz?full=1", contains="ok")
    server.say("ok", 500)
    assert await measure_of().read(check, 5.0) == Read(Word.BAD, "status 500, not 200")
    server.say("ok")
    assert (await measure_of().read(check, 5.0)).word is Word.GOOD
    assert server.asked[-1][0] == "/healthz?full=1"


@pytest.mark.parametrize("kind", [HttpCheck, PrometheusCheck])
async def test_10_mb_a_redirect_and_packed_answers_are_no_reading(server: BadServer, kind: type) -> None:
    check = HttpCheck(server.url) if kind is HttpCheck else PrometheusCheck(server.url, "x", 1.0)
    server.say(b"x" * (10 << 20))
    assert await measure_of().read(check, 5.0) == Read(Word.NONE, "its answer is larger than 1 MiB")
    server.say("", 302, Location="http://127.0.0.1:1/elsewhere")
    before = len(server.asked)
    assert "redirects" in (await measure_of().read(check, 5.0)).text
    assert len(server.asked) == before + 1
    server.say(b"", 200, **{"Content-Encoding": "gzip"})
    assert "packed" in (await measure_of().read(check, 5.0)).text


@pytest.mark.parametrize("way", ["mute", "drip"])
async def test_a_server_that_never_answers_is_no_reading_in_time(server: BadServer, way: str) -> None:
    setattr(server, way, True)
    began = time.monotonic()
    found = await read(server, seconds=0.5)
    assert found == Read(Word.NONE, "no answer within 0.5 s")
    assert time.monotonic() - began < 5.0


async def test_what_does_not_speak_http_or_is_not_there_is_no_reading() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n")
        writer.close()

    listener = await asyncio.start_server(talk, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    assert (await measure_of().read(HttpCheck(url), 5.0)).word is Word.NONE
    listener.close()
    await listener.wait_closed()
    found = await measure_of().read(HttpCheck(url), 5.0)
    assert found.word is Word.NONE
    assert "cannot be reached" in found.text


@pytest.mark.parametrize(("head", "word"), [("", Word.NONE), ("Content-Length: 2\r\n", Word.BAD)])
async def test_a_body_that_a_closed_connection_ended_says_nothing_of_what_is_missing(head: str, word: Word) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\n{head}\r\nre".encode())
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(talk, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    found = await measure_of().read(HttpCheck(url, contains="ready"), 5.0)
    listener.close()
    await listener.wait_closed()
    assert found.word is word, found


async def test_addresses_that_r31_refuses_and_plain_http_are_not_dialled(server: BadServer) -> None:
    port = server.url.rpartition(":")[2]
    for url in (server.url, f"http://localhost:{port}", f"https://localhost:{port}", "https://169.254.169.254"):
        found = await measure_of(lab=False).read(HttpCheck(url), 5.0)
        assert found.word is Word.NONE
        assert "is not dialled" in found.text, found
    found = await measure_of(lab=False).read(HttpCheck("http://192.0.2.7/healthz"), 5.0)
    assert "plain http" in found.text
    assert not server.asked
    server.say("ok")
    assert (await measure_of().read(HttpCheck(f"http://localhost:{port}"), 5.0)).word is Word.GOOD  # the harmless twin


async def test_an_untrusted_certificate_is_no_reading_and_its_authority_makes_it_one(tmp_path: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with bad_server(ssl=context) as server:
        server.say(vector("0"))
        assert "certificate" in (await read(server)).text
        pem = authority.cert_pem.bytes().decode().replace("\n", "\n  ")
        (tmp_path / "prom.gate").write_text(f"url: {server.url}\ntoken: s3cret\nca: |\n  {pem}\n")
        assert await read(server, directory=tmp_path, credential="prom") == Read(Word.GOOD, "0")


async def test_what_verifies_servers_is_made_once_for_each_authority_and_never_on_the_loop(
    tmp_path: Path, server: BadServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    real, authority, context = (
        ssl.create_default_context,
        trustme.CA(),
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
    )
    authority.issue_cert("127.0.0.1").configure_cert(context)

    def counted(*arguments: Any, **named: Any) -> ssl.SSLContext:
        made.append(threading.get_ident())
        return real(*arguments, **named)

    monkeypatch.setattr(ssl, "create_default_context", counted)
    measure = measure_of(tmp_path)
    server.say("ok")
    assert (await measure.read(HttpCheck(server.url), 5.0)).word is Word.GOOD
    assert made == []
    async with bad_server(ssl=context) as secure:
        secure.say("ok")
        pem = authority.cert_pem.bytes().decode().replace("\n", "\n  ")
        (tmp_path / "own.gate").write_text(f"url: {secure.url}\ntoken: s3cret\nca: |\n  {pem}\n")
        own, plain = HttpCheck(secure.url, credential="own"), HttpCheck(secure.url)
        found = await asyncio.gather(*(measure.read(check, 5.0) for check in [own, plain] * 10))
    assert {each.word for each in found[::2]} == {Word.GOOD}
    assert {each.word for each in found[1::2]} == {Word.NONE}, "what trusts one server is no trust in another"
    assert len(made) == 2
    assert threading.get_ident() not in made


async def test_a_credential_is_shown_to_its_own_server_alone(tmp_path: Path, server: BadServer) -> None:
    server.say(vector("0"))
    (tmp_path / "prom.gate").write_text(f"url: {server.url}/prometheus\ntoken: s3cret\n")
    assert (await read(server, directory=tmp_path, credential="prom")).word is Word.GOOD
    assert server.asked[-1][1]["Authorization"] == "Bearer s3cret"
    (tmp_path / "other.gate").write_text("url: https://prometheus.acme.io\ntoken: s3cret\n")
    before = len(server.asked)
    found = await read(server, directory=tmp_path, credential="other")
    assert found.word is Word.NONE
    assert "is made for https://prometheus.acme.io:443 alone" in found.text
    assert "s3cret" not in found.text
    assert "there is no credential gone" in (await read(server, directory=tmp_path, credential="gone")).text
    assert len(server.asked) == before


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("token: s3cret", "url is missing"),
        ("url: https://x", "give token"),
        ("url: https://x\ntoken: s3cret\nusername: u\npassword: p", "give token"),
        ("url: ftp://x\ntoken: s3cret", "no URL of a server"),
        ("url: https://x\ntoken: s3cret\nhost: y", "'host' is not known"),
        ("url: https://x\ntoken: [s3cret]", "a value is no text"),
        ("- s3cret", "no mapping"),
        ("{", "no YAML"),
    ],
)
def test_a_credential_that_cannot_be_used_is_refused_without_showing_it(text: str, why: str) -> None:
    with pytest.raises(CredentialRefused) as caught:
        secret_of(text.encode(), "prom")
    assert why in caught.value.why
    assert "s3cret" not in str(caught.value)


def test_a_kubeconfig_is_never_taken_for_a_gates_credential() -> None:
    assert is_gate_credential(b"url: https://x\ntoken: t")
    assert not is_gate_credential(b"apiVersion: v1\nkind: Config\nclusters: []\nurl: x")
    assert secret_of(b"url: https://X.io/\nusername: u\npassword: p", "p").authorization == "Basic dTpw"
    assert origin_of("https://[::1]/x") == "https://[::1]:443"
