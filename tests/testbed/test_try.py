"""`./try test`: types are checked beside the tests, and each of them that fails fails the whole."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("fleet", "lint-imports", "pyright", "pytest", "python", "ruff")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose environment is up to date, and whose programs do nothing."""
    shutil.copy(ROOT / "try", tmp_path)
    for name in ("requirements/dev.txt", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    for name in PROGRAMS:
        plays(tmp_path, name, "exit 0")
    stamp = "cat requirements/dev.txt pyproject.toml | cksum | tr ' ' -"
    told = subprocess.run(["bash", "-c", stamp], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    (tmp_path / ".venv/stamp").write_text(told.strip() + "-dev")
    return tmp_path


def plays(checkout: Path, name: str, script: str) -> None:
    program = checkout / ".venv/bin" / name
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def run_of(checkout: Path) -> subprocess.CompletedProcess[str]:
    scratch = checkout / "scratch"
    scratch.mkdir()
    environment = {**os.environ, "TMPDIR": str(scratch), "HOME": str(checkout)}
    done = subprocess.run(
        ["./try", "test", "tests/core"], cwd=checkout, env=environment, capture_output=True, text=True, timeout=60
    )
    assert list(scratch.iterdir()) == []
    return done


def test_all_that_passes_passes(checkout: Path) -> None:
    plays(checkout, "pytest", "echo given $*")
    plays(checkout, "pyright", "echo 0 errors")
    done = run_of(checkout)
    assert done.returncode == 0, done.stderr
    assert "tests/core" in done.stdout
    assert done.stdout.endswith("0 errors\n")


@pytest.mark.parametrize(
    ("program", "code"), [("pyright", 1), ("pytest", 2), ("python", 3), ("ruff", 4), ("lint-imports", 5)]
)
def test_each_part_that_fails_fails_the_whole(checkout: Path, program: str, code: int) -> None:
    plays(checkout, program, f"echo {program} says no; exit {code}")
    done = run_of(checkout)
    assert done.returncode == code
    assert f"{program} says no" in done.stdout


def test_types_are_checked_beside_the_tests(checkout: Path) -> None:
    """The one ends when the other has begun: one after the other they would wait for ever."""
    wait = "n=0; while [ ! -e {} ]; do n=$((n + 1)); [ $n -lt 2000 ] || exit 9; sleep 0.01; done"
    plays(checkout, "pytest", "touch tests-began; " + wait.format("types-began"))
    plays(checkout, "pyright", "touch types-began; " + wait.format("tests-began"))
    assert run_of(checkout).returncode == 0
