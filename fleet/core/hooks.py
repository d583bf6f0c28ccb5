"""Hooks: objects that run at a point of a pass, once per bundle digest, and are no part of the desired state."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from urllib.parse import quote, unquote

from fleet.core.documents import Document, mapping_at, text_at
from fleet.core.health import ObjectHealth
from fleet.core.ids import Digest, ObjectRef
from fleet.core.objects import BundleObject, HookDelete, HookPhase
from fleet.core.order import Stage, stages_of
from fleet.core.status import Health, Kstatus
from fleet.values import dataclass


def hook_key(bundle: Digest, ref: ObjectRef) -> str:
    """One entry of `UnitMemory.done_hooks`."""
    return f"{bundle}/{ref.key}"


@dataclass(frozen=True, slots=True)
class Owed:
    """A hook's object that its `hook-delete` annotation wants gone; one entry of `UnitMemory.done_hooks`."""

    uid: str
    key: str  # of the hook

    @property
    def ref(self) -> ObjectRef:
        """The object; raises ValueError where `key` is no hook's."""
        return ObjectRef.from_key(self.key.partition("/")[2])

    def __str__(self) -> str:
        return f"{_OWED}{quote(self.uid, safe='')} {self.key}"  # a cluster may say any UID


_OWED = "delete "
_SLASHES = 4  # of a hook's key


def owed_in(done: Iterable[str]) -> list[Owed]:
    """The deletions that are not done yet, in the order in which they became due.

    What does not read back is passed over: earlier versions wrote a UID as the cluster said it.
    """
    entries = (text.removeprefix(_OWED).partition(" ") for text in done if text.startswith(_OWED))
    return [Owed(unquote(uid), key) for uid, _, key in entries if key.count("/") == _SLASHES]


def removes_itself(body: Document) -> bool:
    """Whether a hook's object may vanish by itself once it has ended, so that its absence does not say it never ran."""
    kind = text_at(body, "apiVersion").partition("/")[0], text_at(body, "kind")
    spec = mapping_at(body, "spec")
    return kind == ("batch", "Job") and spec.get("ttlSecondsAfterFinished") is not None and not spec.get("suspend")


def held_back(body: Document) -> Document:
    """The same Job suspended: it is there and does nothing until it is applied as it is."""
    return {**body, "spec": {**mapping_at(body, "spec"), "suspend": True}}


def hook_state(ref: ObjectRef, health: ObjectHealth) -> Kstatus:
    """How far a hook's object has come; a suspended Job, whoever suspended it, has not ended, though it is at rest."""
    is_job = (ref.group, ref.kind) == ("batch", "Job")
    return Kstatus.IN_PROGRESS if is_job and health.health is Health.SUSPENDED else health.kstatus


def collides(ref: ObjectRef, live: Document | None, *, was_begun: bool) -> bool:
    """Whether what stands under a hook's name is an earlier run's, and would pass for this one.

    was_begun: this run was decided before, and what is there may be its own. What only lies there is applied over; what
    runs to an end would have ended before it began.
    """
    runs_to_an_end = (ref.group, ref.kind) in {("batch", "Job"), ("", "Pod")}
    return live is not None and runs_to_an_end and not was_begun


def split_hooks(objects: Iterable[BundleObject]) -> tuple[tuple[BundleObject, ...], tuple[BundleObject, ...]]:
    """The objects that make up the desired state, and the hooks."""
    plain: list[BundleObject] = []
    hooks: list[BundleObject] = []
    for obj in objects:
        (hooks if obj.options.hook else plain).append(obj)
    return tuple(plain), tuple(hooks)


@dataclass(frozen=True, slots=True)
class HookPlan:
    """What a phase still needs. It is over when `run`, `waiting` and `failed` are all empty."""

    run: tuple[Stage, ...] = ()  # of the first wave that is not over; later waves wait for it
    waiting: tuple[ObjectRef, ...] = ()
    failed: tuple[ObjectRef, ...] = ()
    finished: tuple[ObjectRef, ...] = ()  # ended well now, to be written into done_hooks

    @property
    def over(self) -> bool:
        """Whether the phase has been passed."""
        return not (self.run or self.waiting or self.failed)


def plan_hooks(
    hooks: Iterable[BundleObject],
    phase: HookPhase,
    bundle: Digest,
    *,
    done: Collection[str],
    started: Collection[ObjectRef],
    health: Mapping[ObjectRef, Kstatus],
    failed_before: Collection[ObjectRef] = (),
) -> HookPlan:
    """What the hooks of a phase need next.

    done: `UnitMemory.done_hooks`; started: hooks whose apply for this bundle was answered; another one runs, also where
    its apply was decided and may have landed.
    health: of hook objects that are there. A started hook that has vanished is over: a Job with a lifetime removes
    itself when it has ended. failed_before: those that failed for this bundle and were deleted for it: they stay
    failed.
    """
    run: list[BundleObject] = []
    waiting: list[ObjectRef] = []
    failed: list[ObjectRef] = []
    finished: list[ObjectRef] = []
    mine = [obj for obj in hooks if obj.options.hook is phase and hook_key(bundle, obj.ref) not in done]
    for obj in mine:
        seen = health.get(obj.ref)
        if obj.ref not in started:
            run.append(obj)
        elif obj.ref in failed_before:
            failed.append(obj.ref)
        elif seen in (Kstatus.CURRENT, Kstatus.NOT_FOUND, None):
            finished.append(obj.ref)
        elif seen is Kstatus.FAILED:
            failed.append(obj.ref)
        else:
            waiting.append(obj.ref)
    if failed:
        return HookPlan(waiting=tuple(waiting), failed=tuple(failed), finished=tuple(finished))
    open_waves = [obj.options.wave for obj in mine if obj.ref not in finished]
    first = min(open_waves, default=0)
    now = [obj for obj in run if obj.options.wave == first]
    refs = {obj.ref for obj in now}
    later = [obj.ref for obj in run if obj.ref not in refs]
    return HookPlan(
        run=stages_of(now),
        waiting=(*waiting, *later),
        finished=tuple(finished),
    )


def hooks_to_delete(
    hooks: Iterable[BundleObject], ended: Mapping[ObjectRef, bool], alive: Collection[ObjectRef]
) -> tuple[ObjectRef, ...]:
    """Hook objects to delete after their run. ended: hook to whether it ended well; alive: those still there."""
    doomed: list[ObjectRef] = []
    for obj in hooks:
        if obj.ref not in ended or obj.ref not in alive:
            continue
        wanted = HookDelete.SUCCEEDED if ended[obj.ref] else HookDelete.FAILED
        if wanted in obj.options.hook_delete:
            doomed.append(obj.ref)
    return tuple(doomed)
