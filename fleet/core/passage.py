"""What is known of rollouts over restarts: one passage per commit, one row per overlay that the commit changes.

Moments are seconds on the hub's own clock, which counts only while a hub runs and never goes back (R24); what is
meant for people alone is wall-clock time and says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from fleet.core.gates import GateState, decode_states, encode_states
from fleet.core.ids import ClusterName, OverlayName, Revision, UnitName
from fleet.core.results import Rendered
from fleet.values import dataclass, field

Moments = Mapping[str, float]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Stop:
    """Somebody, or a failure, stopped it. unit: whose failure; gate: `OVERLAY/STEP/GATE`, whose; since: wall clock."""

    reason: str
    by: str
    since: float
    unit: UnitName | None = None
    gate: str = ""

    @property
    def overlay(self) -> OverlayName | None:
        """The overlay that failed; None where a person stopped it."""
        return self.unit.overlay if self.unit is not None else OverlayName(self.gate.partition("/")[0]) or None

    @property
    def place(self) -> str:
        """What failed, for people; "" where a person stopped it."""
        return str(self.unit.cluster) if self.unit is not None else self.gate.partition("/")[0]

    def renamed(self, old: ClusterName, new: ClusterName) -> Stop:
        """The same where a cluster has another name."""
        is_its = self.unit is not None and self.unit.cluster == old
        return replace(self, unit=UnitName(self.unit.overlay, new)) if self.unit is not None and is_its else self


@dataclass(frozen=True, slots=True)
class Asked:
    """An approval that a step waits for. at: the hub's clock; wall: for people."""

    step: str
    at: float
    wall: float


@dataclass(frozen=True, slots=True)
class Anew:
    """How often the soak of a step began anew, for which cluster last, and when by the hub's clock."""

    times: int
    cluster: ClusterName
    at: float


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a cluster held before what it holds, which a newer commit overtook there.

    is_proven: whether what it holds stood a whole step.
    """

    result: Rendered
    is_proven: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One overlay on its way: the clusters whose result changes, with the digest that each shall end at."""

    targets: Mapping[ClusterName, str]
    flying: Mapping[ClusterName, float] = field(default_factory=dict[ClusterName, float])  # released, since when
    away: Mapping[ClusterName, float] = field(default_factory=dict[ClusterName, float])  # not reached, since when
    before: Mapping[ClusterName, Rendered] = field(default_factory=dict[ClusterName, Rendered])  # what to go back to
    earlier: Mapping[ClusterName, Earlier] = field(  # before what it took over; asked when it is released there
        default_factory=dict[ClusterName, Earlier]
    )
    passed: frozenset[str] = frozenset()  # names of steps that are over
    opened: Moments = field(default_factory=dict[str, float])  # by step: when its turn came
    calm: Moments = field(default_factory=dict[str, float])  # by step: since when all of it is Healthy
    still: Moments = field(default_factory=dict[str, float])  # of these: since when that cannot be seen, in an outage
    anew: Mapping[str, Anew] = field(default_factory=dict[str, Anew])  # by step
    landed: Mapping[ClusterName, float] = field(default_factory=dict[ClusterName, float])  # first Healthy on it, when
    disturbed: bool = False  # it was halted or paused on its way: no measure for later ones
    excused: frozenset[ClusterName] = frozenset()  # a person went on without them
    proven: frozenset[ClusterName] = frozenset()  # Healthy on it when their step was over, or since, and not failed
    overtaken: Mapping[ClusterName, float] = field(  # on their way with an earlier result, since when
        default_factory=dict[ClusterName, float]
    )
    gates: Mapping[str, GateState] = field(default_factory=dict[str, GateState])  # by STEP/GATE, once open
    early: Mapping[str, tuple[str, ...]] = field(  # by step: who approved it before there was this row; counts not here
        default_factory=dict[str, tuple[str, ...]]
    )
    asked: Asked | None = None  # of the step whose turn it is, while it waits for people
    done: bool = False
    back: bool = False  # it was taken back: over, and kept so that nothing older is taken back in its place
    cut: bool = False  # it was aborted before its time: over, and nothing that it has was proven by it

    @property
    def can_go_back(self) -> bool:
        """Whether a rollback concerns this row: something was released by it, be it that it went back already."""
        return bool(self.before) or self.back

    def renamed(self, old: ClusterName, new: ClusterName) -> Row:
        """The same where a cluster has another name: how far it was counts, not what was begun for the new entry."""
        if not any(old in book for book in (self.targets, self.before, self.earlier, self.overtaken)):
            return self
        return replace(
            self,
            # Where a newer commit took over under the new name already, that is what it shall hold.
            targets=_moved(self.targets, old, new) if old in self.targets else self.targets,
            flying=_moved(self.flying, old, new),
            away=_moved(self.away, old, new),
            before=_moved(self.before, old, new),
            earlier=_moved(self.earlier, old, new),
            anew={step: replace(one, cluster=new) if one.cluster == old else one for step, one in self.anew.items()},
            landed=_moved(self.landed, old, new),
            excused=frozenset(_moved(dict.fromkeys(self.excused), old, new)),
            proven=frozenset(_moved(dict.fromkeys(self.proven), old, new)),
            overtaken=_moved(self.overtaken, old, new),
        )


