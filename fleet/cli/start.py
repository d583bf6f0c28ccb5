"""The entry of `fleet`. `fleet version` answers before any parser is imported; all else goes to cli/app.py."""

from __future__ import annotations

import sys


def main() -> None:
    """Console script; ends the process with the command's exit code."""
    arguments = sys.argv[1:]
    if arguments in (["version"], ["--version"]):
        from fleet import __version__

        sys.stdout.write(f"fleet {__version__}\n")
        return
    from fleet.cli.app import run

    raise SystemExit(run(arguments))
