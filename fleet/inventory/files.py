"""The files of a fleet repo that the inventory reads: whatever else changes, it stays the same."""

from __future__ import annotations

from collections.abc import Container, Iterable

FLEET_FILE = "fleet.yaml"
OVERLAY_FILE = "overlay.yaml"
KUSTOMIZATION_NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_STRUCTURE = frozenset({OVERLAY_FILE, *KUSTOMIZATION_NAMES})
SUFFIXES = (".yaml", ".yml")


def is_cluster_file(path: str, directory: str) -> bool:
    """Whether Clusters may be written there. directory: as fleet.yaml says it, with a `/` at its end."""
    if not path.startswith(directory) or not path.endswith(SUFFIXES) or path == FLEET_FILE:
        return False
    return not path.endswith("/" + OVERLAY_FILE)


def may_hold_clusters(path: str, directory: str) -> bool:
    """Whether a path that is no file would be a directory of Clusters: the one that fleet.yaml says, above or below."""
    if directory.startswith(path + "/"):
        return True
    return bool(directory) and path.startswith(directory) and not is_cluster_file(path, directory)


def touches_inventory(changed: Iterable[str], clusters_directory: str, asked: Container[str]) -> bool:
    """Whether another commit with these paths changed (came, went, or differ) may define other units.

    asked: paths that a load of the commit before asked for by name, whether they were there or not. Conservative: a
    kustomization counts though most changes of one make no difference to the inventory.
    """
    return any(
        path in asked
        or path == FLEET_FILE
        or path.rpartition("/")[2] in _STRUCTURE
        or is_cluster_file(path, clusters_directory)
        for path in changed
    )
