"""How a command ends: its code, or what went wrong in it said in words."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from fleet.cli.output import EXIT_DENIED, EXIT_FAILURE, EXIT_NOT_FOUND, EXIT_USAGE, print_error
from fleet.errors import FleetError, NotAllowed, NotAuthenticated, NotKnown, UsageInvalid

# Commands that end with 1 to say that something differs: whatever fails in them must not say so.
_ONE_IS_AN_ANSWER = frozenset({"plan", "diff", "compare"})


def ended(command: Callable[[], int], *, name: str, debug: bool) -> int:
    """Run a command; never shows a traceback without `debug`. name: as a person types it."""
    failure = EXIT_USAGE if name in _ONE_IS_AN_ANSWER else EXIT_FAILURE
    try:
        return command()
    except FleetError as error:
        if debug:
            raise
        print_error(error)
        return _code_of(error, failure)
    except (KeyboardInterrupt, BrokenPipeError):
        # Nobody reads any more: closing quietly is what kubectl does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 130
    except Exception as error:  # the edge of the program: a bug is told in one line, its trace with --debug
        if debug:
            raise
        print_error(
            FleetError(
                "a bug of fleet ended this command",
                why=f"{type(error).__name__}: {error}",
                next_step="run it again with --debug, and report the trace",
            )
        )
        return failure


def _code_of(error: FleetError, failure: int) -> int:
    match error:
        case UsageInvalid():
            return EXIT_USAGE
        case NotKnown():
            return EXIT_NOT_FOUND
        case NotAllowed() | NotAuthenticated():
            return EXIT_DENIED
        case _:
            return failure