@dataclass(frozen=True, slots=True)
class Passage:
    """One commit on its way through the fleet. outcome: "" while it goes on, done, superseded, aborted, rolled back."""

    commit: Revision
    started_at: float  # wall clock
    rows: Mapping[OverlayName, Row] = field(default_factory=dict[OverlayName, Row])
    approvals: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])  # step -> who
    halted: Stop | None = None
    paused: Stop | None = None
    ended: Stop | None = None  # who or what ended it, where it was not done
    outcome: str = ""
    ended_at: float = 0.0  # wall clock
    overlays: tuple[OverlayName, ...] = ()  # that it ever had, for people
    shut: bool = False  # nothing more of it begins before a person lets it in: aborted, or taken back by its policy

    @property
    def stopped(self) -> str:
        """Why nothing of it is released now; "" where it goes on. A failure and a person may both have stopped it."""
        if self.outcome:
            return f"rollout {self.outcome}"
        words: list[str] = []
        if self.halted is not None:
            at = f" at {self.halted.place}" if self.halted.place else ""
            words.append(f"halted{at}: {self.halted.reason}")
        if self.paused is not None:
            words.append(f"paused by {self.paused.by}: {self.paused.reason}")
        return f"rollout {'; '.join(words)}" if words else ""

    def renamed(self, old: ClusterName, new: ClusterName) -> Passage:
        """The same where a cluster has another name."""
        rows = {overlay: row.renamed(old, new) for overlay, row in self.rows.items()}
        stops = (stop and stop.renamed(old, new) for stop in (self.halted, self.paused, self.ended))
        halted, paused, ended = stops
        return replace(self, rows=rows, halted=halted, paused=paused, ended=ended)


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A result that was rolled back or aborted: under no commit does it come back without a person.

    clusters: whose result it was; found: only the parent objects there say so, and no cluster speaks for another.
    """

    commit: Revision
    stop: Stop
    clusters: frozenset[ClusterName] = frozenset()
    found: bool = False

    def bars(self, cluster: ClusterName) -> bool:
        """Whether it is kept back there."""
        return not self.found or cluster in self.clusters

    def renamed(self, old: ClusterName, new: ClusterName) -> Quarantined:
        """The same where a cluster has another name."""
        clusters = self.clusters - {old} | {new} if old in self.clusters else self.clusters
        return replace(self, stop=self.stop.renamed(old, new), clusters=clusters)


@dataclass(frozen=True, slots=True)
class Last:
    """The latest row of an overlay that changed something, where its passage is kept as a line alone."""

    commit: Revision
    started_at: float  # wall clock, of its passage
    row: Row

    def renamed(self, old: ClusterName, new: ClusterName) -> Last:
        """The same where a cluster has another name."""
        row = self.row.renamed(old, new)
        return self if row is self.row else replace(self, row=row)


Quarantine = Mapping[OverlayName, Mapping[str, Quarantined]]  # by overlay and digest


@dataclass(frozen=True, slots=True)
class Passages:
    """All that is kept: those under way and the latest that ended, oldest first.

    carried: by operation, outcome and message of orders that are carried out, until the operation itself is ended.
    overrides: by operation, the one result that an open override brings; a digest of "" for nothing.
    last: for a rollback, of overlays whose latest passage ended long ago.
    unsure: units whose record a person confirmed while it was not known what they get: once it is, what the parent
    object of another cluster bars is kept from them too.
    """

    all: tuple[Passage, ...] = ()
    quarantine: Quarantine = field(default_factory=dict[OverlayName, Mapping[str, Quarantined]])
    carried: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    overrides: Mapping[str, Rendered] = field(default_factory=dict[str, Rendered])
    last: Mapping[OverlayName, Last] = field(default_factory=dict[OverlayName, Last])
    unsure: frozenset[UnitName] = frozenset()

    def renamed(self, old: ClusterName, new: ClusterName) -> Passages:
        """The same where a cluster has another name: its way, what it goes back to and what is barred there go along.

        What was noted for the new name before it was known to be the same cluster gives way.
        """
        quarantine = {
            overlay: {digest: entry.renamed(old, new) for digest, entry in entries.items()}
            for overlay, entries in self.quarantine.items()
        }
        last = {overlay: one.renamed(old, new) for overlay, one in self.last.items()}
        last = last if last != self.last else self.last
        every = tuple(one.renamed(old, new) for one in self.all)
        unsure = frozenset(replace(unit, cluster=new) if unit.cluster == old else unit for unit in self.unsure)
        moved = replace(self, all=every, quarantine=quarantine, last=last, unsure=unsure)
        return self if moved == self else moved


def _moved(book: Mapping[ClusterName, _T], old: ClusterName, new: ClusterName) -> Mapping[ClusterName, _T]:
    rest = {name: kept for name, kept in book.items() if name not in (old, new)}
    return {**rest, new: book[old]} if old in book else rest


def encode_passages(kept: Passages) -> str:
    """As one text for the state."""
    return json.dumps(
        {
            "passages": [_passage(passage) for passage in kept.all],
            "quarantine": {
                overlay: {
                    digest: [entry.commit, _stop(entry.stop), sorted(entry.clusters), *([True] if entry.found else [])]
                    for digest, entry in entries.items()
                }
                for overlay, entries in kept.quarantine.items()
            },
            "carried": {operation: list(ended) for operation, ended in kept.carried.items()},
            "overrides": {operation: [bound.bundle, bound.commit] for operation, bound in kept.overrides.items()},
            "unsure": sorted(map(str, kept.unsure)),
        },
        separators=(",", ":"),
    )


def decode_passages(text: str) -> Passages:
    """The other way round; raises ValueError."""
    try:
        document = json.loads(text)
        return Passages(
            tuple(_read_passage(entry) for entry in document["passages"]),
            {
                OverlayName(overlay): {
                    digest: Quarantined(
                        Revision(commit),
                        _some_stop(stop),
                        frozenset(ClusterName(name) for names in more[:1] for name in names),
                        found=more[1:] == [True],
                    )
                    for digest, (commit, stop, *more) in entries.items()
                }
                for overlay, entries in document["quarantine"].items()
            },
            {operation: (outcome, message) for operation, (outcome, message) in document.get("carried", {}).items()},
            {operation: Rendered(*bound) for operation, bound in document.get("overrides", {}).items()},
            unsure=frozenset(map(UnitName.parse, document.get("unsure", ()))),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"rollouts are not in the form they were written in: {error}") from error


def encode_last(kept: Passages) -> str:
    """What is kept of overlays whose latest passage ended long ago, as one text for the state."""
    last = {overlay: [one.commit, one.started_at, _row(one.row)] for overlay, one in kept.last.items()}
    return json.dumps(last, separators=(",", ":"))


def decode_last(text: str) -> Mapping[OverlayName, Last]:
    """The other way round; raises ValueError."""
    try:
        return {
            OverlayName(overlay): Last(Revision(commit), started_at, _read_row(row))
            for overlay, (commit, started_at, row) in json.loads(text).items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the last rollouts are not in the form they were written in: {error}") from error


def _stop(stop: Stop | None) -> list[Any] | None:
    return None if stop is None else [stop.reason, stop.by, stop.since, str(stop.unit or ""), stop.gate]


def _passage(passage: Passage) -> dict[str, Any]:
    return {
        "commit": passage.commit,
        "started": passage.started_at,
        "rows": {overlay: _row(row) for overlay, row in passage.rows.items()},
        "approvals": {step: list(who) for step, who in passage.approvals.items()},
        "halted": _stop(passage.halted),
        "paused": _stop(passage.paused),
        "ended": _stop(passage.ended),
        "outcome": passage.outcome,
        "endedAt": passage.ended_at,
        "overlays": list(passage.overlays),
        "shut": passage.shut,
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "targets": dict(row.targets),
        "flying": dict(row.flying),
        "away": dict(row.away),
        "before": {cluster: [held.bundle, held.commit] for cluster, held in row.before.items()},
        "earlier": {
            cluster: [one.result.bundle, one.result.commit, one.is_proven] for cluster, one in row.earlier.items()
        },
        "passed": sorted(row.passed),
        "opened": dict(row.opened),
        "calm": dict(row.calm),
        "still": dict(row.still),
        "anew": {step: [one.times, one.cluster, one.at] for step, one in row.anew.items()},
        "landed": dict(row.landed),
        "disturbed": row.disturbed,
        "excused": sorted(row.excused),
        "proven": sorted(row.proven),
        "overtaken": dict(row.overtaken),
        "gates": encode_states(row.gates),
        "asked": [row.asked.step, row.asked.at, row.asked.wall] if row.asked is not None else None,
        "early": {step: list(who) for step, who in row.early.items()},
        "done": row.done,
        "back": row.back,
        "cut": row.cut,
    }


def _read_stop(value: Any) -> Stop | None:
    return None if value is None else _some_stop(value)


def _some_stop(value: Any) -> Stop:
    reason, by, since, unit, *gate = value
    return Stop(reason, by, since, UnitName.parse(unit) if unit else None, *gate)


def _read_passage(value: Any) -> Passage:
    outcome, ended = value["outcome"], _read_stop(value["ended"])
    # Where it does not say so, as it is from before passages did: what a person took back had no failure.
    is_shut = outcome == "aborted" or (outcome == "rolled back" and ended is not None and ended.overlay is not None)
    return Passage(
        commit=Revision(value["commit"]),
        started_at=value["started"],
        rows={OverlayName(overlay): _read_row(row, outcome=outcome) for overlay, row in value["rows"].items()},
        approvals={step: tuple(who) for step, who in value["approvals"].items()},
        halted=_read_stop(value["halted"]),
        paused=_read_stop(value["paused"]),
        ended=ended,
        outcome=outcome,
        ended_at=value["endedAt"],
        overlays=tuple(map(OverlayName, value["overlays"])),
        shut=value.get("shut", is_shut),
    )


def _read_row(value: Any, *, outcome: str = "") -> Row:
    """outcome: of its passage, where the row does not say how it ended itself, as it is from before rows said so."""
    is_cut = value.get("cut", outcome == "aborted" and not value["done"])
    return Row(
        targets={ClusterName(cluster): digest for cluster, digest in value["targets"].items()},
        flying={ClusterName(cluster): at for cluster, at in value["flying"].items()},
        away={ClusterName(cluster): at for cluster, at in value.get("away", {}).items()},
        before={ClusterName(cluster): Rendered(*held) for cluster, held in value["before"].items()},
        earlier={
            ClusterName(cluster): Earlier(Rendered(bundle, commit), is_proven)
            for cluster, (bundle, commit, is_proven) in value.get("earlier", {}).items()
        },
        passed=frozenset(value["passed"]),
        opened=dict(value["opened"]),
        calm=dict(value["calm"]),
        still=dict(value.get("still", {})),
        anew={step: Anew(times, ClusterName(name), at) for step, (times, name, at) in value.get("anew", {}).items()},
        landed={ClusterName(cluster): at for cluster, at in value.get("landed", {}).items()},
        disturbed=value.get("disturbed", False),
        excused=frozenset(map(ClusterName, value["excused"])),
        proven=frozenset(map(ClusterName, value.get("proven", ()))),
        overtaken={ClusterName(cluster): at for cluster, at in value.get("overtaken", {}).items()},
        gates=decode_states(value.get("gates", {})),
        asked=Asked(*asked) if (asked := value.get("asked")) is not None else None,
        early={step: tuple(who) for step, who in value.get("early", {}).items()},
        done=value["done"] or is_cut,
        back=value.get("back", outcome == "rolled back" and bool(value["before"])),
        cut=is_cut,
    )
