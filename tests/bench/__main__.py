"""`python -m bench`: lists the benchmarks; `python -m bench all` (or names) runs them one after the other."""

from __future__ import annotations

import importlib
import subprocess
import sys

NAMES = (
    "first_sync",
    "commit_latency",
    "two_fleets",
    "drift",
    "nothing_changes",
    "live_diff",
    "fan_out",
    "eta",
    "startup",
    "restore",
    "first_hour",
    "plan",
    "deciding",
)


def main() -> int:
    wanted = sys.argv[1:]
    if not wanted:
        for name in NAMES:
            about = (importlib.import_module(f"bench.{name}").__doc__ or "").splitlines()[0]
            sys.stdout.write(f"{name:<16} {about}\n")
        return 0
    names = NAMES if wanted == ["all"] else wanted
    return max(subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False).returncode for name in names)


if __name__ == "__main__":
    raise SystemExit(main())
