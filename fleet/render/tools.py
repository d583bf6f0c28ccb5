"""Which kustomize builds: FLEET_KUSTOMIZE, else kustomize >= 5 on PATH, else kubectl >= 1.27.

The binary's digest is part of every input digest, so that another tool never answers from an old build.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import orjson

from fleet.core.documents import digest_of_bytes, items_at, parse, parse_document, text_at
from fleet.core.ids import Digest
from fleet.errors import RendererMissing
from fleet.ports.render import RenderCache
from fleet.values import dataclass

VARIABLE = "FLEET_KUSTOMIZE"
HELM_VARIABLE, CHARTS_VARIABLE = "FLEET_HELM", "FLEET_ALLOW_CHARTS"
_ASK_SECONDS = 20
# The versions of kustomize for which the differential test of the slim schema passes.
SLIM_TESTED = frozenset({"v5.5.0", "v5.8.1"})
_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")
_NEXT = f"install kustomize 5 or kubectl 1.27 (or newer), or set {VARIABLE} to the path of a kustomize"


@dataclass(frozen=True, slots=True)
class Tool:
    """A binary that builds. `build` is what comes before the directory on its command line."""

    path: str
    build: tuple[str, ...]
    name: str  # "kustomize v5.8.1", "kubectl v1.32.0 (kustomize v5.5.0)"
    kustomize: str  # the version of kustomize in it: "v5.8.1"
    digest: Digest

    def argv(self, directory: str, *, helm: Helm | None = None) -> list[str]:
        """The command for one directory; helm: what builds the charts in it."""
        # The closure is checked before: stricter than kustomize's own restrictor, and kinder to shared files.
        argv = [self.path, *self.build, directory, "--load-restrictor", "LoadRestrictionsNone"]
        return [*argv, "--enable-helm", "--helm-command", helm.path] if helm else argv


@dataclass(frozen=True, slots=True)
class Helm:
    """The helm that kustomize runs for charts, where the hub's configuration allows them."""

    path: str
    name: str  # "helm v3.19.0"
    digest: Digest


async def find_tool(environment: Mapping[str, str], memory: RenderCache | None = None) -> Tool:
    """The tool by the search order, asked for its version; raises RendererMissing with the remedy.

    memory: what a binary said is kept there until the file changes.
    """
    named = environment.get(VARIABLE, "")
    if named:
        return await _named(named, environment, memory)
    tried: list[str] = []
    search = environment.get("PATH", os.defpath)
    for name, ask in (("kustomize", _kustomize), ("kubectl", _kubectl)):
        path = shutil.which(name, path=search)
        if path is None:
            tried.append(f"no {name} on PATH")
            continue
        tool = await _remembered(path, ask, memory)
        if isinstance(tool, Tool):
            return tool
        tried.append(tool)
    raise RendererMissing("nothing to render with", why=", ".join(tried), next_step=_NEXT)


def charts_allowed(environment: Mapping[str, str]) -> bool:
    """Whether this machine's own configuration allows charts (R27)."""
    return environment.get(CHARTS_VARIABLE, "").lower() in ("1", "true", "yes", "on")


async def find_helm(environment: Mapping[str, str]) -> Helm | None:
    """The helm for charts: FLEET_HELM, else helm on PATH; None unless FLEET_ALLOW_CHARTS says so (R27).

    Raises RendererMissing where charts are allowed and there is no helm 3 or 4.
    """
    if not charts_allowed(environment):
        return None
    named = environment.get(HELM_VARIABLE, "") or "helm"
    path = shutil.which(named, path=environment.get("PATH", os.defpath))
    found = _VERSION.search(await _ask(path, "version", "--short")) if path else None
    if path is None or found is None or int(found[1]) not in (3, 4):
        raise RendererMissing(
            "charts are allowed, and there is no helm to build them",
            where=CHARTS_VARIABLE,
            why=f"{named} is not there, or is no helm 3 or 4",
            next_step=f"install helm, or set {HELM_VARIABLE} to its path",
        )
    return Helm(path, f"helm v{'.'.join(found.groups())}", await _digest(path))


async def _remembered(path: str, ask: Callable[[str], Awaitable[Tool | str]], memory: RenderCache | None) -> Tool | str:
    """What a binary says of itself, asked once for each state of its file."""
    key = _state_of(path) if memory is not None else None
    if memory is None or key is None:
        return await ask(path)
    kept = await memory.get(key)
    if kept is not None:
        said = parse_document(kept)
        build = tuple(str(word) for word in items_at(said, "build"))
        texts = {name: text_at(said, name) for name in ("path", "name", "kustomize")}
        return Tool(build=build, digest=Digest(text_at(said, "digest")), **texts)
    tool = await ask(path)
    if isinstance(tool, Tool) and _state_of(path) == key:
        await memory.put(key, orjson.dumps(asdict(tool)))
    return tool


def _state_of(path: str) -> Digest | None:
    """Names a binary in the state it is in: any write, or another file in its place, gives another name."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return digest_of_bytes(f"tool 1 {path} {os.path.realpath(path)} {state}".encode())


async def _named(named: str, environment: Mapping[str, str], memory: RenderCache | None) -> Tool:
    path = shutil.which(named, path=environment.get("PATH", os.defpath))
    if path is None:
        raise RendererMissing(
            f"{VARIABLE} names {named}", where=VARIABLE, why="no executable file of that name", next_step=_NEXT
        )
    ask = _kubectl if Path(path).name.startswith("kubectl") else _kustomize
    tool = await _remembered(path, ask, memory)
    if isinstance(tool, Tool):
        return tool
    raise RendererMissing(f"{VARIABLE} cannot be used", where=VARIABLE, why=tool, next_step=_NEXT)


async def _kustomize(path: str) -> Tool | str:
    answer = await _ask(path, "version")
    found = _VERSION.search(answer)
    if found is None:
        return f"{path} does not say its version"
    if int(found[1]) < 5:
        return f"{path} is kustomize {found[0]}, older than 5"
    version = f"v{'.'.join(found.groups())}"
    return Tool(path, ("build",), f"kustomize {version}", version, await _digest(path))


async def _kubectl(path: str) -> Tool | str:
    answer = await _ask(path, "version", "--client", "-o", "json")
    try:
        said = parse(answer.encode())
    except orjson.JSONDecodeError:
        return f"{path} does not say its version"
    client, inner = text_at(said, "clientVersion", "gitVersion"), text_at(said, "kustomizeVersion")
    found = _VERSION.match(client)
    if found is None or not inner:
        return f"{path} does not say its version"
    if (int(found[1]), int(found[2])) < (1, 27):
        return f"{path} is kubectl {client}, older than 1.27"
    return Tool(path, ("kustomize",), f"kubectl {client} (kustomize {inner})", inner, await _digest(path))


async def _ask(path: str, *arguments: str) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            path,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={},
        )
    except OSError:
        return ""
    try:
        async with asyncio.timeout(_ASK_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return ""
    return output.decode(errors="replace") if process.returncode == 0 else ""


async def _digest(path: str) -> Digest:
    def read() -> str:
        with Path(path).open("rb") as binary:
            return hashlib.file_digest(binary, "sha256").hexdigest()

    return Digest(await asyncio.to_thread(read))
