"""Promotion: which images one environment hands to the next, whether it proved them, and how the commit tells it. Pure.

An image's version is its tag and digest together: a digest that stays beside a new tag would win over it. A name
(`newName`) goes along only where the earlier environment sets one, so that a registry of the later one's own stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fleet.core.documents import Json
from fleet.core.fleet import Unit
from fleet.core.ids import short
from fleet.core.status import WELL
from fleet.values import dataclass, field

NAME, VERSION = "newName", ("newTag", "digest")
FIELDS = (NAME, *VERSION)
_SUBJECT_WIDTH = 72
_NAMED = 8  # of what is not moved
_OVER = ("done", "superseded")


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """One entry of `images:` in a kustomization. values: what it gives of FIELDS; others: its other fields, as text."""

    name: str
    values: Mapping[str, str]
    line: int
    others: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Move:
    """What an entry has before and after. before None: the later environment has no entry of that name."""

    name: str
    before: Mapping[str, str] | None
    after: Mapping[str, str]

    @property
    def words(self) -> str:
        """As `reg/shop:1.4.1 -> reg/shop:1.4.2`."""
        was = "not set" if self.before is None else reference_of(self.name, self.before)
        return f"{was} -> {reference_of(self.name, self.after)}"


def reference_of(name: str, values: Mapping[str, str]) -> str:
    """The image that an entry makes of one of that name."""
    tag, digest = values.get("newTag", ""), values.get("digest", "")
    return values.get(NAME, name) + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")


def moves_of(earlier: Sequence[ImageEntry], later: Sequence[ImageEntry]) -> tuple[Move, ...]:
    """What changes in the later environment, in the order of the earlier one's entries."""
    there = {entry.name: entry for entry in later}
    found: list[Move] = []
    for entry in earlier:
        had = there.get(entry.name)
        before = dict(had.values) if had is not None else None
        after = _handed(entry.values, before or {})
        if after and after != before:
            found.append(Move(entry.name, before, after))
    return tuple(found)


def _handed(values: Mapping[str, str], before: Mapping[str, str]) -> dict[str, str]:
    version = values if any(name in values for name in VERSION) else before
    after = {name: version[name] for name in VERSION if name in version}
    name = values.get(NAME, before.get(NAME))
    return after if name is None else {NAME: name, **after}


def left_of(earlier: Sequence[ImageEntry], later: Sequence[ImageEntry]) -> Iterator[str]:
    """What differs between entries and is not moved, in words."""
    first = {entry.name: entry for entry in earlier}
    for entry in later:
        had = first.get(entry.name)
        if had is None:
            yield f"image {entry.name} (only there)"
            continue
        if NAME in entry.values and NAME not in had.values:
            yield f"{NAME} of {entry.name}"
        for name in sorted(had.others.keys() | entry.others.keys()):
            if had.others.get(name) != entry.others.get(name):
                yield f"{name} of {entry.name}"


def fields_left(earlier: Mapping[str, Json], later: Mapping[str, Json]) -> tuple[str, ...]:
    """Fields of two kustomizations that differ, but for `images`."""
    names = sorted((earlier.keys() | later.keys()) - {"images"})
    return tuple(name for name in names if earlier.get(name) != later.get(name))


def files_left(earlier: Mapping[str, object], later: Mapping[str, object]) -> tuple[str, ...]:
    """Files, by their path inside each directory, that one of both lacks or that differ."""
    return tuple(name for name in sorted(earlier.keys() | later.keys()) if earlier.get(name) != later.get(name))


def not_moved(words: Sequence[str]) -> str:
    """One line; "" where nothing else differs."""
    more = f" and {len(words) - _NAMED} more" if len(words) > _NAMED else ""
    return f"not moved: {', '.join(words[:_NAMED])}{more}" if words else ""


def path_of(units: Sequence[Unit], environment: str) -> str | None:
    """The one path that an environment is built from; None where that cannot be said.

    Clusters with a path of their own do not hide the environment's.
    """
    paths = {unit.path for unit in units}
    if len(paths) > 1:
        paths = {unit.path for unit in units if unit.path_rule == f"environment: {environment}"}
    return paths.pop() if len(paths) == 1 else None


@dataclass(frozen=True, slots=True)
class Standing:
    """One cluster of the environment before, as the hub shows it. since: RFC 3339."""

    cluster: str
    sync: str
    health: str
    since: str
    is_at_head: bool
    message: str = ""

    @property
    def is_proof(self) -> bool:
        """Whether it holds the commit's result and is well on it; anything else, also unknown, is none (R5)."""
        return self.is_at_head and self.sync == "Synced" and self.health in WELL

    @property
    def words(self) -> str:
        """What it lacks."""
        state = f"{self.sync}, {self.health}" + ("" if self.is_at_head else ", not on it yet")
        return f"{self.cluster} ({state}{f': {self.message}' if self.message else ''})"


