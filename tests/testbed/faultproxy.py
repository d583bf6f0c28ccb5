"""A proxy in front of a real API server that plays the simulator's faults and keeps a ledger of the same shape.

Faults, their order and what they mean are the simulator's own (`fleet.sim.faults`, `fleet.sim.front`); behind them
stands a real server instead of a simulated one. Where no fault is set everything goes through as it is: watches as
they come and no faster than they are read, a token as it was sent; for a client certificate, whose key a proxy has
not, it shows one of the same name from the same authority.

`stale` answers from the real history: the list of that one object at an exact earlier resourceVersion. `versions`
counts the revisions of etcd, which all that is stored in it moves on. `clock` moves the times that the server
wrote down as they are read.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
import tempfile
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from testbed.authority import Authority
from testbed.controlplane import ADMIN, ControlPlane
from yarl import URL

from fleet.core.documents import parse_document, text_at
from fleet.core.objects import OWNER_ANNOTATION
from fleet.sim.calls import Call, body_of, delete_options_of
from fleet.sim.faults import Faults
from fleet.sim.front import Front
from fleet.sim.ledger import WRITES, Ledger, Met
from fleet.sim.port import Port
from fleet.sim.statuses import ApiError, not_found
from fleet.sim.watch import Stream

_OF_ONE_HOP = ("Connection", "Keep-Alive", "Transfer-Encoding", "Content-Length", "TE", "Upgrade", "Host")
_LANDING_SECONDS = 30.0
User = tuple[str, str]  # common name and organisation of a client certificate; ("", "") for a token


class Broken(Exception):
    """The real server's answer broke off, or there was none: the client's connection breaks, too."""


class FaultProxy:
    """Use as an async context manager, then as a control plane: `kubeconfig`, `faults`, `ledger`, `cut`."""

    def __init__(self, plane: ControlPlane, *, name: str = "") -> None:
        self.plane = plane
        self.faults = Faults()
        self.ledger = Ledger(name or plane.name)
        self.passing: set[_Passing] = set()  # watches that are open
        self._front = Front(self.faults, self.ledger, self._behind)
        self._port = Port(plane.name, self.faults)
        self._sessions: dict[User, aiohttp.ClientSession] = {}
        self._false_identity = str(uuid.uuid4())

    async def __aenter__(self) -> FaultProxy:
        certificate, key = Authority(self.plane.folder).issue_server("127.0.0.1", "localhost")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.plane.ca_file))
        context.verify_mode = ssl.CERT_OPTIONAL
        _show(context, certificate, key)
        await self._port.open(self._front, context)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.faults.clear()
        self.cut()
        await self._port.close()
        await asyncio.gather(*(session.close() for session in self._sessions.values()))

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._port.number}"

    def kubeconfig(self, user: str = ADMIN, **options: Any) -> dict[str, Any]:
        """As the control plane's own, but through the proxy."""
        config = self.plane.kubeconfig(user, **options)
        config["clusters"][0]["cluster"]["server"] = self.url
        return config

    def cut(self) -> None:
        """Break all open connections of clients."""
        self._port.cut()

    # One request

    async def _behind(self, call: Call) -> web.StreamResponse:
        target = call.target
        if target.verb == "get" and target.name and not target.subresource:
            fault = self.faults.hit("stale", target, call.agent)
            if fault is not None:
                return await self._past(call, fault.versions)
        try:
            if target.verb == "watch":
                return await self._watch(call)
            return await self._passed(call)
        except (aiohttp.ClientError, Broken, OSError):
            if call.request.transport is not None:
                call.request.transport.abort()
            raise ApiError(500, "InternalError", "the server behind is gone") from None

    async def _passed(self, call: Call) -> web.Response:
        body = await body_of(call.request)
        if call.target.verb == "delete":
            call.met = await self._met(call, body)
        sent = asyncio.create_task(self._exchange(call, body))
        try:
            return await asyncio.shield(sent)
        except asyncio.CancelledError:
            # The client hung up: what was sent for it lands all the same, and the ledger has to know.
            if call.target.verb in WRITES:
                with contextlib.suppress(aiohttp.ClientError, Broken, TimeoutError):
                    async with asyncio.timeout(_LANDING_SECONDS):
                        call.was_answered((await sent).status)
            else:
                sent.cancel()
            raise

    async def _exchange(self, call: Call, body: bytes) -> web.Response:
        async with self._session(call).request(**self._request(call, body)) as answer:
            raw = await answer.read()
            headers = _headers_of(answer.headers)
            if call.target.verb == "delete":
                call.met = _met_at_last(call.met, answer, raw)
            raw = moved(raw, self.faults.ahead)
            if answer.status == 200:
                raw = self.faults.disguised(raw, call.target, call.agent, self._false_identity)
            return web.Response(status=answer.status, headers=headers, body=raw)

    async def _watch(self, call: Call) -> web.StreamResponse:
        async with self._session(call).request(**self._request(call, b"")) as answer:
            headers = _headers_of(answer.headers)
            if answer.status != 200:
                return web.Response(status=answer.status, headers=headers, body=await answer.read())
            stream = _Passing(self.faults)
            response = web.StreamResponse(headers={**headers, **self.faults.date()})
            response.enable_chunked_encoding()
            self.faults.on_watch(stream, call.target, call.agent)
            self._front.record(call, 200)
            self.passing.add(stream)
            pump = asyncio.create_task(_pump(answer, stream))
            try:
                writer = await response.prepare(call.request)
                if writer is not None:
                    writer.send_headers()
                await stream.run(response)
                if stream.is_broken:
                    raise Broken
                await response.write_eof()
            except ConnectionError:
                pass  # the client hung up
            finally:
                self.passing.discard(stream)
                pump.cancel()
            return response

    def _request(self, call: Call, body: bytes) -> dict[str, Any]:
        url = URL(self.plane.url + call.request.raw_path, encoded=True)
        headers = _headers_of(call.request.headers)
        if self.faults.ahead:
            headers["Accept-Encoding"] = "identity"  # so that it can be read here
        return {"method": call.request.method, "url": url, "headers": headers, "data": body or None}

    def _session(self, call: Call | None = None) -> aiohttp.ClientSession:
        shown = call.request.get_extra_info("peercert") if call is not None else None
        subject = {key: value for part in (shown or {}).get("subject", ()) for key, value in part}
        user = (subject.get("commonName", ""), subject.get("organizationName", ""))
        if user not in self._sessions:
            context = ssl.create_default_context(cafile=str(self.plane.ca_file))
            if shown:
                _show(context, *Authority(self.plane.folder).issue_client(user[0], (user[1],)))
            self._sessions[user] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context, limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                middlewares=(_send_once,),
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
            )
        return self._sessions[user]

    # What the simulator reads in its own store

    async def _met(self, call: Call, body: bytes) -> Met:
        """What stands under the name that is to be deleted, and what the delete asks for."""
        try:
            asked = delete_options_of(call, body)
        except ApiError:
            asked = {}  # the real server says what is wrong
        wanted = (text_at(asked, "preconditions", field) for field in ("uid", "resourceVersion"))
        status, found = await self._read(call.target.path, {})
        if status != 200:
            return Met("", "", *wanted)
        return Met(found["metadata"]["uid"], text_at(found, "metadata", "annotations", OWNER_ANNOTATION), *wanted)

    async def _past(self, call: Call, versions: int) -> web.Response:
        """An object as it was so many revisions ago."""
        target, accept = call.target, call.request.headers.get("Accept", "")
        path = target.path.rpartition("/")[0]
        _, newest = await self._read(path, {"limit": "1"})
        then = max(1, int(newest["metadata"]["resourceVersion"]) - versions)
        query = {"fieldSelector": f"metadata.name={target.name}", "resourceVersionMatch": "Exact"}
        accept = accept.replace("as=PartialObjectMetadata;", "as=PartialObjectMetadataList;")
        status, listed = await self._read(path, {**query, "resourceVersion": str(then)}, accept=accept)
        if status != 200:
            raise RuntimeError(f"the state of {target.path} {versions} revisions ago cannot be had: {listed}")
        if not listed["items"]:
            raise not_found(target.resource, target.group, target.name)
        kinds = {"kind": listed["kind"].removesuffix("List"), "apiVersion": listed["apiVersion"]}
        found = json.dumps({**kinds, **listed["items"][0]}).encode()
        return web.Response(body=moved(found, self.faults.ahead), content_type="application/json")

    async def _read(self, path: str, query: Mapping[str, str], *, accept: str = "application/json") -> tuple[int, Any]:
        """The proxy's own look, as administrator: no entry of the ledger."""
        headers = {"Authorization": f"Bearer {self.plane.tokens[ADMIN]}", "User-Agent": "testbed", "Accept": accept}
        async with self._session().get(self.plane.url + path, params=query, headers=headers) as answer:
            return answer.status, json.loads(await answer.read())


