"""The pages in docs/ that state facts of the code state the true ones."""

from __future__ import annotations

import inspect
import io
import json
import re
from pathlib import Path

import pytest
from docs.generate import DOCS, PAGES

from fleet import errors
from fleet.cli.output import print_error

ROOT = DOCS.parent


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_made_from_the_code_is_as_the_code_says(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), "run: PYTHONPATH=tests python -m docs.generate"


def test_every_error_of_the_page_is_printed_with_the_place_where_it_is_explained() -> None:
    headings = set(re.findall(r"^## (\w+)$", (DOCS / "errors.md").read_text(encoding="utf-8"), re.MULTILINE))
    for name in headings:
        said = io.StringIO()
        print_error(getattr(errors, name)("it failed", why="it broke", next_step="fleet status"), said)
        assert said.getvalue().splitlines()[2:] == [f"  docs  docs/errors.md#{name.lower()}", "  next  fleet status"]
    groups = [item for item in vars(errors).values() if inspect.isclass(item) and item.__name__ not in headings]
    for group in groups:
        if issubclass(group, errors.FleetError):
            said = io.StringIO()
            print_error(group("it failed"), said)
            assert "docs/" not in said.getvalue(), group


def properties_of(schema: object) -> set[str]:
    """All property names of the parts of a JSON Schema."""
    found: set[str] = set()
    if isinstance(schema, dict):
        found |= set(schema.get("properties", {}))
        for value in schema.values():
            found |= properties_of(value)
    elif isinstance(schema, list):
        for value in schema:
            found |= properties_of(value)
    return found


@pytest.mark.parametrize("kind", ["fleet", "cluster", "overlay"])
def test_every_field_of_the_schemas_is_in_the_reference(kind: str) -> None:
    page = (DOCS / "reference" / "fleet-repo.md").read_text(encoding="utf-8")
    words = set(re.findall(r"[A-Za-z]+", page))
    schema = json.loads((DOCS / "schemas" / f"{kind}.json").read_text(encoding="utf-8"))
    steps = {"steps", "soak", "approve", "rest", "maxParallel", "maxUnavailable", "healthTimeout", "onFailure", "gates"}
    missing = properties_of(schema) - words - steps - {"apiVersion", "kind", "metadata", "spec"}
    assert not missing


def anchors_of(page: Path) -> set[str]:
    """The headings of a page as a code host spells them in links."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_between_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *DOCS.rglob("*.md")]:
        for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", page.read_text(encoding="utf-8")):
            there = page.parent / target if target else page
            assert there.exists(), f"{page.relative_to(ROOT)} links to {target}"
            assert not anchor or anchor in anchors_of(there), f"{page.relative_to(ROOT)} links to {target}#{anchor}"


def test_no_page_names_a_machine_path() -> None:
    for page in [ROOT / "README.md", ROOT / "CHANGELOG.md", *Path(DOCS).rglob("*.md")]:
        assert not re.search(r"/(root|home|work|tmp)/", page.read_text(encoding="utf-8")), page
