"""One request and its answer on the wire: headers made ahead, bodies read with a limit, gzip opened with a limit."""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping

import aiohttp
from multidict import CIMultiDict
from yarl import URL

import fleet
from fleet.core.clocks import moment_of
from fleet.core.retry import retry_after_of
from fleet.errors import AnswerInvalid
from fleet.kube.access import Ticket
from fleet.kube.answers import Asked, Reply, warnings_of
from fleet.kube.limits import KubeLimits
from fleet.kube.troubles import CONNECTION_ERRORS, error_of_connection
from fleet.kube.weight import values_in
from fleet.kube.wire import Line
from fleet.values import dataclass

JSON = "application/json"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `target` is path and query, escaped already."""

    method: str
    target: str
    asked: Asked
    accept: str = JSON
    content_type: str = ""
    body: bytes | None = None
    compressed: bool = False  # ask for gzip: for long answers


class Headers:
    """The headers of a ticket's requests, made once for each kind of request."""

    def __init__(self, ticket: Ticket) -> None:
        self._made: dict[tuple[str, str, bool], CIMultiDict[str]] = {}
        self._compress = ticket.endpoint.compress
        self._always: list[tuple[str, str]] = [("User-Agent", f"fleet/{fleet.__version__}"), *ticket.endpoint.headers]
        if ticket.authorization:
            self._always.append(("Authorization", ticket.authorization))

    def of(self, request: Request) -> CIMultiDict[str]:
        """The headers for a request; not to be changed."""
        key = (request.accept, request.content_type, request.compressed)
        made = self._made.get(key)
        if made is None:
            made = CIMultiDict(self._always)
            made["Accept"] = request.accept
            made["Accept-Encoding"] = "gzip" if request.compressed and self._compress else "identity"
            if request.content_type:
                made["Content-Type"] = request.content_type
            self._made[key] = made
        return made


async def exchange(
    line: Line, headers: Mapping[str, str], request: Request, limits: KubeLimits, *, write: bool = False
) -> Reply:
    """Send once and receive; raises ClusterError where there is no whole answer. The total deadline is the caller's.

    A read ends when it is idle for too long. A write that is silent cannot be told from one that waits for a webhook,
    so it has the total deadline alone (and costs no timer for each piece of its answer).
    """
    try:
        async with line.session.request(
            request.method,
            URL(line.base + request.target, encoded=True),
            data=request.body,
            headers=headers,
            allow_redirects=False,
            timeout=line.write_timeout if write else line.read_timeout,
        ) as response:
            return reply_of(response, await read_body(response, request.asked, limits), request.asked)
    except CONNECTION_ERRORS as error:
        raise error_of_connection(error, request.asked, line.endpoint.place, limits, write=write) from error


def reply_of(response: aiohttp.ClientResponse, body: bytes, asked: Asked) -> Reply:
    """Status and the few headers that count."""
    headers = response.headers
    after, date = headers.get("Retry-After"), headers.get("Date", "")
    return Reply(
        status=response.status,
        content_type=_type_of(response),
        retry_after=None if after is None else retry_after_of(after, moment_of(date) or time.time()),
        warnings=warnings_of(headers.getall("Warning"), secret=asked.secret) if "Warning" in headers else (),
        body=body,
        date=date,
    )


async def read_body(response: aiohttp.ClientResponse, asked: Asked, limits: KubeLimits) -> bytes:
    """The whole body, opened; AnswerInvalid when it is beyond a limit or its gzip is broken."""
    limit_bytes = limits.answer_bytes
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding not in ("identity", "gzip"):
        response.close()
        raise _invalid(asked, f"the answer is packed as {encoding!r:.40}, which was not asked for")
    opened = _Gzip(asked) if encoding == "gzip" else None
    parts: list[bytes] = []
    size = 0
    while chunk := await response.content.readany():
        if opened is not None:
            chunk = opened.open(chunk, limit_bytes - size)
        size += len(chunk)
        if size > limit_bytes:
            response.close()
            raise _invalid(asked, f"the answer is larger than {limit_bytes >> 20} MiB")
        parts.append(chunk)
    if opened is not None:
        opened.end()
    body = parts[0] if len(parts) == 1 else b"".join(parts)
    if _type_of(response).endswith("json") and values_in(body, limits.answer_values) > limits.answer_values:
        raise _invalid(asked, f"the answer holds more than {limits.answer_values} values")
    return body


def _type_of(response: aiohttp.ClientResponse) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


class _Gzip:
    """Opens gzip piece by piece, never further than a limit: a small body can hold gigabytes."""

    def __init__(self, asked: Asked) -> None:
        self._asked, self._inflate = asked, zlib.decompressobj(wbits=31)

    def open(self, packed: bytes, left: int) -> bytes:
        """At most one byte more than `left`, so that the caller sees the limit broken."""
        try:
            return self._inflate.decompress(packed, left + 1)
        except zlib.error:
            raise _invalid(self._asked, "the answer's gzip is broken") from None

    def end(self) -> None:
        """Raise where the packed stream was not whole."""
        if not self._inflate.eof:
            raise _invalid(self._asked, "the answer's gzip broke off")


def _invalid(asked: Asked, why: str) -> AnswerInvalid:
    return AnswerInvalid(
        f"cannot {asked.what}",
        where=asked.where,
        why=why,
        next_step="see what answers at this address: a proxy, a login page, another server",
    )
