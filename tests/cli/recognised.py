"""What a written fleet.yaml offers: every path that some cluster could be built from, with one probe for each place."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path

from fleet.cli.init import init
from fleet.core.fleet import Fleet
from fleet.core.problems import Severity
from fleet.inventory.load import load_fleet
from fleet.inventory.worktree import WorkingTree

FLEETS_OWN = ("clusters/", "inventory/")


def without_fleet(files: Mapping[str, str]) -> dict[str, str]:
    """The same repo before anybody thought of fleet."""
    return {
        path: text
        for path, text in files.items()
        if path != "fleet.yaml" and not path.startswith(FLEETS_OWN) and not path.endswith("/overlay.yaml")
    }


def recognised(root: Path, *, explain: bool = False) -> str:
    """Run init on a directory; what it printed."""
    out = io.StringIO()
    assert init(root, out, explain=explain) == 0
    return out.getvalue()


def loaded(root: Path) -> Fleet:
    """The fleet as it lies there; it must have no error."""
    fleet = load_fleet(WorkingTree(root)).fleet
    assert [problem for problem in fleet.problems if problem.severity is Severity.ERROR] == []
    return fleet


def offered(root: Path) -> set[str]:
    """The paths of all units when each environment has a cluster, and one cluster names what selects none itself."""
    fleet = loaded(root)
    named = [str(name) for name, overlay in fleet.overlays.items() if overlay.targets is None]
    entries = [_cluster("probe", {"overlays": named})]
    entries += [_cluster(f"probe-{stage.name}", {"environment": stage.name}) for stage in fleet.environments]
    probe = root / "clusters" / "probes.yaml"
    probe.parent.mkdir(exist_ok=True)
    probe.write_text("\n---\n".join(entries))
    try:
        return {unit.path for unit in loaded(root).units.values()}
    finally:
        probe.unlink()


def _cluster(name: str, spec: Mapping[str, object]) -> str:
    return json.dumps(
        {"apiVersion": "fleet.internal/v1", "kind": "Cluster", "metadata": {"name": name}, "spec": dict(spec)}
    )
