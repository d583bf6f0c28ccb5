"""The way around the parser: what it takes, it takes as the parser does; all else it leaves to it."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.cli.app import app
from fleet.cli.plan_options import OPTIONS, plain_options

NAMES = [name for option in OPTIONS.values() for name in option.names]
WORDS = st.one_of(
    st.sampled_from([*NAMES, "--live", "--no-live", "--timeout", "--hub", "--help", "-h", "--", "--base=a", "-ojson"]),
    st.sampled_from(
        ["main", "HEAD~1", "a-b", "1.33", "-1", "", " x", "x y", ".", "/tmp/x", "origin/main", "{}", "[1]"]
    ),
    st.text(max_size=4),
)


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.lists(WORDS, max_size=6), st.lists(st.tuples(st.sampled_from(NAMES), WORDS), max_size=5)))
def test_plain_words_mean_what_the_parser_says(words: list[str] | list[tuple[str, str]]) -> None:
    flat = [part for word in words for part in ([word] if isinstance(word, str) else word)]
    found = plain_options(flat)
    if found is None:
        return
    command, bound, _ = app.parse_args(["plan", *flat], exit_on_error=False, print_error=False)
    bound.apply_defaults()
    said = dict(bound.arguments)
    assert command.__name__ == "plan"
    assert {name: Path(value) if name == "root" else value for name, value in found.items()} == {
        name: said.pop(name) for name in found
    }
    assert all(said[name] == inspect.signature(command).parameters[name].default for name in said)


@pytest.mark.parametrize(
    "words",
    [["--base", "a", "--base", "b"], ["--base"], ["--base", "--head"], ["--live"], ["x"], ["--base", "-1"], ["--help"]],
)
def test_what_is_not_plain_is_left_to_the_parser(words: list[str]) -> None:
    assert plain_options(words) is None
    assert plain_options(["--base", "a", "-o", "json"]) is not None


def test_a_plain_plan_imports_no_parser(tmp_path: Path) -> None:
    code = "import sys; sys.argv = ['fleet', 'plan', '--root', sys.argv[1]]; from fleet.cli.start import main\n"
    code += "try: main()\nexcept SystemExit as end: print(end.code, 'cyclopts' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2 False"
    assert "is in no git repository" in done.stderr
