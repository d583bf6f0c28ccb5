"""Switches a guard off by rewriting its code in a copy of the repo: the product itself has no such switch.

A change names what in the guard's function makes it refuse, as an expression or statement in Python; it must stand
there, so that a guard that was rewritten is noticed. Each copy is of its own process and its own folder.
"""

from __future__ import annotations

import ast
import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safety.stamp import ROOT

_FAILED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)
_SECONDS = 1800


class NotThere(Exception):
    """The code does not hold what was to be changed."""


@dataclass(frozen=True, slots=True)
class Change:
    """kind: `swap` an expression, `never` or `always` a condition, `drop` statements that begin so, `gives` a value."""

    kind: str
    old: str = ""
    new: str = ""

    def __str__(self) -> str:
        match self.kind:
            case "swap":
                return f"`{self.old}` is `{self.new}`"
            case "drop":
                return f"without `{self.old}`"
            case "gives":
                return f"gives `{self.new}`"
            case _:
                return f"{self.kind} `{self.old}`"


def swap(old: str, new: str) -> Change:
    return Change("swap", old, new)


def never(condition: str) -> Change:
    return Change("never", condition)


def always(condition: str) -> Change:
    return Change("always", condition)


def drop(begins: str) -> Change:
    return Change("drop", begins)


def gives(value: str) -> Change:
    return Change("gives", new=value)


def rewritten(source: str, qualname: str, changes: Sequence[Change]) -> str:
    """The module's source with these changes in one function or value; raises NotThere."""
    tree = ast.parse(source)
    found = _find(tree, qualname)
    for change in changes:
        editor = _Editor(change)
        editor.visit(found)
        if not editor.hits:
            raise NotThere(f"{qualname}: {change}")
    ast.fix_missing_locations(tree)
    return ast.unparse(tree)


def _find(tree: ast.Module, qualname: str) -> ast.AST:
    at: ast.AST = tree
    for name in qualname.split("."):
        for item in getattr(at, "body", ()):
            targets = item.targets if isinstance(item, ast.Assign) else [getattr(item, "target", None)]
            if getattr(item, "name", None) == name or any(getattr(target, "id", None) == name for target in targets):
                at = item
                break
        else:
            raise NotThere(qualname)
    return at


def _same(node: ast.AST, text: str) -> bool:
    wanted = _parsed(text)
    return type(node) is type(wanted) and ast.unparse(node) == ast.unparse(wanted)


@functools.cache
def _parsed(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


class _Editor(ast.NodeTransformer):
    def __init__(self, change: Change) -> None:
        self.change, self.hits = change, 0

    def visit(self, node: ast.AST) -> ast.AST:
        change = self.change
        if change.kind == "gives":
            self.hits += 1
            node.body = [ast.Return(ast.parse(change.new, mode="eval").body)]  # type: ignore[attr-defined]
            return node
        if change.kind == "swap" and _is_read(node) and _same(node, change.old):
            self.hits += 1
            return ast.parse(change.new, mode="eval").body
        if change.kind == "drop" and isinstance(node, ast.stmt) and ast.unparse(node).startswith(change.old):
            self.hits += 1
            return ast.Pass()
        if change.kind in ("never", "always"):
            self._decide(node)
        return self.generic_visit(node)

    def _decide(self, node: ast.AST) -> None:
        verdict = ast.Constant(self.change.kind == "always")
        for part in ("test", "guard"):
            test = getattr(node, part, None)
            if isinstance(test, ast.expr) and _same(test, self.change.old):
                setattr(node, part, verdict)
                self.hits += 1
        if isinstance(node, ast.comprehension):
            kept = [test for test in node.ifs if not _same(test, self.change.old)]
            if len(kept) < len(node.ifs):
                self.hits += 1
                node.ifs = kept if self.change.kind == "always" else [verdict]


def _is_read(node: ast.AST) -> bool:
    return isinstance(node, ast.expr) and not isinstance(getattr(node, "ctx", None), ast.Store)


@dataclass(frozen=True, slots=True)
class Ran:
    """One run of tests: the exit code of pytest, which of them failed, and its last words."""

    code: int
    failed: tuple[str, ...]
    words: str


class Copy:
    """The repo's files in a folder of their own, in which one guard at a time is switched off."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "repo"
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, check=True, capture_output=True,
        ).stdout  # fmt: skip
        for name in filter(None, listed.decode().split("\0")):
            target = self.root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_file():
                shutil.copy2(ROOT / name, target, follow_symlinks=False)

    def switch_off(self, decides: str, changes: Sequence[Change]) -> None:
        """Rewrite one guard; raises NotThere."""
        module, _, qualname = decides.partition(":")
        path = self._path(module)
        original = (ROOT / path.relative_to(self.root)).read_text()
        self._write(path, rewritten(original, qualname, changes))

    def restore(self, decides: str) -> None:
        """As it is in the repo."""
        path = self._path(decides.partition(":")[0])
        self._write(path, (ROOT / path.relative_to(self.root)).read_text())

    def run(self, tests: Sequence[str], *more: str) -> Ran:
        """Run tests in the copy, on the copy's code, in a process of their own."""
        environment = {**os.environ, "PYTHONPATH": f"{self.root}:{self.root / 'tests'}", "PYTHONDONTWRITEBYTECODE": "1"}
        environment.pop("PYTEST_ADDOPTS", None)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rfE", "--tb=no", *more, *tests]
        done = subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
        failed = tuple(dict.fromkeys(_FAILED.findall(done.stdout)))
        return Ran(done.returncode, failed, done.stdout[-2000:] + done.stderr[-500:])

    def _path(self, module: str) -> Path:
        path = self.root / (module.replace(".", "/") + ".py")
        return path if path.is_file() else self.root / module.replace(".", "/") / "__init__.py"

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text)
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            compiled.unlink()
