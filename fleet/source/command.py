"""The git binary with fixed arguments, an environment of only what is set here, a deadline, and an end for the whole
process group (R25).

No program in between is given the hub's own environment, which may hold keys (docs/decisions/0011); credentials are
in none of what git gets, only paths of files that hold them.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

from fleet.errors import FetchFailed
from fleet.values import dataclass

_OUTPUT_LIMIT_BYTES = 256 * 1024 * 1024
_ERRORS_LIMIT_BYTES = 256 * 1024
_GRACE_SECONDS = 2.0
_CHUNK = 1024 * 1024
_LOOK_UP_SECONDS = 0.5

# What git checks of each object that it gets, and what not: one commit that it refuses is in the way of all later ones,
# of its own revert too, until the branch is rewritten. So only the form of objects counts, on which git and we rely. A
# git that does not know one of these names says so and goes on.
OBJECT_CHECKS = (
    "fetch.fsckObjects=true",
    "transfer.fsckObjects=true",
    # Found in the history of honest repositories, and harmless.
    "fetch.fsck.zeroPaddedFilemode=ignore",
    "fetch.fsck.missingSpaceBeforeDate=ignore",
    "fetch.fsck.badTimezone=ignore",
    # Texts that nothing here reads, because nothing is ever checked out; too long a path is ours to refuse.
    "fetch.fsck.nulInCommit=ignore",
    "fetch.fsck.largePathname=ignore",
    "fetch.fsck.gitattributesBlob=ignore",
    "fetch.fsck.gitattributesLarge=ignore",
    "fetch.fsck.gitattributesLineLength=ignore",
    "fetch.fsck.gitattributesMissing=ignore",
    "fetch.fsck.gitmodulesBlob=ignore",
    "fetch.fsck.gitmodulesLarge=ignore",
    "fetch.fsck.gitmodulesMissing=ignore",
    "fetch.fsck.gitmodulesName=ignore",
    "fetch.fsck.gitmodulesParse=ignore",
    "fetch.fsck.gitmodulesPath=ignore",
    "fetch.fsck.gitmodulesSymlink=ignore",
    "fetch.fsck.gitmodulesUpdate=ignore",
    "fetch.fsck.gitmodulesUrl=ignore",
)

# What no configuration file can change, because command-line configuration comes last.
_SAFE_CONFIGURATION = (
    "protocol.allow=never",
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.symlinks=false",
    "core.fsync=committed,loose-object,reference",
    "credential.helper=",
    "http.followRedirects=false",
    "http.sslVerify=true",
    "http.lowSpeedLimit=100",
    "http.lowSpeedTime=30",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    *OBJECT_CHECKS,
    "fetch.writeCommitGraph=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.detachedHead=false",
)


@dataclass(frozen=True, slots=True)
class Done:
    """A command that ended: its status, output, and complaints as text."""

    status: int
    output: bytes
    errors: str


@dataclass(frozen=True, slots=True)
class GitLimits:
    """Bounds of one mirror (R19, R28)."""

    fetch_seconds: float = 120.0
    first_fetch_seconds: float = 900.0
    read_seconds: float = 60.0
    idle_seconds: int = 30
    files: int = 200_000
    file_bytes: int = 16 * 1024 * 1024
    path_bytes: int = 1024
    path_depth: int = 40


class GitCommand:
    """Runs git in one directory. `ran` counts the commands, by their first word."""

    def __init__(self, directory: Path, *, environment: Mapping[str, str], configuration: Sequence[str] = ()) -> None:
        self._environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_OPTIONAL_LOCKS": "0",
            **environment,
        }
        settings = [word for line in (*_SAFE_CONFIGURATION, *configuration) for word in ("-c", line)]
        self._directory = directory
        self._prefix = ["git", f"--git-dir={directory}", *settings]
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="git")
        self.ran: list[str] = []

    async def run(self, *arguments: str, seconds: float) -> Done:
        """Run to the end. Raises FetchFailed on a missing git, the deadline, or more output than is ever sensible.

        A cancelled caller ends the command and all its children before the cancellation goes on.
        """
        self.ran.append(arguments[0])
        child = _Child(time.monotonic() + seconds)
        work = asyncio.get_running_loop().run_in_executor(self._threads, self._run, child, arguments, seconds)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            child.stop()
            await asyncio.gather(work, return_exceptions=True)
            raise

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command that is spoken to over its pipes; the caller ends it."""
        self.ran.append(arguments[0])
        return self._start(arguments, stdin=subprocess.PIPE)

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _run(self, child: _Child, arguments: Sequence[str], seconds: float) -> Done:
        process = self._start(arguments, stdin=subprocess.DEVNULL)
        try:
            output, errors = child.collect(process)
            return Done(process.wait(), output, errors.decode("utf-8", "replace"))
        except _OutOfBounds as bound:
            raise FetchFailed(
                f"git {arguments[0]} was ended",
                where=self._directory.name,
                why=f"{bound}, the limit is {seconds:g} s" if bound.is_time else str(bound),
                next_step="it is tried again; check the Git host and the network between",
            ) from bound
        finally:
            end_group(process)

    def _start(self, arguments: Sequence[str], *, stdin: int) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                [*self._prefix, *arguments],
                cwd=self._directory,
                env=self._environment,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise FetchFailed(
                "git cannot be started",
                where=self._directory.name,
                why=type(error).__name__,
                next_step="install git >= 2.34 and put it on PATH",
            ) from error


