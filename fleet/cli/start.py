"""The entry of `fleet`. Version and the list of commands are answered before any parser is imported."""

from __future__ import annotations

import sys


def main() -> None:
    """Console script; ends the process with the command's exit code."""
    arguments = sys.argv[1:]
    if arguments in (["version"], ["--version"]):
        from fleet import __version__

        sys.stdout.write(f"fleet {__version__}\n")
        return
    if arguments in ([], ["help"], ["--help"], ["-h"]):
        folder = __file__.rpartition("/")[0]
        with open(f"{folder}/help.txt", encoding="utf-8") as file:  # noqa: PTH123 (pathlib costs more than the file)
            sys.stdout.write(file.read())
        return
    from fleet.cli.app import run

    raise SystemExit(run(arguments))
