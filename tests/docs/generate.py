"""Makes the parts of docs/ that are facts of the code: `PYTHONPATH=tests python -m docs.generate` writes them.

A page per error: its meaning from fleet/errors.py, causes, steps and example from docs/errors/catalog.yaml.
"""

from __future__ import annotations

import inspect
import io
import json
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import yaml

from fleet import errors
from fleet.api.app import ROUTES
from fleet.api.openapi import document_of
from fleet.cli.output import print_error
from fleet.settings import Settings

DOCS = Path(__file__).resolve().parents[2] / "docs"
RETRY_WORDS = {
    errors.Retry.SOON: "It is repeated by itself, with growing pauses.",
    errors.Retry.ON_CHANGE: "It is tried again when the commit, a right or a setting changes.",
    errors.Retry.NEVER: "It stands until a person decides.",
}


def error_classes() -> list[type[errors.FleetError]]:
    """Those that have a page, in the order of fleet/errors.py."""
    return [
        item
        for item in vars(errors).values()
        if inspect.isclass(item) and issubclass(item, errors.FleetError) and not item.is_group()
    ]


@cache
def catalog() -> dict[str, Any]:
    """What people wrote of each error."""
    return yaml.safe_load((DOCS / "errors" / "catalog.yaml").read_text(encoding="utf-8"))


def catalog_gaps() -> list[str]:
    """What is to be written, or taken out, before the pages can be made."""
    names = {item.__name__ for item in error_classes()}
    found = [f"write {name} in docs/errors/catalog.yaml: why, do, example" for name in sorted(names - set(catalog()))]
    return found + [f"take {name} out of docs/errors/catalog.yaml: no such error" for name in set(catalog()) - names]


def meaning(item: type[errors.FleetError]) -> str:
    """Its docstring on one line."""
    return " ".join(str(item.__doc__).split())


def example_of(item: type[errors.FleetError]) -> errors.FleetError:
    """The error that its page shows."""
    given = catalog()[item.__name__]["example"]
    return item(given["what"], where=given.get("where", ""), why=given.get("why", ""), next_step=given.get("next", ""))


def error_page(item: type[errors.FleetError]) -> str:
    """One error: what it means, why, what to do, an example."""
    entry, printed = catalog()[item.__name__], io.StringIO()
    print_error(example_of(item), printed)
    return "\n".join(
        [
            f"# {item.__name__}",
            "",
            meaning(item),
            "",
            entry["why"],
            "",
            "What to do:",
            "",
            *(f"{number}. {step}" for number, step in enumerate(entry["do"], 1)),
            "",
            RETRY_WORDS[item.retry],
            "",
            "```",
            printed.getvalue().rstrip(),
            "```",
            "",
            "[All errors](README.md)",
            "",
        ]
    )


def errors_index() -> str:
    """All errors with their meaning, in the order of fleet/errors.py."""
    return "\n".join(
        [
            "# Errors",
            "",
            "Each class of error is the reason of a status, the `type` of an API problem (`urn:fleet:NAME`) and a page",
            "here; a message names its page. A failure concerns just what it names: nothing else stops, and nothing is",
            "deleted for it.",
            "",
            "| error | meaning |",
            "|---|---|",
            *(f"| [{item.__name__}]({item.__name__}.md) | {meaning(item)} |" for item in error_classes()),
            "",
        ]
    )


def configuration_page() -> str:
    """One row per setting."""
    lines = [
        "# Configuration of the hub",
        "",
        "Read once at the start: flags of `fleet hub`, then `FLEET_*` in the environment, then the default. Nothing in",
        "the fleet repo can change any of it.",
        "",
        "| variable | default | meaning |",
        "|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        default = field.get_default()
        text = "the user's state folder" if name == "data_dir" else "" if default in (None, "", ()) else f"`{default}`"
        lines.append(f"| `FLEET_{name.upper()}` | {text} | {field.description} |")
    return "\n".join(lines) + "\n"


def pages() -> dict[str, Callable[[], str]]:
    """What makes each page, by its path below docs/."""
    return {
        "reference/configuration.md": configuration_page,
        "openapi.json": lambda: json.dumps(document_of(ROUTES), indent=1) + "\n",
        "errors/README.md": errors_index,
        **{f"errors/{item.__name__}.md": partial(error_page, item) for item in error_classes()},
    }


def stale_pages() -> list[Path]:
    """Pages of errors that there are no more."""
    return [path for path in sorted((DOCS / "errors").glob("*.md")) if f"errors/{path.name}" not in pages()]


if __name__ == "__main__":
    if gaps := catalog_gaps():
        sys.exit("\n".join(gaps))
    for page in stale_pages():
        page.unlink()
    for name, page_of in pages().items():
        (DOCS / name).write_text(page_of(), encoding="utf-8")
