"""Walks a page of docs/ as its reader would: its console lines, one after the other, in one shell."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / ".venv" / "bin"
ENDED = "the shell has ended"


def commands_of(page: Path) -> list[str]:
    """The lines after `$ ` in the console blocks of a page."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def wait_for(path: Path, seconds: float) -> None:
    """Until a file is there."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path.name} did not appear within {seconds:g} s"
        time.sleep(0.05)


def run_line(shell: subprocess.Popen[str], line: str) -> str:
    """Run one line in the shell; returns what it printed, fails if it failed."""
    assert shell.stdin is not None
    assert shell.stdout is not None
    shell.stdin.write(f"{line}\necho done-with-it\n")
    shell.stdin.flush()
    printed: list[str] = []
    for text in shell.stdout:
        if text.strip() == "done-with-it":
            return "".join(printed)
        if text.strip() == ENDED:
            break  # what runs in the background holds its output open
        printed.append(text)
    raise AssertionError(f"{line!r} failed:\n{''.join(printed)}")


def give_contexts(home: Path, config: dict[str, Any], *names: str) -> None:
    """A person's kubeconfig in which all these contexts lead to the one of `config`; the first is the current one."""
    (context,) = config["contexts"]
    contexts = [{**context, "name": name} for name in names]
    (home / ".kube").mkdir()
    document = {**config, "contexts": contexts, "current-context": names[0]}
    (home / ".kube" / "config").write_text(yaml.safe_dump(document))


def walk(shell: subprocess.Popen[str], lines: list[str], home: Path) -> dict[str, str]:
    """Run lines in their order, a hub in the background until it answers; what each one printed."""
    answers: dict[str, str] = {}
    for line in lines:
        answers[line] = run_line(shell, line)
        if line.endswith("&"):
            wait_for(home / ".local" / "state" / "fleet" / "url", 60)
    return answers
