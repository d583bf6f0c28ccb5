"""A case of the refusal table: what switches it off, the tests that must then fail, and its harmless twin.

An attack is a test in which the guard has something to refuse; a twin is the same thing without the danger, which
passes. That switching a guard off breaks its attack is checked one by one (`python -m safety guards`).
"""

from __future__ import annotations

from dataclasses import dataclass

from safety.mutate import Change


@dataclass(frozen=True, slots=True)
class Case:
    """Tests as pytest names them, below tests/; a function stands for all its parameters."""

    off: tuple[Change, ...]
    attacks: tuple[str, ...]
    twins: tuple[str, ...]


def case_of(off: Change | tuple[Change, ...], file: str, attack: str, twin: str) -> Case:
    """attack, twin: names of functions in `file`, or `other_file::function`."""

    def ids(names: str) -> tuple[str, ...]:
        return tuple(f"tests/{name}" if "::" in name else f"tests/{file}::{name}" for name in names.split())

    return Case(off if isinstance(off, tuple) else (off,), ids(attack), ids(twin))
