"""Nothing a run started outlives it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from testbed.processes import Run

OWNER = """
import sys, time
sys.path.insert(0, {tests!r})
from testbed.processes import Run
run = Run.begin()
print(run.folder, run.spawn("sleeper", ["sleep", "600"]), flush=True)
time.sleep(600)
"""


def eventually(holds: Callable[[], bool], *, seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


def has_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_killed_run_leaves_no_process_and_no_folder() -> None:
    script = OWNER.format(tests=str(Path(__file__).parents[1]))
    owner = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert owner.stdout
    folder, pid = owner.stdout.readline().split()
    assert psutil.pid_exists(int(pid))
    owner.kill()
    owner.wait()
    assert eventually(lambda: has_gone(int(pid)))
    assert eventually(lambda: not Path(folder).exists())


def test_stopping_one_process_leaves_the_others() -> None:
    run = Run.begin()
    try:
        run.spawn("one", ["sleep", "600"])
        run.spawn("two", ["sleep", "600"])
        run.stop("one")
        assert (run.is_running("one"), run.is_running("two")) == (False, True)
    finally:
        run.end()
    assert not run.folder.exists()
