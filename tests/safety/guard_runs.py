"""Switches every guard off, one after the other, and runs the tests that must miss it.

`PYTHONPATH=tests python -m safety guards [--row NAME] --out FILE`; the table in docs/refusals.md is made of FILE.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safety.guards import CASES
from safety.mutate import ROOT, Copy, NotThere
from safety.stamp import Stamp

from fleet.core.refusals import GUARDS, Guard

REPORT = ROOT / "docs" / "refusals.md"
_HEAD = """# The refusal table

Every guard of the product, from `fleet/core/refusals.py`: the rule of the threat model that it keeps, where it
decides, and what it says when it refuses (a class in [errors](errors/README.md), or the reason of a hold; a guard
without a word works in silence). The product cannot switch a guard off. To show that each is needed, a copy of the code
is made in which it permits everything, and the tests of what it guards against are run there: at least one fails.
Beside it stands a harmless twin, which passes.

```sh
PYTHONPATH=tests python -m safety guards --out guards.jsonl                         # all: half an hour on two cores
PYTHONPATH=tests python -m safety guards --row "a precious kind" --out one.jsonl
```

"""


def run(out: Path, names: Sequence[str] = (), shard: str = "1/1") -> int:
    """Run what is not in the file yet, of these guards or of all; the number of guards that nobody missed."""
    if unknown := {*names} - {guard.name for guard in GUARDS}:
        raise SystemExit(f"there is no guard {min(unknown)!r}; python -m safety guards --list shows them")
    chosen = [guard for guard in GUARDS if not names or guard.name in names]
    first, step = map(int, shard.split("/"))
    out.touch()
    done = {json.loads(line)["guard"] for line in out.read_text().splitlines()}
    todo = [guard for guard in chosen[first - 1 :: step] if guard.name not in done]
    stamp = Stamp()
    with tempfile.TemporaryDirectory(prefix="fleet-guards-") as folder:
        copy = Copy(Path(folder))
        broken = fails_anyway(copy, todo)
        for number, guard in enumerate(todo, 1):
            began = time.perf_counter()
            found = {**missed(copy, guard, broken), **stamp.of(began, of=len(GUARDS))}
            with out.open("a") as file:
                file.write(json.dumps({"guard": guard.name, **found}) + "\n")
            print(f"{number} of {len(todo)}: {guard.name}: {found['verdict']}, {found['seconds']} s", file=sys.stderr)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    return sum(found["verdict"] != "missed" for found in rows)


def fails_anyway(copy: Copy, guards: Sequence[Guard]) -> frozenset[str]:
    """Tests that fail with every guard in place; what is behind a parameter is left out."""
    tests = sorted({test for guard in guards for test in (*CASES[guard.name].attacks, *CASES[guard.name].twins)})
    failed = copy.run(tests, "-p", "safety.unshrunk").failed if tests else ()
    return frozenset(test.partition("[")[0] for test in failed)


def missed(copy: Copy, guard: Guard, broken: frozenset[str]) -> dict[str, Any]:
    """verdict: `missed` where a test failed, `unmissed` where all passed, else why it cannot be told."""
    case = CASES[guard.name]
    if anyway := broken & {*case.attacks, *case.twins}:
        return _told("fails with the guard in place", sorted(anyway))
    try:
        copy.switch_off(guard.decides, case.off)
    except NotThere as error:
        return _told(f"nothing to switch off: {error}", ())
    try:
        off = copy.run(case.attacks, "-x", "-p", "safety.unshrunk")
    finally:
        copy.restore(guard.decides)
    if off.code == 1 and off.failed:
        return _told("missed", off.failed)
    return _told("unmissed" if off.code == 0 else f"pytest ended with {off.code}", off.failed, off.words)


def _told(verdict: str, failed: Sequence[str], words: str = "") -> dict[str, Any]:
    return {"verdict": verdict, "failed": list(failed), **({"words": words} if words else {})}


def report(out: Path) -> str:
    """The page of docs/ from a file of results."""
    found = {line["guard"]: line for line in map(json.loads, out.read_text().splitlines())}
    rows = [guard for guard in GUARDS if found.get(guard.name, {}).get("verdict") == "missed"]
    at = {found[guard.name]["commit"] for guard in rows}
    when = f"all at {min(at)}" if len(at) == 1 else "not all at one commit"
    lines = [
        f"{len(GUARDS)} guards, {len(rows)} of them missed when they were switched off, {when}.",
        "",
        "| rules | guard | decides | says | switched off | then fails |",
        "|---|---|---|---|---|---|",
    ]
    for guard in sorted(GUARDS, key=lambda guard: (int(guard.rules[0][1:]), guard.name)):
        result = found.get(guard.name, {})
        failed = ", ".join(f"`{name.rpartition('::')[2].partition('[')[0]}`" for name in result.get("failed", [])[:1])
        off = "; ".join(str(change).replace("|", "\\|") for change in CASES[guard.name].off)
        place = guard.decides.removeprefix("fleet.")
        verdict = failed if result.get("verdict") == "missed" else f"**{result.get('verdict', 'not run')}**"
        cells = (" ".join(guard.rules), guard.name, f"`{place}`", " ".join(guard.says), off, verdict)
        lines.append(f"| {' | '.join(cells)} |")
    return _HEAD + "\n".join(lines) + "\n"


def table() -> str:
    """The refusal table for a terminal."""
    return "\n".join(f"{' '.join(guard.rules):<10} {guard.name:<44} {guard.decides}" for guard in GUARDS)


def main(words: Sequence[str]) -> int:
    """The command; 1 where a guard was not missed."""
    parser = argparse.ArgumentParser(prog="python -m safety guards", description=__doc__)
    parser.add_argument("--row", nargs="+", default=(), help="these guards alone")
    parser.add_argument("--out", type=Path, help="file of results")
    parser.add_argument("--shard", default="1/1", help="I/N: every Nth guard from the Ith; N processes may share FILE")
    parser.add_argument("--list", action="store_true", help="print the table and end")
    parser.add_argument("--report", action="store_true", help="write docs/refusals.md from FILE and end")
    options = parser.parse_args(words)
    if options.list:
        print(table())
        return 0
    if options.out is None:
        parser.error("--out is needed")
    if options.report:
        REPORT.write_text(report(options.out))
        return 0
    return 1 if run(options.out, options.row, options.shard) else 0
