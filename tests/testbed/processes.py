"""Server processes of one test run: started, found again and ended by their exact identity.

Each process leads its own group and is written down (pid and creation time) in the run's folder, so that any worker of
the run can end it. A reaper watches the process the run belongs to and, when that has gone in whatever way, ends what
is still written down and removes the folder: nothing outlives a crashed run.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_GRACE_SECONDS = 5.0
_PORT_TRIES = 200


class ServerFailed(Exception):
    """A server ended or did not become ready in time; carries the end of its log."""


@dataclass(frozen=True, slots=True)
class Run:
    """The folder of one test run, shared by all of its workers."""

    folder: Path

    @classmethod
    def begin(cls, owner_pid: int | None = None) -> Run:
        """Make a run that ends with the process `owner_pid` (this one by default)."""
        run = cls(Path(tempfile.mkdtemp(prefix="fleet-testbed-")))
        (run.folder / "pids").mkdir()
        owner = psutil.Process(owner_pid or os.getpid())
        argv = [sys.executable, str(Path(__file__)), str(run.folder), str(owner.pid), repr(owner.create_time())]
        subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return run

    def spawn(self, name: str, argv: Sequence[str], *, environment: Mapping[str, str] | None = None) -> int:
        """Start a server and write it down; its output goes to `log_of(name)`. Returns its pid."""
        with self.log_of(name).open("ab") as log:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(environment) if environment is not None else None,
                cwd=self.folder,
                start_new_session=True,
            )
        created = psutil.Process(process.pid).create_time()
        self._record(name).write_text(json.dumps({"pid": process.pid, "created": created}))
        return process.pid

    def is_running(self, name: str) -> bool:
        """Whether the process written down under this name lives (a zombie does not)."""
        found = _written_down(self._record(name))
        return found is not None and found.status() != psutil.STATUS_ZOMBIE

    def pid_of(self, name: str) -> int | None:
        found = _written_down(self._record(name))
        return found.pid if found else None

    def stop(self, name: str, *, kill: bool = False) -> None:
        """End one process (its whole group) and forget it; nothing happens when it has gone already."""
        record = self._record(name)
        _end([record], kill=kill)
        record.unlink(missing_ok=True)

    def end(self) -> None:
        """End all processes of the run at once and remove its folder."""
        _end(sorted((self.folder / "pids").glob("*")), kill=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def log_of(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def log_tail(self, name: str, characters: int = 3000) -> str:
        path = self.log_of(name)
        return path.read_text(errors="replace")[-characters:] if path.exists() else ""

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Held by one worker of the run at a time."""
        with (self.folder / f"{name}.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _record(self, name: str) -> Path:
        return self.folder / "pids" / name


def free_port() -> int:
    """A port of the loopback nobody listens on, outside the range the kernel hands to outgoing connections."""
    for _ in range(_PORT_TRIES):
        port = random.SystemRandom().randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerFailed("no free port between 20000 and 32000")


def _written_down(record: Path) -> psutil.Process | None:
    """The very process of a record: same pid and same time of creation, or none."""
    try:
        known = json.loads(record.read_text())
        process = psutil.Process(known["pid"])
        return process if process.create_time() == known["created"] else None
    except (OSError, ValueError, psutil.NoSuchProcess):
        return None


def _end(records: Sequence[Path], *, kill: bool) -> None:
    living = [process for record in records if (process := _written_down(record))]
    for process in living:
        _signal_group(process, signal.SIGKILL if kill else signal.SIGTERM)
    for process in _still_there(living, _GRACE_SECONDS):
        _signal_group(process, signal.SIGKILL)
    _still_there(living, _GRACE_SECONDS)


def _signal_group(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _still_there(processes: Sequence[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that live on after `seconds`; zombies of ours are collected on the way."""
    deadline = time.monotonic() + seconds
    left = list(processes)
    while left and time.monotonic() < deadline:
        left = [process for process in left if not _has_gone(process)]
        time.sleep(0.01)
    return left


def _has_gone(process: psutil.Process) -> bool:
    """Whether it has let go of its sockets and files: a zombie whose threads still run has not."""
    with suppress(ChildProcessError):
        if os.waitpid(process.pid, os.WNOHANG) == (0, 0):
            return False
    try:
        return not process.is_running() or (process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1)
    except psutil.NoSuchProcess:
        return True


def reap(folder: Path, owner_pid: int, owner_created: float) -> None:
    """Wait until the owner has gone or has ended the run itself, then leave nothing behind."""
    run = Run(folder)
    while folder.exists():
        try:
            if psutil.Process(owner_pid).create_time() != owner_created:
                break
        except psutil.NoSuchProcess:
            break
        time.sleep(0.5)
    if folder.exists():
        run.end()


if __name__ == "__main__":
    reap(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
