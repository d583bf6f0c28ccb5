"""How a pytest process owns the test bed: a run, and so control planes, of its own for each xdist worker.

A ledger and the rights of a user are of one server; tests that run side by side on it would see each other's. What was
started is ended when the process ends, and by the run's reaper when it ends badly. Long tests begin first.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from testbed.processes import Run

RUN_OF_SESSION = pytest.StashKey[Callable[[], Run]]()
_BEGUN = pytest.StashKey[Run]()
_SKIPPED = "needs real programs"


def pytest_configure(config: pytest.Config) -> None:
    os.environ["FLEET_CACHE"] = "off"  # what a person's own commands keep is not for tests, and the other way round

    def run_of_process() -> Run:
        if _BEGUN not in config.stash:
            config.stash[_BEGUN] = Run.begin(os.getpid())
        return config.stash[_BEGUN]

    config.stash[RUN_OF_SESSION] = run_of_process


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files whose tests ask for more than the usual time begin first: none of them is alone at the end of a run."""
    asked: dict[Path, float] = {}
    for item in items:
        mark = item.get_closest_marker("timeout")
        seconds = float(mark.args[0]) if mark and mark.args else 0.0
        asked[item.path] = max(asked.get(item.path, 0.0), seconds)
    items.sort(key=lambda item: -asked[item.path])


def pytest_unconfigure(config: pytest.Config) -> None:
    if run := config.stash.get(_BEGUN, None):
        run.end()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One counted line for what could not run here."""
    skipped = [report for report in terminalreporter.getreports("skipped") if _SKIPPED in str(report.longrepr)]
    if skipped:
        reason = str(skipped[0].longrepr[2]).split(_SKIPPED, 1)[1].lstrip(": ")
        terminalreporter.write_line(f"{len(skipped)} tests skipped, {_SKIPPED}: {reason}")
