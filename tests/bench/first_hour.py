"""The first hour: from the clone to the first live difference, with an existing repo and a filled real cluster.

Every command is run as a new user would, in fresh folders and a fresh environment; downloads count. No server runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from bench.figures import Table
from bench.processes import own_cpu
from fixtures.layouts import monorepo
from inventory.building import write
from testbed.binaries import kustomize
from testbed.controlplane import ControlPlane
from testbed.processes import Run

ROOT = Path(__file__).resolve().parents[2]
OF_FLEET = ("fleet.yaml", "overlay.yaml")  # what the repo has not before `fleet init`
COMMANDS = (
    "git clone -q {origin} fleet",
    "fleet/try setup",
    'export PATH="$PWD/fleet/.venv/bin:$PATH"; cd platform',
    "fleet init",
    "fleet cluster add eu-1 --context eu-1 --environment prod",
    "git add fleet.yaml clusters && git commit -qm 'eu-1: observe'",
    "fleet diff cart@eu-1 --context eu-1",
)
SCALED = "~ Deployment cart/cart"
GOAL_SECONDS, GOAL_COMMANDS = 300.0, 8.0


def fill(plane: ControlPlane, home: Path) -> None:
    """A person's kubeconfig for the cluster, which kubectl filled with what the repo says; one was scaled since."""
    config = plane.kubeconfig()
    config["contexts"][0]["name"] = config["current-context"] = "eu-1"
    (home / ".kube").mkdir()
    (home / ".kube" / "config").write_text(yaml.safe_dump(config))
    kubectl = ["kubectl", "--kubeconfig", str(home / ".kube" / "config")]
    for overlay in sorted((home / "platform" / "apps").glob("*/overlays/prod")):
        built = subprocess.run([kustomize(), "build", str(overlay)], capture_output=True, check=True).stdout
        subprocess.run([*kubectl, "apply", "-f", "-"], input=built, check=True, stdout=subprocess.DEVNULL)
    scale = ["scale", "deployment/cart", "--namespace", "cart", "--replicas", "7"]
    subprocess.run([*kubectl, *scale], check=True, stdout=subprocess.DEVNULL)


def main() -> int:
    run = Run.begin()
    try:
        with tempfile.TemporaryDirectory() as folder:
            return measure(ControlPlane.start(run, "eu-1"), Path(folder))
    finally:
        run.end()


def measure(plane: ControlPlane, home: Path) -> int:
    files = {path: text for path, text in monorepo.files().items() if not path.endswith(OF_FLEET)}
    write(home / "platform", {path: text for path, text in files.items() if not path.startswith("clusters/")})
    fill(plane, home)
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_", "SSL_", "FLEET_KUST"))}
    environment = {**kept, "HOME": str(home), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    first = "git init -q -b main; git add .; git -c user.name=jo -c user.email=jo@acme.example commit -qm 'Five years'"
    subprocess.run(first, shell=True, cwd=home / "platform", env=environment, check=True)
    who = "git config --global user.name jo; git config --global user.email jo@acme.example"
    subprocess.run(who, shell=True, env=environment, check=True)
    table, total, prefix, said = Table("first_hour", "The first hour"), 0.0, "", ""
    for command in COMMANDS:
        line = command.format(origin=ROOT)
        began, spent = time.perf_counter(), own_cpu()
        done = subprocess.run(
            f"{prefix}{line}", shell=True, cwd=home, env=environment, capture_output=True, text=True, check=False
        )
        seconds = time.perf_counter() - began
        is_well = done.returncode == 0 or (line.startswith("fleet diff") and done.returncode == 1)
        if not is_well:
            sys.stderr.write(done.stdout + done.stderr)
            return 1
        total += seconds
        said = done.stdout
        table.add(line, f"{seconds:.1f} s, CPU {own_cpu() - spent:.1f} s")
        if line.startswith("export"):
            prefix = f"{line}; "
    table.at_most("from the clone to the first live difference", total, GOAL_SECONDS, " s")
    table.at_most("commands", float(len(COMMANDS)), GOAL_COMMANDS)
    differing = [line for line in said.splitlines() if line.startswith(("+", "~", "-"))]
    table.add(
        "objects that differ: only the one that was scaled", ", ".join(differing), SCALED, met=differing == [SCALED]
    )
    table.show()
    return 0 if total <= GOAL_SECONDS and len(COMMANDS) <= GOAL_COMMANDS and differing == [SCALED] else 1


if __name__ == "__main__":
    raise SystemExit(main())
