"""How a pytest session owns the test bed: one run per session, whatever the number of xdist workers.

The session's first process names the folder; workers are told. What was started is ended when the session ends, and by
the run's reaper when it ends badly.
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
    told = getattr(config, "workerinput", {}).get("testbed_run")

    def run_of_session() -> Run:
        if told:
            return Run(Path(told))
        if _BEGUN not in config.stash:
            config.stash[_BEGUN] = Run.begin(os.getpid())
        return config.stash[_BEGUN]

    config.stash[RUN_OF_SESSION] = run_of_session


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """Called by xdist in its first process for each worker."""
    node.workerinput["testbed_run"] = str(node.config.stash[RUN_OF_SESSION]().folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    if run := config.stash.get(_BEGUN, None):
        run.end()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One counted line for what could not run here."""
    skipped = [report for report in terminalreporter.getreports("skipped") if _SKIPPED in str(report.longrepr)]
    if skipped:
        reason = str(skipped[0].longrepr[2]).split(_SKIPPED, 1)[1].lstrip(": ")
        terminalreporter.write_line(f"{len(skipped)} tests skipped, {_SKIPPED}: {reason}")
