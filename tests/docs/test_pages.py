"""The pages in docs/ that state facts of the code state the true ones."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from docs.generate import DOCS, PAGES

ROOT = DOCS.parent


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_made_from_the_code_is_as_the_code_says(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), "run: PYTHONPATH=tests python -m docs.generate"


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


def test_links_between_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *DOCS.rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


def test_no_page_names_a_machine_path() -> None:
    for page in [ROOT / "README.md", ROOT / "CHANGELOG.md", *Path(DOCS).rglob("*.md")]:
        assert not re.search(r"/(root|home|work|tmp)/", page.read_text(encoding="utf-8")), page