class _OutOfBounds(Exception):
    """A command that took too long or said too much."""

    def __init__(self, words: str, *, is_time: bool = False) -> None:
        super().__init__(words)
        self.is_time = is_time


class _Child:
    """Collects what one process says until it ends, its deadline passes, or another thread stops it."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._stopped = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None

    def stop(self) -> None:
        """Ask the group to end; does not wait."""
        self._stopped.set()
        if self._process is not None:
            _signal_group(self._process, signal.SIGTERM)

    def collect(self, process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
        """All output and complaints; raises _OutOfBounds."""
        self._process = process
        collected = {process.stdout: bytearray(), process.stderr: bytearray()}
        limits = {process.stdout: _OUTPUT_LIMIT_BYTES, process.stderr: _ERRORS_LIMIT_BYTES}
        with selectors.DefaultSelector() as selector:
            for pipe in collected:
                if pipe is not None:
                    selector.register(pipe, selectors.EVENT_READ)
            while selector.get_map():
                if self._stopped.is_set():
                    raise _OutOfBounds("it was no longer wanted")
                if (left := self._deadline - time.monotonic()) <= 0:
                    raise _OutOfBounds("it took too long", is_time=True)
                for key, _ in selector.select(min(left, _LOOK_UP_SECONDS)):
                    pipe = cast("IO[bytes]", key.fileobj)
                    chunk = os.read(key.fd, _CHUNK)
                    if not chunk:
                        selector.unregister(pipe)
                    collected[pipe] += chunk
                    if len(collected[pipe]) > limits[pipe]:
                        raise _OutOfBounds(f"it said more than {limits[pipe]} bytes")
        return bytes(collected[process.stdout]), bytes(collected[process.stderr])


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and all it started, unless it has ended; close its pipes. Blocks for two seconds at most.

    Asked politely first, so that git removes its locks and half packs. The leader is reaped last: while it is not,
    its number cannot belong to anybody else.
    """
    if process.returncode is None:
        _signal_group(process, signal.SIGTERM)
        patience = time.monotonic() + _GRACE_SECONDS
        while not _has_ended(process) and time.monotonic() < patience:
            time.sleep(0.01)
        _signal_group(process, signal.SIGKILL)
        process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
    except ChildProcessError:
        return True  # somebody else in this process waited for it


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
