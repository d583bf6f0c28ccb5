"""Figures of a benchmark: samples of interleaved rounds, their median and spread, ratios within a round, one table.

A row is `(what, figure, goal)`; a goal is a number the median may not exceed (or must reach), and is shown beside the
figure. Nothing here fails: a benchmark reports, people judge.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Samples:
    """Values of one quantity, one a round, in the order of the rounds."""

    unit: str = ""
    values: list[float] = field(default_factory=list)

    def add(self, value: float) -> None:
        self.values.append(value)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def percentile(self, share: float) -> float:
        """The smallest value that at least this share of all values does not exceed."""
        ordered = sorted(self.values)
        return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]

    def __str__(self) -> str:
        if not self.values:
            return "-"
        low, high = min(self.values), max(self.values)
        shown = _number(self.median) + self.unit
        return shown if low == high else f"{shown} ({_number(low)}-{_number(high)}, n={len(self.values)})"

    def tail(self, share: float = 0.95) -> str:
        """Median and one percentile, for delays."""
        return (
            f"p50 {_number(self.median)}{self.unit}, p{share * 100:g} {_number(self.percentile(share))}{self.unit}, "
            f"max {_number(max(self.values))}{self.unit}, n={len(self.values)}"
        )


def ratio(over: Samples, under: Samples) -> Samples:
    """Round by round: what was measured close together is compared, whatever the machine did meanwhile."""
    return Samples("x", [a / b for a, b in zip(over.values, under.values, strict=True)])


def _number(value: float) -> str:
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


@dataclass(frozen=True, slots=True)
class Row:
    what: str
    figure: str
    goal: str = ""
    verdict: str = ""  # met | missed | ""


@dataclass(slots=True)
class Table:
    """What a benchmark found; printed as Markdown, kept as JSON where FLEET_BENCH_RESULTS names a folder."""

    name: str
    title: str
    rows: list[Row] = field(default_factory=list)

    def add(self, what: str, figure: object, goal: str = "", *, met: bool | None = None) -> None:
        verdict = "" if met is None else "met" if met else "missed"
        self.rows.append(Row(what, str(figure), goal, verdict))

    def at_most(self, what: str, found: Samples | float, most: float, unit: str = "") -> None:
        """A figure whose median may not exceed `most`."""
        value = found.median if isinstance(found, Samples) else found
        shown = str(found) if isinstance(found, Samples) else _number(found) + unit
        of_unit = found.unit if isinstance(found, Samples) else unit
        self.add(what, shown, f"<= {_number(most)}{of_unit}", met=value <= most)

    def at_least(self, what: str, found: Samples, least: float) -> None:
        self.add(what, found, f">= {_number(least)}{found.unit}", met=found.median >= least)

    def exactly(self, what: str, found: Samples, wanted: float) -> None:
        """Every round must have it."""
        self.add(what, found, f"{_number(wanted)}{found.unit}", met=all(value == wanted for value in found.values))

    def show(self) -> None:
        sys.stdout.write(f"\n### {self.title}\n\n{machine()}\n\n| | figure | goal | |\n|---|---|---|---|\n")
        for row in self.rows:
            sys.stdout.write(f"| {row.what} | {row.figure} | {row.goal} | {row.verdict} |\n")
        sys.stdout.flush()
        if folder := os.environ.get("FLEET_BENCH_RESULTS", ""):
            Path(folder).mkdir(parents=True, exist_ok=True)
            kept = {"name": self.name, "at": time.time(), "rows": [asdict(row) for row in self.rows]}
            (Path(folder) / f"{self.name}.json").write_text(json.dumps(kept, indent=1))


def machine() -> str:
    """When and where, and how busy it was: a figure without that says little."""
    one, five, _ = os.getloadavg()
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    stamp = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    return (
        f"{stamp} UTC, commit {head.stdout.strip()}, {os.cpu_count()} cores, load {one:.1f} (1 min) {five:.1f} (5 min)"
    )


def progress(text: str) -> None:
    """A line on stderr, so that the table alone is on stdout."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


def pairs(items: Sequence[float]) -> Samples:
    return Samples("", list(items))
