"""The pages in docs/ that state facts of the code state the true ones."""

from __future__ import annotations

import ast
import inspect
import io
import json
import re
import shlex
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from docs.generate import DOCS, catalog_gaps, error_classes, example_of, pages, stale_pages

from fleet import errors
from fleet.cli.app import app, run
from fleet.cli.output import print_error

ROOT = DOCS.parent


def test_every_error_has_its_words_and_no_other_has() -> None:
    assert catalog_gaps() == []
    assert stale_pages() == [], "run: PYTHONPATH=tests python -m docs.generate"


@pytest.mark.parametrize("name", sorted(pages()))
def test_a_page_made_from_the_code_is_as_the_code_says(name: str) -> None:
    assert (DOCS / name).exists(), f"docs/{name} is missing; run: PYTHONPATH=tests python -m docs.generate"
    assert (DOCS / name).read_text(encoding="utf-8") == pages()[name](), "run: PYTHONPATH=tests python -m docs.generate"


@pytest.mark.parametrize("item", error_classes(), ids=lambda item: item.__name__)
def test_an_error_is_printed_with_the_page_that_explains_it(item: type[errors.FleetError]) -> None:
    said = io.StringIO()
    print_error(item("it failed", why="it broke", next_step="fleet status"), said)
    (docs,) = re.findall(r"^  docs  (.*)$", said.getvalue(), re.MULTILINE)
    assert (ROOT / docs).exists()
    assert (ROOT / docs).read_text(encoding="utf-8").startswith(f"# {item.__name__}\n")


def test_a_group_of_errors_names_no_page() -> None:
    groups = [item for item in vars(errors).values() if inspect.isclass(item) and item not in error_classes()]
    for group in groups:
        if issubclass(group, errors.FleetError):
            said = io.StringIO()
            print_error(group("it failed"), said)
            assert "docs/" not in said.getvalue(), group


COMMANDS = re.findall(r"`(fleet [^`]+)`", (DOCS / "errors" / "catalog.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("line", sorted({line for line in COMMANDS if "COMMAND" not in line}))
def test_a_step_names_a_command_with_options_that_there_are(line: str) -> None:
    words = shlex.split(line)[1:]
    chain, parts, _ = app.parse_commands(words)
    assert chain, line
    options = {word.partition("=")[0] for word in words if word.startswith("--")}
    known = set(re.findall(r"--[a-z][a-z-]*", help_of(chain)))
    assert options <= known, parts


def help_of(chain: tuple[str, ...]) -> str:
    """What a command says of itself."""
    said = io.StringIO()
    with redirect_stdout(said):
        run([*chain, "--help"])
    return said.getvalue()


def templates() -> list[str]:
    """The first text of every call in fleet/ as a pattern: what an error may say."""
    found: list[str] = []
    for path in sorted((ROOT / "fleet").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [re.escape(str(v.value)) if isinstance(v, ast.Constant) else ".+" for v in node.values]
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(re.escape(node.value))
    return found


def test_the_examples_say_what_the_code_says() -> None:
    """Of errors that are raised with a text of ours; those that pass on what a server says are left out."""
    said = re.compile("|".join(f"(?:{one})" for one in templates() if len(re.sub(r"\.\+|\\\\.", "", one)) > 5))
    unlike = [item.__name__ for item in error_classes() if not said.fullmatch(example_of(item).what)]
    assert unlike == []


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
