"""Both commits of a plan as inventories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from inventory.snapshots import KUSTOMIZATION, MemorySnapshot, cluster, overlay, small_repo

from fleet.cli.planning_read import read_both
from fleet.errors import CommitTooLarge


class Limited(MemorySnapshot):
    """Reads nothing of more than 4 KiB, as Git's reader has a limit."""

    def read_many(self, paths: Sequence[str]) -> Mapping[str, bytes]:
        if any(len(self.files[path]) > 4096 for path in paths):
            raise CommitTooLarge("a file is too large", why="it has more than 4096 bytes")
        return super().read_many(paths)


def test_a_file_that_is_too_large_is_told_and_all_others_are_planned() -> None:
    large = {"overlays/big/overlay.yaml": overlay() + "#" * 4096, "overlays/big/kustomization.yaml": KUSTOMIZATION}
    was = Limited(small_repo() | large)
    now = Limited(small_repo() | large | {"clusters/eu-2.yaml": cluster("eu-2")})
    both = read_both(was, now, None)
    assert {str(name) for name in both.after.units.keys() - both.before.units.keys()} == {"web@eu-2"}
    for fleet in (both.before, both.after):
        (problem,) = fleet.problems
        assert (problem.origin.path, "4096" in problem.what) == ("overlays/big/overlay.yaml", True)
