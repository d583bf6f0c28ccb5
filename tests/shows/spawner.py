"""A process that has imported the hub, and forks one `fleet hub` for each line that it is sent.

Each hub is a process of its own that a kill ends without a word; only the seconds in which Python imports the same
modules again are saved. `python -m shows.spawner`; a line of stdin is JSON, a line of stdout the hub's pid.
"""

from __future__ import annotations

import json
import os
import signal
import sys

import fleet.cli.app
import fleet.cli.hub
import fleet.hub.assembly
import fleet.hub.garbage  # noqa: F401 (imported before any fork, for all of them)
from fleet.cli.start import main


def serve() -> None:
    """Until stdin ends. A line: {"environment": {name: value}, "log": path}."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # what was killed leaves no zombie behind
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become_hub(asked["environment"], asked["log"])
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


def _become_hub(environment: dict[str, str], log: str) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    nothing, output = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for number, given in enumerate((nothing, output, output)):
        os.dup2(given, number)
    os.environ.update(environment)
    sys.argv = ["fleet", "hub"]
    try:
        main()
    finally:
        os._exit(1)


if __name__ == "__main__":
    serve()
