"""What one worker keeps in memory: the live view per kind, and per unit its desired objects, record and standing.

A live object at rest is one small row; its document is kept only while something about it must be explained
(drift, a failing health). An incomplete or broken view of a kind is Unknown, never empty (R5).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from fleet.core.documents import Document
from fleet.core.field_diff import FieldDrift
from fleet.core.fleet import TeamRights
from fleet.core.guard import Doomed
from fleet.core.health import ObjectHealth
from fleet.core.ids import Digest, ObjectRef, Revision, UnitName
from fleet.core.objects import PruneRule
from fleet.core.plan import DesiredObject
from fleet.core.record import FORM, MarkVerdict, Row
from fleet.core.rollout import UnitDesired
from fleet.core.status import Blocker, HoldRequest, UnitReport
from fleet.core.sync_policy import IgnoreRule
from fleet.errors import NotAllowedForTeam
from fleet.ports.kube import ServedKind
from fleet.ports.worker import Deletion, UnitMemory
from fleet.values import dataclass, field

Kind = tuple[str, str]  # group, kind
NOT_LISTED = "NotListed"  # why a view is Unknown that has never answered


def kind_of(ref: ObjectRef) -> Kind:
    """The key of a kind's view."""
    return ref.group, ref.kind


@dataclass(slots=True)
class Live:
    """One object as it was seen last."""

    uid: str
    resource_version: str
    fingerprint: Digest  # of our own fields; of the whole content where these cannot be compared
    comparable: bool  # whether `fingerprint` may be compared with the record's
    mark: MarkVerdict  # as a unit of this overlay sees it:
    seen_by: str
    deleting: bool
    owned_by_object: bool  # has an ownerReference: never pruned (R11)
    own_health: ObjectHealth  # by the object itself
    health: ObjectHealth  # with the cause that its pods show
    changed_at: float = 0.0  # wall clock of the last change that we saw
    document: Document | None = None


@dataclass(slots=True)
class Part:
    """What is known of a kind in one namespace, or in all of them (""): each has a stream of its own."""

    namespace: str = ""
    unknown: str = NOT_LISTED  # an error's class name while it cannot be trusted
    message: str = ""
    told_at: float = 0.0  # loop time: how all of it stood then is known; 0.0 for never
    version: str = ""  # up to where its history is known

    @property
    def is_lost(self) -> bool:
        """Whether its stream broke."""
        return self.unknown not in ("", NOT_LISTED)


def _one_part() -> dict[str, Part]:
    return {"": Part()}


@dataclass(slots=True)
class KindView:
    """All objects of one kind that carry our label."""

    served: ServedKind
    rows: dict[ObjectRef, Live] = field(default_factory=dict[ObjectRef, Live])
    parts: dict[str, Part] = field(default_factory=_one_part)  # one for all namespaces (""), or one for each
    resource_version: str = ""

    def part(self, namespace: str) -> Part | None:
        """What is known of it there; None: nobody looks there."""
        return self.parts.get(namespace) or self.parts.get("")


class LiveView:
    """The live objects of one cluster, by kind. Kinds and namespaces that are not followed are Unknown."""

    def __init__(self) -> None:
        self.kinds: dict[Kind, KindView] = {}

    def find(self, ref: ObjectRef) -> Live | None:
        """The row of an object; None means absent only if `is_known` says so of it."""
        view = self.kinds.get(kind_of(ref))
        return view.rows.get(ref) if view else None

    def part_of(self, ref: ObjectRef) -> Part | None:
        """What is known where this object is; None: nobody looks there."""
        view = self.kinds.get(kind_of(ref))
        return view.part(ref.namespace) if view is not None else None

    def parts(self) -> Iterator[Part]:
        """Of all kinds."""
        for view in self.kinds.values():
            yield from view.parts.values()

    def is_known(self, ref: ObjectRef) -> bool:
        """Whether the view of this object's kind is complete where the object is."""
        part = self.part_of(ref)
        return part is not None and not part.unknown

    def listed(self, refs: Collection[ObjectRef]) -> set[Kind]:
        """Those of these objects' kinds that are known wherever the objects are: one place that is not is enough."""
        return {kind_of(ref) for ref in refs} - {kind_of(ref) for ref in refs if not self.is_known(ref)}

    def put(self, ref: ObjectRef, live: Live) -> None:
        """Keep a row; the kind must be followed."""
        self.kinds[kind_of(ref)].rows[ref] = live

    def drop(self, ref: ObjectRef) -> None:
        """Forget a row."""
        if view := self.kinds.get(kind_of(ref)):
            view.rows.pop(ref, None)


@dataclass(slots=True)
class Reverts:
    """How often one object was healed lately, for R17."""

    times: list[float] = field(default_factory=list[float])
    manager: str = ""
    next_at: float = 0.0


@dataclass(slots=True)
class Trouble:
    """What stopped one object last, and when it may be tried again (loop time; inf: on change only)."""

    reason: str
    message: str
    next_step: str
    digest: Digest  # of the desired body that met it
    tries: int
    wait: float  # seconds, the last one
    next_at: float
    since: float  # wall clock
    look_first: bool = False  # a write without an answer: read it before it is repeated (R20)


@dataclass(frozen=True, slots=True)
class Drift:
    """What differs at one object, for the live state at which it was computed.

    The fingerprint would not do: fields that another manager took are not in it any more.
    """

    resource_version: str
    fields: tuple[FieldDrift, ...]


@dataclass(frozen=True, slots=True)
class Awaited:
    """Objects that a unit takes over once a person lets the unit that has them go on. stop: what stops that."""

    refs: tuple[ObjectRef, ...]
    stop: Blocker


