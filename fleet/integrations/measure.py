"""Reads the gates of rollouts over HTTP: instant queries of Prometheus, and plain health checks.

Whatever a server does becomes a reading in words. What is no clear answer (silence, a redirect, nonsense, more than
1 MiB, a partial result) is no reading at all: a rollout never goes on by it (R5). The hub dials nothing that R31
refuses, and shows a credential to the one server it was made for.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

import fleet
from fleet.core.gates import Read, Word, origin_of
from fleet.core.measured import judge_http, judge_prometheus
from fleet.core.rollout_policy import HttpCheck, PrometheusCheck
from fleet.errors import FleetError
from fleet.ports.gates import GateCredentials, Secret
from fleet.values import dataclass

ANSWER_LIMIT_BYTES = 1 << 20
_CONNECT_SECONDS = 5.0
_LONGEST_HEADER = 16 << 10
_CONTEXTS_KEPT = 64  # of authorities that credentials name; they change with these


class _NoAnswer(Exception):
    """There is no answer that says anything; the text says why."""


@dataclass(frozen=True, slots=True)
class Guard:
    """Says which addresses may be dialled (R31).

    resolver: raises AddressRefused for a name that stands for another one; check: for one that is written as address.
    """

    resolver: AbstractResolver
    check: Callable[[str], None]


class HttpMeasure:
    """Implements `fleet.ports.gates.Measure`.

    secure: what guards https; plain: plain http, which goes to lab addresses alone (R30).
    """

    def __init__(self, *, secure: Guard, plain: Guard, credentials: GateCredentials) -> None:
        self._guards = {"https": secure, "http": plain}
        self._credentials = credentials
        self._trusted: dict[bytes, ssl.SSLContext] = {}  # by the authority that it trusts, b"" for the system's
        self._making = asyncio.Lock()

    async def read(self, check: PrometheusCheck | HttpCheck, seconds: float) -> Read:
        """One reading; see `fleet.ports.gates.Measure`."""
        try:
            async with asyncio.timeout(seconds):
                secret = await self._credentials.secret(check.credential) if check.credential else None
                status, body, has_end = await self._get(check, secret)
        except TimeoutError:
            return Read(Word.NONE, f"no answer within {seconds:g} s")
        except _NoAnswer as error:
            return Read(Word.NONE, str(error))
        except FleetError as error:
            return Read(Word.NONE, f"{error.what}: {error.why}" if error.why else error.what)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Read(Word.NONE, _words(error))
        if isinstance(check, HttpCheck):
            return judge_http(check, status, body, has_end=has_end)
        return judge_prometheus(check, status, body)

    async def close(self) -> None:
        """Nothing is held between readings."""

    async def _get(self, check: PrometheusCheck | HttpCheck, secret: Secret | None) -> tuple[int, bytes, bool]:
        url = check.url
        if isinstance(check, PrometheusCheck):
            url = f"{url.rstrip('/')}/api/v1/query?{urlencode({'query': check.query})}"
        parts = urlsplit(url)
        guard = self._guards[parts.scheme]
        guard.check(parts.hostname or "")
        headers = {"User-Agent": f"fleet/{fleet.__version__}", "Accept-Encoding": "identity"}
        if secret is not None:
            if secret.origin != origin_of(url):
                raise _NoAnswer(f"credential {check.credential} is made for {secret.origin} alone, and not shown to it")
            headers["Authorization"] = secret.authorization
        connector = aiohttp.TCPConnector(
            resolver=guard.resolver,
            use_dns_cache=False,
            limit=1,
            force_close=True,
            ssl=True if parts.scheme == "http" else await self._trust(secret.ca if secret is not None else b""),
        )
        async with (
            aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(sock_connect=_CONNECT_SECONDS),
                max_line_size=_LONGEST_HEADER,
                max_field_size=_LONGEST_HEADER,
            ) as session,
            session.get(URL(url, encoded=True), headers=headers, allow_redirects=False) as response,
        ):
            if 300 <= response.status < 400 and not (isinstance(check, HttpCheck) and check.status == response.status):
                raise _NoAnswer(f"status {response.status}: it redirects, which is not followed")
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise _NoAnswer("its answer is packed, which was not asked for")
            is_chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
            return response.status, await _body(response), is_chunked or response.content_length is not None

    async def _trust(self, ca: bytes) -> ssl.SSLContext:
        """What verifies a server, made once: to read the authorities of a system takes 20 ms of a processor."""
        async with self._making:
            if ca not in self._trusted:
                made = await asyncio.to_thread(_context, ca)
                if len(self._trusted) >= _CONTEXTS_KEPT:
                    del self._trusted[next(iter(self._trusted))]
                self._trusted[ca] = made
            return self._trusted[ca]


async def _body(response: aiohttp.ClientResponse) -> bytes:
    parts: list[bytes] = []
    size = 0
    while chunk := await response.content.readany():
        size += len(chunk)
        if size > ANSWER_LIMIT_BYTES:
            raise _NoAnswer(f"its answer is larger than {ANSWER_LIMIT_BYTES >> 20} MiB")
        parts.append(chunk)
    return b"".join(parts)


def _context(ca: bytes) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=ca.decode("ascii")) if ca else ssl.create_default_context()


def _words(error: Exception) -> str:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return f"its certificate is not trusted: {getattr(error.certificate_error, 'verify_message', error)}"
        case aiohttp.ClientConnectorError():
            inner = cast("Any", error).os_error
            if isinstance(cause := inner.__cause__ or inner, FleetError):
                return f"{cause.what}: {cause.why}"
            return f"cannot be reached: {inner.strerror or inner}"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError():
            return "the connection broke off before its answer was whole"
        case aiohttp.ClientResponseError():
            return "it does not speak HTTP"
        case _:
            return f"no answer: {error or type(error).__name__}"
