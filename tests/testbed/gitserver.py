"""Git served by git itself on the loopback: smart HTTP by `git http-backend`, ssh by `git-upload-pack`.

Both serve the repositories below one folder and can be told to misbehave (`HttpFault`) as real hosts do.
"""

from __future__ import annotations

import asyncio
import base64
import os
import shlex
import ssl
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import asyncssh
from aiohttp import web
from testbed.authority import Authority
from testbed.gitrepo import GitRepo, isolated_environment
from testbed.loopthread import LoopThread, serve

_CHUNK = 64 * 1024
_MAX_BODY = 256 * 1024 * 1024


class HttpFault(Enum):
    """How an HTTP host misbehaves; REDIRECT leads to `GitHttpServer.redirect_to`.

    HTML is worse than it looks: git takes the page for an empty repository and succeeds.
    """

    UNAUTHORIZED = "401 although the credentials are right"
    FORBIDDEN = "403"
    NOT_FOUND = "404"
    ERROR = "500"
    HTML = "200 with a web page"
    REDIRECT = "302 to another host"
    STALL = "no answer at all"
    STALL_IN_PACK = "the pack stops half way, the connection stays"
    TRUNCATE = "the connection is cut within the pack"


@dataclass(frozen=True, slots=True)
class GitRequest:
    """One HTTP request a server saw; `authorization` is the user name of basic auth, "" without."""

    method: str
    path: str
    query: str
    authorization: str
    user_agent: str


