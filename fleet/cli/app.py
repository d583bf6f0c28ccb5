"""The parser: kubectl's grammar. It knows the names of all commands, and imports only the one that is asked for."""

from __future__ import annotations

from cyclopts import App, CycloptsError

from fleet.cli.ending import ended
from fleet.cli.output import EXIT_USAGE, print_error
from fleet.errors import UsageInvalid

# By module in fleet/cli/commands: its functions, or the one app of a command that has commands of its own.
COMMANDS = {
    "read": ("get", "describe", "status", "history", "wait"),
    "act": ("sync", "refresh", "suspend", "resume", "approve", "reject", "rollback", "wipe"),
    "checkout": (
        *("validate", "init", "schema", "render", "diff"),
        *("plan", "promote", "compare", "blame", "preflight"),
    ),
    "hub": ("hub", "recover", "backup", "restore", "doctor", "demo", "version", "completion"),
}
FAMILIES = ("cluster", "credential", "token", "audit", "vendor", "rollout", "sim")

app = App(
    name="fleet",
    help="GitOps for fleets of Kubernetes clusters.",
    version_flags=[],
    help_format="plaintext",
)
for module, names in COMMANDS.items():
    for name in names:
        app.command(f"fleet.cli.commands.{module}:{name}", name=name)
for family in FAMILIES:
    app.command(f"fleet.cli.commands.{family}:{family}_app", name=family)


def run(arguments: list[str]) -> int:
    """Run one command; never shows a traceback without --debug."""
    words = [word for word in arguments if word != "--debug"]
    if not {"--help", "-h"}.isdisjoint(words):
        app.help_formatter = "plain"  # boxes take a fifth of a second; named only here, because naming it imports it
    return ended(lambda: _parsed(words), name=words[0] if words else "", debug="--debug" in arguments)


def _parsed(words: list[str]) -> int:
    try:
        return int(app(words, exit_on_error=False, print_error=False, result_action="return_value") or 0)
    except CycloptsError as error:
        print_error(UsageInvalid(str(error), next_step=f"fleet {' '.join(words[:1])} --help"))
        return EXIT_USAGE
