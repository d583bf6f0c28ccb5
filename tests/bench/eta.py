"""Forecasts of a rollout's end: how often the true end lies inside the 80 % interval, over simulated rollouts."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterable

from bench.figures import Table
from core.played import Asked, ask_all

LEAST, MOST = 0.75, 0.85


def coverage(asked: Iterable[Asked]) -> str:
    known = [one for one in asked if one.forecast.low is not None]
    if not known:
        return "none"
    inside = sum(one.is_inside for one in known) / len(known)
    width = statistics.median((one.forecast.high or 0.0) / max(1.0, one.forecast.low or 0.0) for one in known)
    return f"{inside:.1%} of {len(known)}; median high/low {width:.2f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=60)
    parser.add_argument("--each", type=int, default=20)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    asked = list(ask_all(given.worlds, given.each, given.seed))
    asked += ask_all(given.worlds // 3, given.each, given.seed + 1, overlays=2)
    known = [one for one in asked if one.forecast.low is not None]
    inside = sum(one.is_inside for one in known) / len(known)
    table = Table("eta", f"True end inside the 80 % interval, {len(asked)} simulated rollouts, seed {given.seed}")
    table.add("all", coverage(asked), "75-85 %", met=LEAST <= inside <= MOST)
    groups: dict[str, Callable[[Asked], object]] = {
        "durations": lambda one: one.durations,
        "rollouts": lambda one: one.slowness,
        "history": lambda one: one.history,
        "overlays": lambda one: one.overlays,
    }
    for title, key in groups.items():
        for value in dict.fromkeys(map(key, asked)):
            table.add(f"{title}: {value}", coverage(one for one in asked if key(one) == value))
    table.add("asked, and nothing was said", f"{len(asked) - len(known)} of {len(asked)}")
    table.show()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