@dataclass(frozen=True, slots=True)
class Passed:
    """The latest rollout of the overlay. gates and approvals: in words; state as the API says it."""

    commit: str
    state: str
    why: str = ""
    gates: tuple[str, ...] = ()
    approvals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the hub says of the environment before, about one commit. read_at: RFC 3339."""

    commit: str
    title: str  # subject and author
    read_at: str
    standings: tuple[Standing, ...]
    rollout: Passed | None = None  # None: the hub keeps none of the overlay


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why the environment before proves nothing, and what shows more."""

    what: str
    next_step: str


def standings_of(units: Iterable[Mapping[str, Any]], clusters: Sequence[str], commit: str) -> tuple[Standing, ...]:
    """From the API's units; a cluster that the hub has no unit for, or for another commit, is Unknown."""
    said = {str(unit["spec"]["cluster"]): unit["status"] for unit in units}
    return tuple(_standing(cluster, said.get(cluster), commit) for cluster in sorted({*clusters, *said}))


def _standing(cluster: str, status: Mapping[str, Any] | None, commit: str) -> Standing:
    if status is None:
        return Standing(cluster, "Unknown", "Unknown", "", is_at_head=False, message="the hub knows no such unit")
    ready = [item for item in status.get("conditions", []) if item.get("type") == "Ready"]
    is_at_head = bool(status.get("atHead")) and status.get("targetCommit") == commit
    since = str(ready[0].get("lastTransitionTime") or "") if ready else ""
    return Standing(cluster, status["sync"], status["health"], since, is_at_head, status.get("message", ""))


def doubts_of(evidence: Evidence, overlay: str) -> tuple[Doubt, ...]:
    """All that keeps the evidence from being one; empty: it is proven."""
    found = [
        Doubt(one.words, f"fleet describe unit {overlay}@{one.cluster}")
        for one in evidence.standings
        if not one.is_proof
    ]
    if not evidence.standings:
        found.append(Doubt("no cluster", "fleet get units"))
    rollout = evidence.rollout
    if rollout is not None and rollout.state not in _OVER:
        state = "still runs" if rollout.state == "runs" else f"is {rollout.state}"
        what = f"the rollout of {short(rollout.commit)} {state}{f': {rollout.why}' if rollout.why else ''}"
        found.append(Doubt(what, f"fleet describe rollout {short(rollout.commit)}"))
    return tuple(found)


def evidence_lines(evidence: Evidence, environment: str) -> list[str]:
    """What was proven, for people and for the commit."""
    lines = [f"Evidence of {environment}, as the hub said at {evidence.read_at}:"]
    lines.append(f"  commit    {evidence.commit} {evidence.title}".rstrip())
    lines += [
        f"  {one.cluster}  {one.sync}, {one.health}{f' since {one.since}' if one.since else ''}"
        for one in evidence.standings
    ]
    if evidence.rollout is None:
        return [*lines, "  rollout   none is kept of it"]
    lines.append(f"  rollout   {evidence.rollout.commit} {evidence.rollout.state}")
    lines += [f"  gate      {text}" for text in evidence.rollout.gates or ("none",)]
    return [*lines, *(f"  approved  {text}" for text in evidence.rollout.approvals or ("by nobody, none was asked",))]


def subject_of(overlay: str, environment: str, moves: Sequence[Move]) -> str:
    """The first line of the commit, as `Promote web to prod: shop 1.4.2`."""
    start = f"Promote {overlay} to {environment}: "
    each = ", ".join(f"{move.name.rpartition('/')[2]} {_version(move)}" for move in moves)
    return start + (each if len(start + each) <= _SUBJECT_WIDTH else f"{len(moves)} images")


def _version(move: Move) -> str:
    tag, digest = move.after.get("newTag", ""), move.after.get("digest", "")
    return tag or digest.removeprefix("sha256:")[:12] or move.after.get(NAME, "")


def message_of(
    overlay: str, stages: tuple[str, str], paths: tuple[str, str], moves: Sequence[Move], proof: Sequence[str]
) -> str:
    """The whole commit message. stages and paths: the earlier and the later one; proof: lines."""
    lines = [subject_of(overlay, stages[1], moves), "", f"From {stages[0]} ({paths[0]}) to {stages[1]} ({paths[1]}):"]
    lines += [f"  {move.name}  {move.words}" for move in moves]
    return "\n".join([*lines, "", *proof]) + "\n"
