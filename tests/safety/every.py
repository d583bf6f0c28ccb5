"""All figures of safety by one command: `PYTHONPATH=tests python -m safety all --out DIR`, `--short` for one of each.

Each campaign is a process of its own, one after the other, because some change the clock of theirs. DIR holds of each
its result file and what it printed, and summary.md over all of them. What has ended stands in DIR/ended.jsonl and is
not repeated; a campaign that was ended halfway goes on where it was, if it can. `safety report DIR` takes the figures
over into docs/safety-report.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safety.stamp import ROOT, Stamp

OUT = "{out}"
_SHOWN_LINES = 60


@dataclass(frozen=True)
class Campaign:
    """One of them: arguments of Python; `{out}` is its result file in DIR. short: instead of `long`."""

    figure: str
    long: tuple[str, ...]
    short: tuple[str, ...]
    suffix: str = "jsonl"


def _safety(name: str, long: str = "", short: str = "", *, figure: str, suffix: str = "jsonl") -> Campaign:
    command = ("-m", "safety", name, "--out", OUT)
    return Campaign(figure, (*command, *long.split()), (*command, *short.split()), suffix)


_WAYS = ("-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "tests/safety/test_ways_to_nothing.py")
CAMPAIGNS: Mapping[str, Campaign] = {
    "ways": Campaign("ways to make desired state empty or small, each with its twin", _WAYS, _WAYS, "txt"),
    "flips": _safety("flips", short="--shard 1/20", figure="writes to a wrong cluster in 1,000 identity flips"),
    "kills": _safety(
        "kills", "--points 250", "--points 3 --short", figure="kills from outside under load and in recovery"
    ),
    "sweep": _safety("sweep", short="--shard 1/60", figure="every request boundary x five faults, V1-V8"),
    "schedules": _safety("schedules", short="--seed 0", figure="seeded schedules with several nemeses at once"),
    "calm": _safety("calm", short="--short", figure="units shown as well that are not"),
    "isolation": Campaign(
        "healthy clusters' delay beside sick ones",
        ("-m", "bench.isolation", "--out", OUT),
        ("-m", "bench.isolation", "--out", OUT, "--clusters", "20", "--pairs", "1", "--commits", "1"),
        "json",
    ),
    "hostile": _safety("hostile", figure="hostile repos, kubeconfigs, addresses, webhooks", suffix="json"),
    "secrets": _safety(
        "secrets",
        "--megabytes 50",
        "--megabytes 2",
        figure="seeded secrets found in what the hub leaves",
        suffix="json",
    ),
    "guards": _safety("guards", short="--shard 1/60", figure="guards whose attack passes when they are switched off"),
    "generators": _safety("generators", short="--short", figure="holds and missing ConfigMaps in 50 generator changes"),
    "replay": _safety("replay", "--commits 1000", "--commits 100", figure="false holds in ordinary commits"),
    "fuzz": _safety("fuzz", "--inputs 1000000", "--inputs 10000", figure="crashes and hangs of the readers"),
}


def run(folder: Path, campaigns: Mapping[str, Campaign], *, short: bool) -> int:
    """Run what has not ended yet, and write the summary; how many ended with another code than 0."""
    folder.mkdir(parents=True, exist_ok=True)
    ended = folder / "ended.jsonl"
    ended.touch()
    for number, (name, campaign) in enumerate(campaigns.items(), 1):
        if any(row["campaign"] == name for row in _rows(ended)):
            continue
        chosen = campaign.short if short else campaign.long
        out = folder.resolve() / f"{name}.{campaign.suffix}"
        stamp, began = Stamp(), time.perf_counter()
        with (folder / f"{name}.log").open("a") as log, (folder / f"{name}.err").open("a") as errors:
            done = subprocess.run(
                [sys.executable, *(str(out) if word == OUT else word for word in chosen)],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))},
                stdout=log,
                stderr=errors,
                check=False,
            )
        row = {"campaign": name, "code": done.returncode, "short": short, "command": list(chosen), **stamp.of(began)}
        with ended.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{number} of {len(campaigns)}: {name} ended with {done.returncode}, {row['seconds']} s", file=sys.stderr)
    (folder / "summary.md").write_text(summary(folder, campaigns))
    return sum(row["code"] != 0 for row in _rows(ended))


def _rows(ended: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ended.read_text().splitlines()]


def summary(folder: Path, campaigns: Mapping[str, Campaign]) -> str:
    """The page over all campaigns: one row each, then what each of them printed at its end."""
    rows = {row["campaign"]: row for row in _rows(folder / "ended.jsonl")}
    stamp = Stamp()
    lines = ["# Safety figures", "", f"At {stamp.commit} on {stamp.machine}.", ""]
    lines += ["| campaign | figure | form | minutes | ended with |", "|---|---|---|---|---|"]
    for name, campaign in campaigns.items():
        row = rows.get(name)
        told = (
            ("short" if row["short"] else "long", f"{row['seconds'] / 60:.1f}", f"{row['code']}")
            if row is not None
            else ("", "", "not run")
        )
        lines.append(f"| {name} | {campaign.figure} | {' | '.join(told)} |")
    minutes = sum(row["seconds"] for row in rows.values()) / 60
    lines.append(f"| all | | | {minutes:.1f} | |")
    for name in campaigns:
        log = folder / f"{name}.log"
        if name in rows and log.exists():
            shown = log.read_text(errors="replace").replace(str(folder.resolve()), "DIR").splitlines()[-_SHOWN_LINES:]
            words = " ".join("FILE" if word == OUT else word for word in rows[name]["command"])
            lines += ["", f"## {name}", "", "```", f"$ python {words}", *shown, "```"]
    return "\n".join(lines) + "\n"


def main(words: Sequence[str]) -> int:
    """The command; 1 where a campaign found something, or did not end well."""
    parser = argparse.ArgumentParser(prog="python -m safety all", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="directory of results")
    parser.add_argument("--short", action="store_true", help="one of each")
    parser.add_argument("--only", nargs="+", choices=sorted(CAMPAIGNS), help="these campaigns alone")
    options = parser.parse_args(words)
    chosen = {name: campaign for name, campaign in CAMPAIGNS.items() if options.only is None or name in options.only}
    return 1 if run(options.out, chosen, short=options.short) else 0
