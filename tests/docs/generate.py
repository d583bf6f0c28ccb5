"""Makes the parts of docs/ that are facts of the code: `python tests/docs/generate.py` writes them."""

from __future__ import annotations

import inspect
from pathlib import Path

from fleet import errors
from fleet.settings import Settings

DOCS = Path(__file__).resolve().parents[2] / "docs"
RETRY_WORDS = {
    errors.Retry.SOON: "repeated by itself, with backoff",
    errors.Retry.ON_CHANGE: "tried again when the commit, a right or a setting changes",
    errors.Retry.NEVER: "stands until a person decides",
}


def errors_page() -> str:
    """One heading per error class, in the order of fleet/errors.py."""
    lines = [
        "# Errors",
        "",
        "Each class of error is the reason of a status, the `type` of an API problem (`urn:fleet:NAME`) and a heading",
        "here. A failure concerns just what it names: nothing else stops, and nothing is deleted for it.",
        "",
    ]
    classes = [
        item
        for item in vars(errors).values()
        if inspect.isclass(item) and issubclass(item, errors.FleetError) and not item.is_group()
    ]
    for item in classes:
        lines += [
            f"## {item.__name__}",
            "",
            " ".join(str(item.__doc__).split()),
            "",
            f"*{RETRY_WORDS[item.retry]}*",
            "",
        ]
    return "\n".join(lines)


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


PAGES = {"errors.md": errors_page, "reference/configuration.md": configuration_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
