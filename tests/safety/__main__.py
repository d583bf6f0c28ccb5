"""The long form of the safety figures: `PYTHONPATH=tests python -m safety WHAT --out FILE`.

Each line of FILE is one run as JSON, written as soon as it ended; runs that stand there already are not repeated. The
exit code is 1 if any run found a violation.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import structlog
from safety import calm, flips, fuzz, fuzz_targets, generators, kills, replay, sweep
from safety.faster import run_faster
from safety.level import Level, left_over
from safety.schedules import Schedule
from safety.stamp import Stamp

FUZZ_RUN = 100_000
REPLAY_RUN = 250
FALSE_SHARE = 0.01
Job = tuple[str, Callable[[], Awaitable[dict[str, Any]]]]


async def sweep_jobs() -> list[Job]:
    """Every boundary of the reference run x every fault."""
    made: list[Job] = []
    reference = await sweep.undisturbed()
    for boundary in reference.boundaries:
        for fault in sweep.FAULTS:

            async def job(boundary: sweep.Boundary = boundary, fault: str = fault) -> dict[str, Any]:
                found = await sweep.one_run(boundary, fault, reference.delays)
                told = {"violations": list(found.violations), "unmeasured": list(found.unmeasured)}
                return {"kind": fault, "met": found.met, **told}

            made.append((f"{' '.join(map(str, boundary))} / {fault}", job))
    return made


async def flip_jobs() -> list[Job]:
    """1,000 flips in runs of 50."""

    async def job(seed: int) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="fleet-flips-") as folder:
            found = await flips.flip(Path(folder), 50, seed)
        wrong = [f"V2 landed on the wrong cluster: {write}" for write in found.wrong_writes]
        late = [] if found.converged else ["V4 the right cluster did not come to what Git says"]
        counts = {"reached_wrong": found.reached_wrong, "right_writes": found.right_writes}
        return {"kind": "50 flips", "met": found.reached_wrong > 0, "violations": [*wrong, *late], **counts}

    return [(f"flips, seed {seed}", partial(job, seed)) for seed in range(20)]


async def schedule_jobs() -> list[Job]:
    """One day for each of 30 seeds."""

    async def job(seed: int) -> dict[str, Any]:
        schedule = Schedule(seed)
        violations = await schedule.run()
        counts: dict[str, Any] = {"did": schedule.did, "asked": schedule.asked, "looked": schedule.looked}
        counts["delay_seconds"] = max(schedule.delays, default=0.0)
        told = {"violations": violations, "unmeasured": schedule.unmeasured}
        return {"kind": "schedule", "met": len(schedule.did) >= 10, **told, **counts}

    return [(f"schedule, seed {seed}", partial(job, seed)) for seed in range(30)]


async def calm_jobs(short: bool) -> list[Job]:
    """Sick clusters for minutes of a faster time, and who shows them as well; from the third seed on with kills."""
    run_faster(calm.TIMES)

    async def job(made: calm.Calm) -> dict[str, Any]:
        violations = await made.run()
        units = {one.unit for one in made.shown if one.is_calm}
        counts = {"looked": len(made.shown), "calm": sorted(units), "delay_seconds": max(made.delays, default=0.0)}
        told = {"violations": violations, "unmeasured": made.unmeasured}
        return {"kind": "calm", "met": len(made.shown) > 0, **told, **counts}

    if short:
        made = calm.Calm(0, seconds=calm.CALM_SECONDS + 60, clusters=("hole", "drip", "mute"))
        return [("calm, short", partial(job, made))]
    return [(f"calm, seed {seed}", partial(job, calm.Calm(seed, kills=0 if seed < 2 else 3))) for seed in range(5)]


async def generator_jobs(short: bool) -> list[Job]:
    """50 changes of generators over 30 clusters."""
    clusters, changes = (5, 6) if short else (30, 50)

    async def job() -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="fleet-generators-") as folder:
            found = await generators.change(Path(folder), clusters, changes, 0, seconds=1800.0)
        others = [f"V1 {name} was deleted" for name in found.others_deleted]
        counts = {"looked": found.looked, "deleted": found.deleted, "generated": found.generated}
        violations = [*found.holds, *found.missing, *others]
        return {"kind": f"{changes} generator changes", "met": found.most_pods > 2, "violations": violations, **counts}

    return [(f"generator changes, {clusters} clusters", job)]


async def replay_jobs(commits: int) -> list[Job]:
    """Histories of 250 commits each."""

    async def job(seed: int, count: int) -> dict[str, Any]:
        found = await asyncio.to_thread(replay.run, count, seed)
        shape = {f"deletes {key}": value for key, value in found.shape.items()}
        counts = {"commits": found.commits, "held": found.held, "deletions": found.deletions, **found.rightly, **shape}
        falsely: dict[str, Any] = {
            "false_holds": found.false_holds,
            "false_share": len(found.false_holds) / found.commits,
        }
        late = [f"{len(found.false_holds)} false holds"] if falsely["false_share"] > FALSE_SHARE else []
        met = found.shape["1-10"] > 0
        return {"kind": "replay", "met": met, "violations": [*found.wrong, *late], **counts, **falsely}

    sizes = [min(REPLAY_RUN, commits - first) for first in range(0, commits, REPLAY_RUN)]
    return [(f"replay, seed {seed}, {size} commits", partial(job, seed, size)) for seed, size in enumerate(sizes)]


async def fuzz_jobs(inputs: int, target: str) -> list[Job]:
    """Inputs of each target, in runs of 100,000."""

    async def job(name: str, first: int, count: int) -> dict[str, Any]:
        found = await asyncio.to_thread(fuzz.run, fuzz_targets.TARGETS[name], count, first=first)
        slow, growth = round(found.slowest[0], 3), found.growth_bytes >> 20
        counts = {"inputs": found.inputs, "slowest_seconds": slow, "growth_mib": growth, **found.outcomes}
        large = [] if found.growth_bytes <= fuzz.GROWTH_BYTES else [f"the memory grew by {growth} MiB"]
        violations = [*found.crashes, *found.hangs, *large]
        return {"kind": f"fuzz {name}", "met": found.inputs == count, "violations": violations, **counts}

    return [
        (f"fuzz {name} {first}-{min(inputs, first + FUZZ_RUN) - 1}",
         partial(job, name, first, min(inputs, first + FUZZ_RUN) - first))
        for name in fuzz_targets.TARGETS if target in ("", name)
        for first in range(0, inputs, FUZZ_RUN)
    ]  # fmt: skip


KILLS_AT_ONCE = 50  # points of one fleet, one after the other


async def kill_jobs(points: int, short: bool) -> list[Job]:
    """So many kills of hubs under load, one in five of them during recovery."""

    async def job(seed: int) -> dict[str, Any]:
        count = min(KILLS_AT_ONCE, points - seed * KILLS_AT_ONCE)
        few = partial(kills.Campaign, clusters=2, commit_seconds=3.0, again=2)
        campaign = few(seed, count) if short else kills.Campaign(seed, count)
        violations = await campaign.run()
        return {"kind": "kills", "met": bool(campaign.done), "violations": violations, **campaign.row()}

    return [(f"kills, seed {seed}", partial(job, seed)) for seed in range(-(-points // KILLS_AT_ONCE))]


async def run_all(jobs: Sequence[Job], out: Path, of: int) -> int:
    """Run what is not in the file yet; the number of runs with a violation. of: how many runs the whole form has."""
    stamp = Stamp()
    out.touch()
    for number, (name, run) in enumerate(jobs, 1):
        if any(json.loads(line)["run"] == name for line in out.read_text().splitlines()):
            continue
        began, before = time.perf_counter(), Level()  # some make time.monotonic faster
        try:
            found = await run()
            found["violations"] = [*found["violations"], *await left_over(before)]
        except Exception as error:  # a run that does not end well is a finding, the next one goes on
            kind, _, _ = name.partition(",")
            found = {"kind": kind, "met": False, "violations": [f"did not end: {type(error).__name__}: {error}"]}
        line = json.dumps({"run": name, **found, **stamp.of(began, of=of)})
        with out.open("a") as file:
            file.write(line + "\n")
        print(f"{number} of {len(jobs)}", file=sys.stderr)
    return summary(out)


def summary(out: Path) -> int:
    """Print the figures of a file of runs."""
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    runs, met, bad, unknown = (Counter[str]() for _ in range(4))
    for row in rows:
        runs[row["kind"]] += 1
        met[row["kind"]] += row["met"]
        bad[row["kind"]] += bool(row["violations"])
        unknown[row["kind"]] += bool(row.get("unmeasured"))
    for kind in sorted(runs):
        told = f"{bad[kind]:>3} with a violation, {unknown[kind]:>3} with something not measured"
        print(f"{kind:<20} {runs[kind]:>5} runs, {met[kind]:>5} met, {told}")
    if points := [point for row in rows for point in row.get("points", [])]:
        print(kills.figures(points))
    for row in rows:
        for violation in row["violations"]:
            print(f"{row['run']}: {violation.splitlines()[0]}")
        for said in row.get("unmeasured", []):
            print(f"{row['run']}: not measured: {said}")
    return sum(bad.values())


def chosen(jobs: Sequence[Job], seeds: str, shard: str) -> Sequence[Job]:
    """seeds: as `4-19,21`, or nothing for all; shard: as `1/2`, of those that are left."""
    if seeds:
        spans = [part.partition("-") for part in seeds.split(",")]
        wanted = {seed for first, _, last in spans for seed in range(int(first), int(last or first) + 1)}
        jobs = [job for job in jobs if (found := re.search(r"seed (\d+)", job[0])) and int(found[1]) in wanted]
    first, step = map(int, shard.split("/"))
    return jobs[first - 1 :: step]


JOBS: dict[str, Callable[[argparse.Namespace], Awaitable[list[Job]]]] = {
    "sweep": lambda _: sweep_jobs(),
    "flips": lambda _: flip_jobs(),
    "schedules": lambda _: schedule_jobs(),
    "calm": lambda given: calm_jobs(given.short),
    "generators": lambda given: generator_jobs(given.short),
    "replay": lambda given: replay_jobs(given.commits),
    "fuzz": lambda given: fuzz_jobs(given.inputs, given.target),
    "kills": lambda given: kill_jobs(given.points, given.short),
}


# commands with options of their own, by module
OWN = {"all": "every", "guards": "guard_runs", "hostile": "hostile_runs", "report": "report", "secrets": "secret_runs"}


def main() -> int:
    if sys.argv[1:2] and sys.argv[1] in OWN:
        return import_module(f"safety.{OWN[sys.argv[1]]}").main(sys.argv[2:])
    parser = argparse.ArgumentParser(prog="python -m safety", description=__doc__)
    parser.add_argument("what", choices=sorted(JOBS))
    parser.add_argument("--out", type=Path, required=True, help="file of results")
    parser.add_argument("--shard", default="1/1", help="I/N: every Nth run from the Ith; N processes may share FILE")
    parser.add_argument("--commits", type=int, default=1_000, help="replay: how many")
    parser.add_argument("--target", default="", choices=sorted(fuzz_targets.TARGETS), help="fuzz: this one alone")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="fuzz: of each target")
    parser.add_argument("--seed", default="", help="those with these seeds alone, as 3 or 4-19,21")
    parser.add_argument("--short", action="store_true", help="calm, generators, kills: few clusters, a short while")
    parser.add_argument("--points", type=int, default=250, help="kills: how many")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    out: Path = options.out

    async def run() -> int:
        jobs = await JOBS[options.what](options)
        return await run_all(chosen(jobs, options.seed, options.shard), out, len(jobs))

    return 1 if asyncio.run(run()) else 0


if __name__ == "__main__":
    sys.exit(main())
