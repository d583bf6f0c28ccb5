"""What is wrong in a fleet repo, and where it stands."""

from __future__ import annotations

from enum import StrEnum

from fleet.values import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """Where something was written: repo path and line (from 1; 0 = the file as a whole)."""

    path: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line else self.path


class Severity(StrEnum):
    """An error makes something Unknown; a warning changes nothing."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in the repo. `reason` is the name of a class in fleet/errors.py."""

    severity: Severity
    reason: str
    what: str
    origin: Origin
    also: tuple[Origin, ...] = ()  # other places that belong to it
    why: str = ""
    effect: str = ""
    next_step: str = ""
    column: int = 0  # of what is underlined, from 1; 0: nothing is
    length: int = 0
    label: str = ""  # said beside the underline
