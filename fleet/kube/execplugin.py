"""Exec credential plugins of a person's own kubeconfig (client.authentication.k8s.io v1 and v1beta1).

A plugin runs without a terminal, with a deadline, its output bounded and its error stream drained. A failure is an
error with the plugin's last words; a request never goes out without the credential.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import signal
from datetime import UTC, datetime

import orjson

from fleet.core.documents import Document, mapping_at, parse_document, text_at
from fleet.errors import CredentialFailed
from fleet.kube.access import FOREVER, Endpoint, Ticket
from fleet.kube.answers import printable
from fleet.values import dataclass, field

_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_MOST_OUTPUT = 1 << 20
_TAIL_BYTES = 2000
_EARLY_SECONDS = 10.0  # renew before the end, so that a credential does not lapse on its way


@dataclass(frozen=True, slots=True)
class Plugin:
    """What a user entry says about its plugin."""

    command: str
    args: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = field(repr=False)
    api_version: str
    interactive: str
    cluster_info: bool
    config: object
    install_hint: str
    where: str


class ExecAccess:
    """Runs the plugin when its last credential has lapsed or was refused; callers at one time share one run."""

    def __init__(self, endpoint: Endpoint, plugin: Plugin, *, seconds: float = 60.0) -> None:
        self._endpoint, self._plugin, self._seconds = endpoint, plugin, seconds
        self._last: Ticket | None = None
        self._running = asyncio.Lock()

    async def ticket(self, refused: Ticket | None = None) -> Ticket:
        """The cached credential while it is good, else that of a new run."""
        async with self._running:
            now = asyncio.get_running_loop().time()
            # A caller whose ticket is not the last one was overtaken: the renewal it needs has happened already.
            if self._last is not None and self._last.until > now and self._last is not refused:
                return self._last
            self._last = await self._run()
            return self._last

    async def _run(self) -> Ticket:
        plugin = self._plugin
        if plugin.api_version not in _VERSIONS:
            raise self._failed(f"exec: apiVersion {plugin.api_version or '(none)'} is not understood")
        if plugin.interactive == "Always":
            raise self._failed("the plugin asks for a terminal (interactiveMode: Always), fleet gives none")
        output = await self._output()
        try:
            status = mapping_at(self._checked(parse_document(output)), "status")
        except ValueError:
            raise self._failed("its output is no ExecCredential in JSON") from None
        certificate = text_at(status, "clientCertificateData").encode()
        key = text_at(status, "clientKeyData").encode()
        token = text_at(status, "token")
        if not token and not (certificate and key):
            raise self._failed("it returned neither a token nor a client certificate with its key")
        if not token.isascii() or not (token.isprintable() or not token):
            raise self._failed("its token holds characters that no header can carry")
        authorization = f"Bearer {token}" if token else ""
        return Ticket(self._endpoint, authorization, certificate, key, self._until(status))

    def _checked(self, answer: Document) -> Document:
        if text_at(answer, "kind") != "ExecCredential" or text_at(answer, "apiVersion") != self._plugin.api_version:
            raise self._failed(f"its output is no ExecCredential of {self._plugin.api_version}")
        return answer

    def _until(self, status: Document) -> float:
        """The expiry on the loop's clock."""
        text = text_at(status, "expirationTimestamp")
        if not text:
            return FOREVER
        try:
            expiry = datetime.fromisoformat(text.replace("Z", "+00:00"))
        except ValueError:
            raise self._failed("its expirationTimestamp is no time") from None
        left = (expiry - datetime.now(UTC)).total_seconds()
        if left <= 0:
            raise self._failed("the credential it returned has expired already")
        early = min(_EARLY_SECONDS, left / 2)
        return asyncio.get_running_loop().time() + left - early

    async def _output(self) -> bytes:
        try:
            process = await asyncio.create_subprocess_exec(
                self._plugin.command,
                *self._plugin.args,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._environment(),
                start_new_session=True,  # so that its children can be ended with it
            )
        except (OSError, ValueError) as error:
            hint = f"; {self._plugin.install_hint}" if self._plugin.install_hint else ""
            why = f"{(isinstance(error, OSError) and error.strerror) or 'it cannot be run'}{hint}"
            raise self._failed(printable(why, 600)) from None
        ended = False
        try:
            async with asyncio.timeout(self._seconds):
                output, last_words = await asyncio.gather(
                    _bounded(process.stdout, _MOST_OUTPUT), _tail(process.stderr, _TAIL_BYTES)
                )
                code = await process.wait()
            ended = True
        except TimeoutError:
            raise self._failed(f"it gave no answer within {self._seconds:g} s") from None
        finally:
            if not ended:
                await _kill(process)
        if code != 0:
            said = printable(last_words.decode("utf-8", "replace").strip()[-600:])
            raise self._failed(f"it ended with {code}: {said}" if said else f"it ended with {code}")
        if output is None:
            raise self._failed(f"its output is larger than {_MOST_OUTPUT >> 20} MiB")
        return output

    def _environment(self) -> dict[str, str]:
        spec: dict[str, object] = {"interactive": False}
        if self._plugin.cluster_info:
            spec["cluster"] = self._cluster_info()
        info = {"apiVersion": self._plugin.api_version, "kind": "ExecCredential", "spec": spec}
        return {**os.environ, **dict(self._plugin.env), "KUBERNETES_EXEC_INFO": orjson.dumps(info).decode()}

    def _cluster_info(self) -> dict[str, object]:
        endpoint = self._endpoint
        cluster: dict[str, object] = {
            "server": endpoint.server,
            "tls-server-name": endpoint.tls_server_name,
            "insecure-skip-tls-verify": endpoint.insecure,
            "certificate-authority-data": base64.b64encode(endpoint.ca).decode(),
            "proxy-url": endpoint.proxy,
            "disable-compression": not endpoint.compress,
            "config": self._plugin.config,
        }
        return {name: value for name, value in cluster.items() if value not in ("", False, None)}

    def _failed(self, why: str) -> CredentialFailed:
        return CredentialFailed(
            f"the credential plugin {self._plugin.command} gives no credential",
            where=self._plugin.where,
            why=why,
            next_step="run it by hand, or: kubectl auth whoami",
        )


async def _bounded(stream: asyncio.StreamReader | None, limit: int) -> bytes | None:
    """All of a stream; None, but drained to its end, when it is longer than the limit."""
    parts: list[bytes] = []
    size = 0
    while stream is not None and (chunk := await stream.read(1 << 16)):
        size += len(chunk)
        if size <= limit:
            parts.append(chunk)
    return b"".join(parts) if size <= limit else None


async def _tail(stream: asyncio.StreamReader | None, limit: int) -> bytes:
    """The end of a stream that is drained as fast as it comes: a full pipe would stop the plugin for good."""
    kept = b""
    while stream is not None and (chunk := await stream.read(1 << 16)):
        kept = (kept + chunk)[-limit:]
    return kept


async def _kill(process: asyncio.subprocess.Process) -> None:
    """End the plugin and what it started; also where it has gone itself and a child holds its pipes."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
