"""A path followed through symbolic links as the operating system would, over files that are nowhere on disk. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

from fleet.values import dataclass


class EscapesCommit(Exception):
    """A path or link that leaves the commit; `why` in words; `links` that were followed until then."""

    def __init__(self, why: str, links: Sequence[str] = ()) -> None:
        super().__init__(why)
        self.why, self.links = why, tuple(links)


class What(Enum):
    """What a path leads to."""

    FILE = "file"
    DIRECTORY = "directory"
    ABSENT = "absent"
    SUBMODULE = "submodule"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path leads: the real path; links that were followed; for ABSENT the first part that is not there."""

    what: What
    path: str
    links: tuple[str, ...] = ()


def follow(
    path: Sequence[str],
    what_at: Callable[[str], What | None],
    target_of: Callable[[Sequence[str]], Sequence[str]],
    step_limit: int,
) -> Place:
    """Follow a path from the root; raises EscapesCommit where it leads out of it, or needs too many steps.

    path: its names, as those that `target_of` gives for the last of the links that were followed; what_at: what
    stands at a path whose directories are real, None for a link; step_limit: names in all, those of links included.
    """
    at: list[str] = []
    links: list[str] = []
    todo, steps = [*path][::-1], 0
    while todo:
        step = todo.pop()
        steps += 1
        if steps > step_limit:
            raise EscapesCommit(f"a path of more than {step_limit} steps", links)
        if step in ("", "."):
            continue
        if step == "..":
            if not at:
                why = f"the link {links[-1]} leads out of the repo" if links else "it leads out of the repo"
                raise EscapesCommit(why, links)
            at.pop()
            continue
        here = "/".join([*at, step])
        what = what_at(here)
        if what is None:
            links.append(here)
            todo.extend(target_of(links)[::-1])
        elif what is What.DIRECTORY:
            at.append(step)
        elif what is What.FILE and todo:
            return Place(What.ABSENT, "/".join([here, *reversed(todo)]), tuple(links))
        else:
            return Place(what, here, tuple(links))
    return Place(What.DIRECTORY, "/".join(at), tuple(links))