class GitHttpServer:
    """Smart HTTP over a folder of bare repositories.

    users: name to password (or token); without users anybody reads. Set `fault` at any time; `requests` grows with each
    request. With tls, `ca_file` is what a client must trust.
    """

    def __init__(self, root: Path, *, users: Mapping[str, str] | None = None, tls: bool = False) -> None:
        self.root = root
        self.users = dict(users or {})
        self.fault: HttpFault | None = None
        self.redirect_to = ""
        self.requests: list[GitRequest] = []
        self.ca_file: Path | None = None
        self._scheme = "https" if tls else "http"
        self._thread = LoopThread("git-http")
        app = web.Application(client_max_size=_MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner, self.port = self._thread.run(serve(app, tls=self._tls_context() if tls else None))

    def url(self, repo: GitRepo | str, *, host: str = "127.0.0.1") -> str:
        """The clone URL of a repository below the root."""
        name = repo if isinstance(repo, str) else str(repo.path.relative_to(self.root))
        return f"{self._scheme}://{host}:{self.port}/{name}"

    def close(self) -> None:
        self._thread.run(self._runner.cleanup())
        self._thread.close()

    def _tls_context(self) -> ssl.SSLContext:
        folder = self.root / ".tls"
        authority = Authority.create(folder)
        self.ca_file = authority.ca_file
        certificate, key = authority.issue_server("127.0.0.1", "localhost")
        (folder / "server.pem").write_bytes(certificate + key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem")
        return context

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        user, password = _basic_auth(request)
        agent = request.headers.get("User-Agent", "")
        self.requests.append(GitRequest(request.method, request.path, request.query_string, user, agent))
        refusal = await self._refuse(request)
        if refusal is not None:
            return refusal
        if self.users and (not user or self.users.get(user) != password):
            return _unauthorized()
        return await self._run_backend(request, user)

    async def _refuse(self, request: web.Request) -> web.StreamResponse | None:
        match self.fault:
            case HttpFault.UNAUTHORIZED:
                return _unauthorized()
            case HttpFault.FORBIDDEN:
                return web.Response(status=403, text="forbidden")
            case HttpFault.NOT_FOUND:
                return web.Response(status=404, text="not found")
            case HttpFault.ERROR:
                return web.Response(status=500, text="internal error")
            case HttpFault.HTML:
                return web.Response(content_type="text/html", text="<html><body>Please log in</body></html>")
            case HttpFault.REDIRECT:
                return web.Response(status=302, headers={"Location": f"{self.redirect_to}{request.path_qs}"})
            case HttpFault.STALL:
                await asyncio.Event().wait()
                return None
            case _:
                return None

    async def _run_backend(self, request: web.Request, user: str) -> web.StreamResponse:
        body = await request.read()
        environment = {
            **isolated_environment(self.root),
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": request.method,
            "PATH_INFO": request.path,
            "QUERY_STRING": request.query_string,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            "REMOTE_USER": user,
            "REMOTE_ADDR": "127.0.0.1",
        }
        backend = await asyncio.create_subprocess_exec(
            "git", "http-backend", env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            assert backend.stdin
            assert backend.stdout
            feeding = asyncio.create_task(_feed(backend.stdin, body))
            answer = await self._head_of(backend.stdout)
            await answer.prepare(request)
            await self._send_pack(request, answer, backend.stdout)
            await feeding
            return answer
        finally:
            if backend.returncode is None:
                backend.kill()
            await backend.wait()

    @staticmethod
    async def _head_of(output: asyncio.StreamReader) -> web.StreamResponse:
        answer = web.StreamResponse()
        while line := (await output.readline()).decode().strip():
            name, _, value = line.partition(":")
            if name.lower() == "status":
                answer.set_status(int(value.split()[0]))
            else:
                answer.headers[name] = value.strip()
        return answer

    async def _send_pack(self, request: web.Request, answer: web.StreamResponse, output: asyncio.StreamReader) -> None:
        in_pack = request.method == "POST" and request.path.endswith("/git-upload-pack")
        if not (in_pack and self.fault in (HttpFault.TRUNCATE, HttpFault.STALL_IN_PACK)):
            while chunk := await output.read(_CHUNK):
                await answer.write(chunk)
            await answer.write_eof()
            return
        whole = await output.read()
        await answer.write(whole[: len(whole) // 2])
        if self.fault is HttpFault.STALL_IN_PACK:
            await asyncio.Event().wait()
        if request.transport:
            request.transport.abort()


class GitSshServer:
    """ssh over the same folder for one client key.

    A client needs `client_key_file` and, to know the host, `known_hosts_file`.
    """

    def __init__(self, root: Path, keys: Path, *, authorized: bool = True) -> None:
        keys.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.client_key_file = keys / "id_ed25519"
        self.known_hosts_file = keys / "known_hosts"
        self.commands: list[str] = []
        client_key = asyncssh.generate_private_key("ssh-ed25519")
        client_key.write_private_key(str(self.client_key_file))
        self.client_key_file.chmod(0o600)
        client_key.write_public_key(str(keys / "authorized"))
        if not authorized:
            asyncssh.generate_private_key("ssh-ed25519").write_public_key(str(keys / "authorized"))
        host_key = asyncssh.generate_private_key("ssh-ed25519")
        self._thread = LoopThread("git-ssh")
        self._acceptor = self._thread.run(self._listen(host_key, keys / "authorized"))
        self.port = self._acceptor.get_port()
        line = host_key.export_public_key().decode().strip()
        self.known_hosts_file.write_text(f"[127.0.0.1]:{self.port} {line}\n")

    def url(self, repo: GitRepo | str) -> str:
        name = repo if isinstance(repo, str) else str(repo.path.relative_to(self.root))
        return f"ssh://git@127.0.0.1:{self.port}/{name}"

    def ssh_command(self) -> str:
        """A value for GIT_SSH_COMMAND that knows the host and uses the key."""
        options = ["-F", os.devnull, "-i", str(self.client_key_file), "-o", "IdentitiesOnly=yes"]
        options += ["-o", f"UserKnownHostsFile={self.known_hosts_file}", "-o", "StrictHostKeyChecking=yes"]
        return shlex.join(["ssh", *options, "-o", "BatchMode=yes"])

    def close(self) -> None:
        self._acceptor.close()
        self._thread.close()

    async def _listen(self, host_key: asyncssh.SSHKey, authorized: Path) -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[host_key],
            authorized_client_keys=str(authorized),
            process_factory=self._run_command,
            encoding=None,
        )

    async def _run_command(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        command = process.command or ""
        self.commands.append(command)
        words = shlex.split(command)
        if len(words) != 2 or words[0] != "git-upload-pack":
            process.stderr.write(b"only git-upload-pack is served here\n")
            process.exit(128)
            return
        environment = {**isolated_environment(self.root), "GIT_PROTOCOL": process.env.get("GIT_PROTOCOL", "")}
        path = self.root / words[1].lstrip("/")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        child = await asyncio.create_subprocess_exec("git", "upload-pack", str(path), env=environment, **pipes)
        await process.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
        process.exit(await child.wait())
        await process.wait_closed()


def _basic_auth(request: web.Request) -> tuple[str, str]:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    user, _, password = base64.b64decode(value).decode().partition(":")
    return user, password


def _unauthorized() -> web.Response:
    return web.Response(status=401, text="who are you", headers={"WWW-Authenticate": 'Basic realm="git"'})


async def _feed(pipe: asyncio.StreamWriter, body: bytes) -> None:
    try:
        pipe.write(body)
        await pipe.drain()
    except (BrokenPipeError, ConnectionResetError):
        return
    finally:
        pipe.close()
