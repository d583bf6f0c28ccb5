"""What a process tree costs: CPU seconds with all children that ever were, resident memory, threads left aside."""

from __future__ import annotations

import contextlib
import resource
from dataclasses import dataclass

import psutil


def tree_cpu(pid: int) -> float:
    """CPU seconds of a process and its living children, each with the children it has waited for."""
    return sum(_cpu(process) for process in _tree(pid))


def own_cpu() -> float:
    """CPU seconds of this process and the children it has waited for."""
    found = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in found)


@dataclass(frozen=True, slots=True)
class Memory:
    """Megabytes. `whole` counts pages that processes share once."""

    hub: float
    whole: float


def tree_memory(pid: int) -> Memory:
    """Resident memory of a process, and of it with all its children (proportional set size)."""
    whole = 0
    for process in _tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            whole += process.memory_full_info().pss
    return Memory(psutil.Process(pid).memory_info().rss / 2**20, whole / 2**20)


def _tree(pid: int) -> list[psutil.Process]:
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def _cpu(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0  # it ended between the listing and now: its parent has its time
    return times.user + times.system + times.children_user + times.children_system
