"""The entry of `fleet`. Version, the list of commands and a plain plan are answered before any parser is imported."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # of typing, which is not imported for a version
if TYPE_CHECKING:
    from collections.abc import Mapping


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
    if arguments[0] == "plan":
        from fleet.cli.plan_options import plain_options

        options = plain_options(arguments[1:])
        if options is not None:
            raise SystemExit(_plan(options))
    from fleet.cli.app import run

    raise SystemExit(run(arguments))


def _plan(options: Mapping[str, str]) -> int:
    import gc

    gc.set_threshold(100_000, 20, 20)  # hardly anything that a plan makes is let go before its end
    from pathlib import Path

    from fleet.cli.ending import ended

    def command() -> int:
        from fleet.cli.plan import plan

        base, head, kube, root, output = (options[name] for name in ("base", "head", "kube", "root", "output"))
        return plan(Path(root), base=base, head=head, kube=kube, output=output)

    code = ended(command, name="plan", debug=False)
    gc.freeze()  # else the interpreter looks at all values twice more when it ends
    return code