@dataclass(slots=True)
class UnitState:
    """One unit as this worker knows it. Its tasks all run in one event loop; one pass at a time."""

    name: UnitName
    memory: UnitMemory
    desired: UnitDesired | None = None  # None: in no Desired; kept as it is
    rows: dict[ObjectRef, Row] = field(default_factory=dict[ObjectRef, Row])
    wanted: dict[ObjectRef, DesiredObject] = field(default_factory=dict[ObjectRef, DesiredObject])
    bundle: Digest | None = None  # whose objects are in `wanted`
    begun: Digest | None = None  # the bundle that was free to be applied last
    troubles: dict[ObjectRef, Trouble] = field(default_factory=dict[ObjectRef, Trouble])
    reverts: dict[ObjectRef, Reverts] = field(default_factory=dict[ObjectRef, Reverts])
    hooks: tuple[DesiredObject, ...] = ()  # of the bundle; no part of the desired state
    contact: dict[ObjectRef, Live | None] = field(default_factory=dict[ObjectRef, Live | None])  # unlabelled ones
    theirs_at: float = 0.0  # loop time at which those of `contact` are read again that count as they are
    doomed: dict[ObjectRef, tuple[str, Doomed]] = field(default_factory=dict[ObjectRef, tuple[str, Doomed]])
    awaits: dict[UnitName, Awaited] = field(default_factory=dict[UnitName, Awaited])  # by who has them
    replaced: set[ObjectRef] = field(default_factory=set[ObjectRef])  # that may go, and count as no deletion
    waves_since: dict[int, float] = field(default_factory=dict[int, float])  # wave -> loop time
    drifts: dict[ObjectRef, Drift] = field(default_factory=dict[ObjectRef, Drift])
    misplaced: dict[ObjectRef, DesiredObject] = field(
        default_factory=dict[ObjectRef, DesiredObject]
    )  # without their namespace
    disputed: frozenset[ObjectRef] = frozenset()  # that another has or claims too, by the last plan
    forbidden: dict[ObjectRef, NotAllowedForTeam] = field(default_factory=dict[ObjectRef, NotAllowedForTeam])  # R29
    managers: dict[ObjectRef, tuple[str, ...]] = field(default_factory=dict[ObjectRef, tuple[str, ...]])  # of strangers
    read_key: tuple[Digest, tuple[IgnoreRule, ...], TeamRights | None, int] | None = None  # what `wanted` was made from
    validated: set[ObjectRef] = field(default_factory=set[ObjectRef])  # stood a dry-run
    refused: set[ObjectRef] = field(default_factory=set[ObjectRef])  # did not, for the same bundle
    validated_bundle: Digest | None = None
    holds: tuple[HoldRequest, ...] = ()
    judged: Revision | None = None  # by which commit it was judged last what is to be asked of a person
    replace_holds: dict[ObjectRef, HoldRequest] = field(default_factory=dict[ObjectRef, HoldRequest])  # and of hooks
    held_since: float = 0.0  # wall clock; 0 while nothing is held
    holds_read_at: float = 0.0  # loop time at which it was read what goes with the objects of `holds`
    kept: dict[ObjectRef, tuple[str, str]] = field(default_factory=dict[ObjectRef, tuple[str, str]])  # not deleted: why
    spared: tuple[ObjectRef, ...] = ()  # dropped, and never to be deleted by us, as somebody asked (R10)
    created: dict[ObjectRef, float] = field(default_factory=dict[ObjectRef, float])  # of objects that would be deleted
    deletions: list[Deletion] = field(default_factory=list[Deletion])  # of the last hour
    told: set[ObjectRef] = field(default_factory=set[ObjectRef])  # Jobs: reported that a change runs them, see reverify
    applied_at: float = 0.0
    changed: int = 0  # objects written for the bundle in force
    blocked_since: float = 0.0  # wall clock since which the unit is not free
    pending_since: float = 0.0
    parent_trouble: str = ""
    audit_due: bool = False  # the parent object does not say yet where the audit log's chain stands (R43)
    warnings: dict[ObjectRef, tuple[str, ...]] = field(default_factory=dict[ObjectRef, tuple[str, ...]])
    wait: float = 0.0  # seconds before the last retry of a whole pass
    report: UnitReport | None = None

    @property
    def kept_for_good(self) -> tuple[ObjectRef, ...]:
        """Of `spared` what the policy of now, or the object as it was read last, keeps."""
        prunes = self.desired is not None and self.desired.policy.sync.prune
        return tuple(ref for ref in self.spared if not prunes or self._says_never(ref))

    def _says_never(self, ref: ObjectRef) -> bool:
        return ref in self.doomed and self.doomed[ref][1].prune is PruneRule.DISABLED

    @property
    def has_record(self) -> bool:
        """Whether anything of it is known, or was found on the cluster."""
        return bool(self.rows or self.memory.bundle or self.memory.parent_generation)

    @property
    def holds_commit(self) -> bool:
        """Whether what is wanted was applied in full before: this bundle, or the same commit's by another version."""
        if self.memory.bundle is None or self.desired is None:
            return False
        is_respelled = self.memory.form != FORM and self.memory.commit == self.desired.commit
        return self.memory.bundle == self.bundle or is_respelled

    def validate_anew(self) -> None:
        """Forget what dry-runs said of an earlier bundle."""
        if self.validated_bundle != self.bundle:
            self.validated_bundle, self.validated, self.refused = self.bundle, set(), set()

    def refs(self) -> Iterator[ObjectRef]:
        """All objects that the unit owns or should own."""
        yield from self.wanted
        yield from (ref for ref in self.rows if ref not in self.wanted)
