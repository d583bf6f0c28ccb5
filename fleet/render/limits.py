"""One child process inside its limits: time, memory, output. It and its children end with the build, whatever happens.

Memory is watched (RSS) and told to Go (GOMEMLIMIT): RLIMIT_AS would kill Go programs that reserve address space.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from fleet.errors import RenderTimeout, RenderTooLarge
from fleet.values import dataclass

_LOOK_SECONDS = 0.05
_PAGE = os.sysconf("SC_PAGE_SIZE")
_KIB = 1024  # ru_maxrss counts in them on Linux


@dataclass(frozen=True, slots=True)
class RunLimits:
    """What one build may use."""

    seconds: float = 60.0
    memory_bytes: int = 1024 * 1024 * 1024
    output_bytes: int = 64 * 1024 * 1024
    input_bytes: int = 256 * 1024 * 1024
    files: int = 50_000
    processes: int = 64  # at one time; kustomize is one, and helm beside it


@dataclass(frozen=True, slots=True)
class Finished:
    """A process that ended by itself."""

    returncode: int
    stdout: bytes
    stderr: bytes
    cpu_seconds: float


class HubGone(Exception):
    """The other end of the worker's own pipe is closed: clean up and end."""


def run_limited(
    argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], limits: RunLimits, parent_fd: int | None = None
) -> Finished:
    """Run a command to its end.

    parent_fd: a pipe whose other end closing ends the command too. Raises RenderTimeout, RenderTooLarge, HubGone;
    in each case nothing of its process group is left.
    """
    process = subprocess.Popen(
        argv,
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + limits.seconds
        stdout, stderr = _collect(process, limits, deadline, parent_fd)
        _wait(process.pid, limits, deadline)
        _kill_group(process.pid)  # before the leader is reaped, so that its number cannot be another's by now
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        # The system may be quicker than our own look; what is beyond the limit is the input's fault all the same.
        if process.returncode == -signal.SIGKILL and _peak_bytes(usage) > limits.memory_bytes:
            raise _too_large("memory", _mib(limits.memory_bytes))
        return Finished(process.returncode, stdout, stderr, usage.ru_utime + usage.ru_stime)
    finally:
        _end(process)


def _wait(pid: int, limits: RunLimits, deadline: float) -> None:
    """Wait for the end of a process that has closed its output, without reaping it."""
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        if time.monotonic() > deadline:
            raise _too_long(limits)
        time.sleep(0.0005)


def _collect(
    process: subprocess.Popen[bytes], limits: RunLimits, deadline: float, parent_fd: int | None
) -> tuple[bytes, bytes]:
    assert process.stdout is not None
    assert process.stderr is not None
    poller = select.poll()
    parts: dict[int, list[bytes]] = {}
    for stream in (process.stdout, process.stderr):
        poller.register(stream.fileno(), select.POLLIN)
        parts[stream.fileno()] = []
    if parent_fd is not None:
        poller.register(parent_fd, 0)  # only hang-up is reported
    left, open_fds, look_at = limits.output_bytes, set(parts), 0.0
    while open_fds:
        for fd, _ in poller.poll(_LOOK_SECONDS * 1000):
            if fd == parent_fd:
                raise HubGone
            chunk = os.read(fd, 1 << 20)
            parts[fd].append(chunk)
            left -= len(chunk)
            if not chunk:
                poller.unregister(fd)
                open_fds.discard(fd)
        if left < 0:
            raise _too_large("output", _mib(limits.output_bytes))
        now = time.monotonic()
        if now > deadline:
            raise _too_long(limits)
        if now < look_at:
            continue
        look_at = now + _LOOK_SECONDS
        processes, resident = _used(process.pid)
        if open_fds and resident > limits.memory_bytes:
            raise _too_large("memory", _mib(limits.memory_bytes))
        if processes > limits.processes:
            raise _too_large("processes", f"{limits.processes}")
    return b"".join(parts[process.stdout.fileno()]), b"".join(parts[process.stderr.fileno()])


def _too_long(limits: RunLimits) -> RenderTimeout:
    return RenderTimeout(
        f"kustomize ran longer than {limits.seconds:g} s",
        why="it was ended; nothing of this build is used",
        next_step="make the overlay smaller: kustomize's time grows with the square of its objects",
    )


def _mib(size: int) -> str:
    return f"{size // (1024 * 1024)} MiB"


def _too_large(what: str, limit: str) -> RenderTooLarge:
    return RenderTooLarge(
        f"kustomize used more {what} than it may",
        why=f"the limit is {limit}; it was ended",
        next_step="split the overlay",
    )


def _used(group: int) -> tuple[int, int]:
    """How many processes a group has, as helm beside kustomize, and what they hold; zeros where that is not told."""
    processes = total = 0
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - many times a second
    except OSError:
        return 0, 0
    for pid in pids:
        try:
            if os.getpgid(pid) == group:
                processes += 1
                total += int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE
        except (OSError, IndexError):
            continue  # it ended meanwhile
    return processes, total


def _peak_bytes(usage: resource.struct_rusage) -> int:
    """The most that a child held; 0 where that is not told, as what this program held counts as the child's first."""
    peak = usage.ru_maxrss * _KIB
    return peak if peak > _own_peak_bytes() else 0


def _own_peak_bytes() -> int:
    """The most that this program held; RUSAGE_SELF counts as well what ran in this process before it, as the hub."""
    try:
        line = next(line for line in Path("/proc/self/status").read_bytes().splitlines() if line.startswith(b"VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB
    return int(line.split()[1]) * _KIB


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:
        _kill_group(process.pid)
        process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
