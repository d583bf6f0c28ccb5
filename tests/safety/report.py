"""The committed report: `PYTHONPATH=tests python -m safety report DIR...` takes over what ran there.

docs/safety-runs.jsonl holds a line for each campaign, kind of run and commit; docs/safety-report.md is made of it, and
says of each campaign how much of its long form was run, and where none of it was. A campaign that was run by hand needs
no more than its result file in DIR; what ran through `all` brings its log and how it ended.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safety import kills
from safety.every import CAMPAIGNS, Campaign
from safety.stamp import ROOT

RUNS, PAGE = ROOT / "docs" / "safety-runs.jsonl", ROOT / "docs" / "safety-report.md"
_HEAD = """# Safety report

What was run of the campaigns of [evidence](safety.md), made from `docs/safety-runs.jsonl`: at which commit, when, how
much of it, what it found, and how long it took by the clock on a machine that may have had other work. A line is one
kind of run at one commit; *not measured* are runs that could say nothing of an invariant. Figures add up over a line's
runs; times and memory are the largest of one run. *Not kept*: told in evidence when it was run, from result files that
are gone.

```sh
PYTHONPATH=tests python -m safety all --out DIR      # the long forms, hours; --only NAME, or one by hand into DIR
PYTHONPATH=tests python -m safety report DIR         # takes them over into this page
```

| campaign | runs | commit | ended | minutes | found | not measured | figures | machine |
|---|---|---|---|---|---|---|---|---|
"""
Line = dict[str, Any]
_MARKS = frozenset({"of", "seconds", "met"})  # of a run's numbers, those that are no figure


def lines_of(folder: Path, campaigns: Mapping[str, Campaign] = CAMPAIGNS) -> list[Line]:
    """What ran in a directory of results."""
    ended = folder / "ended.jsonl"
    whole = {row["campaign"]: row for row in _rows(ended)} if ended.exists() else {}
    found: list[Line] = []
    for name, campaign in campaigns.items():
        out, row = folder / f"{name}.{campaign.suffix}", whole.get(name)
        form = "short" if row is not None and row["short"] else "long"
        if campaign.suffix == "jsonl" and out.exists():
            kinds: dict[tuple[str, str, str], list[Line]] = defaultdict(list)
            for run in _rows(out):
                kinds[run.get("kind", name), run["commit"], run["machine"]].append(run)
            found += [{"campaign": name, "form": form, **_line(*key, runs)} for key, runs in kinds.items()]
        elif row is not None:
            said = (folder / f"{name}.log").read_text(errors="replace").splitlines()[-1:]
            wrong = [] if row["code"] == 0 else [f"ended with {row['code']}"]
            run = {**row, "run": name, "of": 1, "violations": wrong}
            figures = "".join(said).strip(" =")
            found.append(
                {
                    "campaign": name,
                    "form": form,
                    **_line(name, row["commit"], row["machine"], [run]),
                    "figures": figures,
                }
            )
    return found


def _line(kind: str, commit: str, machine: str, runs: Sequence[Line]) -> Line:
    names = [run.get("run", "") for run in runs]
    wrong = [f"{run.get('run') or run['guard']}: {one.splitlines()[0]}" for run in runs for one in _violations(run)]
    return {
        "kind": kind,
        "commit": commit,
        "machine": machine,
        "at": max(run["at"] for run in runs),
        "part": parts_of(names),
        "runs": len(runs),
        "of": max(run["of"] for run in runs),
        "minutes": round(sum(run["seconds"] for run in runs) / 60, 1),
        "found": wrong,
        "unmeasured": sum(bool(run.get("unmeasured")) for run in runs),
        "figures": _figures(runs),
    }


def _violations(run: Line) -> list[str]:
    if "verdict" in run:
        return [] if run["verdict"] == "missed" else [run["verdict"]]
    return run["violations"]


def _figures(runs: Sequence[Line]) -> str:
    told: dict[str, float] = {}
    for run in runs:
        for key, value in run.items():
            if key in _MARKS or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if key.endswith(("_seconds", "_mib", "_share")):
                told[key] = max(told.get(key, 0), value)
            else:
                told[key] = told.get(key, 0) + value
    shown = [f"{key.replace('_', ' ')} {round(value, 3):,}" for key, value in told.items() if value]
    points = [point for run in runs for point in run.get("points", [])]
    return "; ".join([*shown, *(kills.figures(points).splitlines() if points else [])])


def parts_of(names: Iterable[str]) -> str:
    """Which seeds or inputs these runs were, as `seeds 4-19, 21`; nothing where their names do not say it."""
    seeds: list[tuple[int, int]] = []
    word = ""
    for name in names:
        if match := re.search(r"seed (\d+)", name):
            word, span = "seeds", (int(match[1]), int(match[1]))
        elif match := re.search(r" (\d+)-(\d+)$", name):
            word, span = "inputs", (int(match[1]), int(match[2]))
        else:
            return ""
        seeds.append(span)
    joined: list[tuple[int, int]] = []
    for first, last in sorted(seeds):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return f"{word} " + ", ".join(f"{first}-{last}" if last > first else f"{first}" for first, last in joined)


def page(lines: Sequence[Line], campaigns: Mapping[str, Campaign] = CAMPAIGNS) -> str:
    """The page of docs/."""
    rows: list[Sequence[str]] = []
    for name, campaign in campaigns.items():
        mine = [line for line in lines if line["campaign"] == name]
        if not any(line["form"] == "long" for line in mine):
            rows.append((name, "long form: **not run in this form**", "", "", "", "", "", campaign.figure, ""))
        rows += [_cells(line) for line in sorted(mine, key=lambda one: (one["form"], one["kind"], one["at"]))]
    table = [f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |" for cells in rows]
    found = [f"- {line['campaign']} at {line['commit']}: {one}" for line in lines for one in line["found"]]
    tail = ["", "## What these runs found", "", *found] if found else []
    return _HEAD + "\n".join([*table, *tail]) + "\n"


def _cells(line: Line) -> Sequence[str]:
    name = line["campaign"] if line["kind"] in line["campaign"] else f"{line['campaign']}: {line['kind']}"
    count = f"{line['runs']} of {line['of']}" if line["form"] == "long" else str(line["runs"])
    return (
        name,
        f"{line['form']} form: {count}" + (f", {line['part']}" if line["part"] else ""),
        line["commit"],
        line["at"],
        "not kept" if line["minutes"] is None else str(line["minutes"]),
        f"**{len(line['found'])}**" if line["found"] else "0",
        str(line["unmeasured"]),
        line["figures"],
        line["machine"],
    )


def take_over(folders: Iterable[Path], runs: Path = RUNS) -> list[Line]:
    """All lines with those of these directories; the same campaign, kind, form and commit stands there once."""
    known = {_key(line): line for line in (_rows(runs) if runs.exists() else [])}
    for folder in folders:
        known |= {_key(line): line for line in lines_of(folder)}
    runs.write_text("".join(json.dumps(line) + "\n" for line in known.values()))
    return list(known.values())


def _key(line: Line) -> tuple[str, ...]:
    return tuple(line[part] for part in ("campaign", "kind", "form", "commit", "machine"))


def _rows(path: Path) -> list[Line]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def main(words: Sequence[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m safety report", description=__doc__)
    parser.add_argument("folders", type=Path, nargs="*", metavar="DIR", help="directories of results")
    options = parser.parse_args(words)
    PAGE.write_text(page(take_over(options.folders)))
    return 0