_DATED = re.compile(
    rb'("(?:creationTimestamp|deletionTimestamp|time|startTime|completionTime|startedAt|finishedAt|renewTime|'
    rb'last[A-Za-z]*Time|firstTimestamp|lastTimestamp|eventTime)": ?")(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)'
)


def moved(raw: bytes, seconds: float) -> bytes:
    """What the server dated, by a clock that is so far ahead."""

    def later(found: re.Match[bytes]) -> bytes:
        moment = datetime.fromisoformat(found[2].decode()) + timedelta(seconds=seconds)
        return found[1] + moment.isoformat(timespec="seconds").encode()

    return _DATED.sub(later, raw) if seconds else raw


class _Passing(Stream):
    """A watch that is handed on; the next piece is read when the last one has been taken."""

    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self._faults, self._rest = faults, b""  # a line that has not come to its end
        self.is_broken = False
        self.size = 0  # bytes that were read from the server behind
        self._taken = asyncio.Event()

    async def _write(self, response: web.StreamResponse, batch: bytes) -> None:
        await super()._write(response, batch)
        self._taken.set()

    async def pass_on(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self._faults.ahead or self._rest:
            lines, _, self._rest = (self._rest + chunk).rpartition(b"\n")
            if not lines:
                return
            chunk = moved(lines + b"\n", self._faults.ahead)
        self._taken.clear()
        self.send(chunk)
        if not (self.silent or self.closed):
            await self._taken.wait()


async def _pump(answer: aiohttp.ClientResponse, stream: _Passing) -> None:
    try:
        while not stream.closed and (chunk := await answer.content.readany()):
            await stream.pass_on(chunk)
    except (aiohttp.ClientError, OSError):
        stream.is_broken = True
    stream.close()


async def _send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Turn the errors after which aiohttp repeats a request by itself into one that it does not know."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise Broken(str(error)) from error


def _met_at_last(met: Met, answer: aiohttp.ClientResponse, raw: bytes) -> Met:
    """What the delete met by its own answer: it may have been made anew since it was looked at."""
    if answer.status >= 400:
        return met
    said = parse_document(raw)
    if text_at(said, "kind") != "Status":
        owner = text_at(said, "metadata", "annotations", OWNER_ANNOTATION)
        return met._replace(uid=text_at(said, "metadata", "uid"), owner=owner)
    uid = text_at(said, "details", "uid")
    return met if uid in {"", met.uid} else met._replace(uid=uid, owner="")


def _headers_of(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """Without those that speak of one connection alone."""
    made = CIMultiDict(headers)
    for name in _OF_ONE_HOP:
        made.popall(name, None)
    return made


def _show(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="fault-proxy-") as folder:
        pem = Path(folder, "pem")
        pem.touch(mode=0o600)
        pem.write_bytes(certificate + key)
        context.load_cert_chain(pem)
