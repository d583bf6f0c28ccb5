"""A plan in words: the lines that a terminal and a pull-request comment both show."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence, Set

from fleet.core.documents import Json
from fleet.core.fleet import Cluster, Fleet
from fleet.core.ids import ClusterName, ObjectRef, UnitName, short
from fleet.core.objects import PruneRule
from fleet.core.planning.aside import is_deleted, is_written
from fleet.core.planning.change import How, ObjectChange, Sign
from fleet.core.planning.field_words import Folding, field_lines
from fleet.core.planning.fleet_plan import FleetPlan, SideWords
from fleet.core.planning.groups import ChangeGroup, ShownObject, plain_ref
from fleet.core.planning.phrases import NAMES_SHOWN, counted, some_of
from fleet.core.planning.pods import ImageChange
from fleet.values import dataclass

_LABEL_WIDTH = 44


@dataclass(frozen=True, slots=True)
class Totals:
    """Counted over all units. nodes: DaemonSets whose pods restart on every node."""

    created: int
    changed: int
    deleted: int
    pods: int
    nodes: int


def totals_of(plan: FleetPlan) -> Totals:
    """What the hub does in all; a generated object under a new name is a change, and an object that moves is one where
    a field of it differs. What two overlays claim is left as it is (R16)."""
    written = [(unit, plan.after.units.get(unit.name)) for unit in plan.units]
    claimed = {(cluster, claim.ref) for claim in plan.claims for cluster in claim.clusters}
    changes = [
        (change, unit)
        for found, unit in written
        if is_written(unit)
        for change in found.objects
        if not change.left and (found.name.cluster, change.ref) not in claimed
    ]
    restarts = [change.restart for change, _ in changes if change.restart is not None]
    return Totals(
        created=sum(change.sign is Sign.CREATE and not change.moved_from for change, _ in changes),
        changed=sum(change.sign is Sign.CHANGE or bool(change.moved_from and change.fields) for change, _ in changes),
        deleted=sum(is_deleted(change, unit) for change, unit in changes),
        pods=sum(restart.pods or 0 for restart in restarts),
        nodes=sum(restart.pods is None for restart in restarts),
    )


def heading(plan: FleetPlan) -> str:
    """What is compared with what, and how much of the fleet it reaches."""
    files = counted(len(plan.files), "file")
    merged = " merged into it" if not plan.head.revision else ""
    return f"{_side(plan.base)} -> {_side(plan.head)}{merged} ({files}). {_reach(plan)}"


def _side(side: SideWords) -> str:
    subject = f' "{side.subject}"' if side.subject and not side.name else ""
    return " ".join(filter(None, (side.name, short(side.revision)))) + subject


def _reach(plan: FleetPlan) -> str:
    shown = [unit for unit in plan.units if unit.how is not How.SAME]
    if not shown:
        if plan.is_unknown:
            return "What changes cannot be told whole."
        if plan.woken:
            what = f"{counted(len(plan.settings), 'setting')} {'let' if len(plan.settings) > 1 else 'lets'}"
            return f"No object differs, but {what} a hub begin with something."
        if plan.settings:
            return f"No object changes, but {counted(len(plan.settings), 'setting')}."
        return "No effective change." if plan.units or plan.files else "Nothing changes."
    overlays, clusters = {unit.name.overlay for unit in shown}, {unit.name.cluster for unit in shown}
    total = len({*plan.before.overlays, *plan.after.overlays})
    verb = "changes" if len(overlays) == 1 else "change"
    return f"{len(overlays)} of {counted(total, 'overlay')} {verb}, on {counted(len(clusters), 'cluster')}."


def summary(plan: FleetPlan) -> str:
    """`62 objects change, 1 is deleted, none is created, 90 pods restart`."""
    totals = totals_of(plan)
    deleted = f"{totals.deleted or 'none'} {'are' if totals.deleted > 1 else 'is'} deleted"
    if any(unit.drops_unlisted for unit in plan.units):
        deleted = f"{totals.deleted} or more are deleted" if totals.deleted else "how many are deleted cannot be told"
    parts = [
        f"{counted(totals.changed, 'object')} {'changes' if totals.changed == 1 else 'change'}",
        deleted,
        f"{totals.created or 'none'} {'are' if totals.created > 1 else 'is'} created",
    ]
    if totals.pods:
        parts.append(f"{counted(totals.pods, 'pod')} {'restarts' if totals.pods == 1 else 'restart'}")
    if totals.nodes:
        parts.append(f"{counted(totals.nodes, 'DaemonSet')} on every node")
    return ", ".join(parts) + ("; what begins by a setting is not counted" if plan.woken else "")


def title_of(group: ChangeGroup, plan: FleetPlan) -> str:
    """`A  web on 27 clusters: 6 dev, 8 staging, 13 prod`."""
    overlays = group.overlays
    what = overlays[0] if len(overlays) == 1 else f"{len(overlays)} overlays ({some_of([*overlays])})"
    verb = {
        How.APPEARS: "appears on",
        How.VANISHES: "leaves",
        How.UNKNOWN: "cannot be told on",
    }.get(group.how, "on")
    if len(overlays) > 1:
        verb = {"appears on": "appear on", "leaves": "leave"}.get(verb, verb)
    known = {**plan.before.clusters, **plan.after.clusters}
    names = sorted({unit.cluster for unit in group.units})
    title = f"{group.letter}  {what} {verb} {clusters_in_words(names, known, plan.after)}"
    return f"{title}   as {group.based_on}, and" if group.based_on else title


def clusters_in_words(names: Sequence[ClusterName], known: Mapping[ClusterName, Cluster], fleet: Fleet) -> str:
    """`2 clusters: eu-4 eu-7`, `27 clusters: 6 dev, 8 staging, 13 prod`."""
    count = counted(len(names), "cluster")
    if len(names) <= NAMES_SHOWN:
        return f"{count}: {' '.join(names)}"
    order = {stage.name: index for index, stage in enumerate(fleet.environments)}
    counts: dict[str, int] = {}
    for name in names:
        environment = known[name].environment if name in known else ""
        counts[environment] = counts.get(environment, 0) + 1
    stages = sorted(counts, key=lambda stage: (order.get(stage, len(order)), stage))
    return f"{count}: " + ", ".join(f"{counts[stage]} {stage or 'without environment'}" for stage in stages)


def lines_of(group: ChangeGroup, plan: FleetPlan, folding: Folding) -> Iterator[str]:
    """What happens to the units of a group, a line for each object and field, without indentation."""
    yield from _preface(group)
    outcomes, claims = _outcomes(group, plan), _claimed(group, plan)
    shown = group.objects[: folding.objects]
    renames = {
        (item.change.renamed_from.name, item.change.ref.name): item.change
        for item in group.objects
        if item.change.renamed_from
    }
    labels = [_label(item) for item in shown]
    width = min(_LABEL_WIDTH, max(map(len, labels), default=0))
    for label, item in zip(labels, shown, strict=True):
        unwritten = {name for ref in (item.change.ref, *item.others) for name in claims.get(ref, ())}
        texts = [*_claim_words(unwritten, group), *_texts_of(item, renames, outcomes, folding)]
        note = _restart_words(item) if unwritten != {*group.units} else ""
        first = texts[0] if texts else ""
        yield f"{label:<{width}}  {first}  {note}".rstrip() if note else f"{label:<{width}}  {first}".rstrip()
        for text in texts[1:]:
            yield f"{'':<{width}}  {text}"
    left = group.objects[folding.objects :]
    if left:
        yield f"and {counted(len(left), 'more object')}: {_kinds(left)}"


def _preface(group: ChangeGroup) -> Iterator[str]:
    if group.problem is not None:
        yield f"{group.problem.reason}: {group.problem.message}"
        if group.problem.where:
            yield f"at {group.problem.where}"
        yield "if merged: it stays as it is there, and nothing is deleted"
    if group.how is How.VANISHES:
        yield from _leaving_words(group)
    if group.how is How.CHANGES and group.path[0] != group.path[1]:
        alone = "" if group.objects or group.based_on or group.unknown_before else ": the same objects, without steps"
        yield f"path {group.path[0] or 'none'} -> {group.path[1] or 'none'}{alone}"
    if group.unknown_before and group.how is How.CHANGES:
        yield "what it held before cannot be told from the base: all that it holds is listed, and nothing that it drops"


def _leaving_words(group: ChangeGroup) -> Iterator[str]:
    """What becomes of the objects of units that are let go of."""
    kept = group.kept
    if moved := group.owned - kept:
        yield f"{counted(moved, 'object')} {'is' if moved == 1 else 'are'} taken over by another overlay there"
    if group.unknown_before:
        yield "what it holds stays there, without our marks (to delete it first: state: absent)"
    elif kept == 1:
        yield "1 object stays there, without our marks (to delete it first: state: absent)"
    elif kept or not moved:
        yield f"{counted(kept, 'object')} stay there, without our marks (to delete them first: state: absent)"


def label_of(change: ObjectChange) -> str:
    """`~ Deployment shop/web`."""
    return f"{change.sign.value} {plain_ref(change)}"


def _label(item: ShownObject) -> str:
    more = f" and {len(item.others)} more" if item.others else ""
    return label_of(item.change) + more


def _texts_of(
    item: ShownObject,
    renames: Mapping[tuple[str, str], ObjectChange],
    outcomes: Mapping[ObjectRef, str],
    folding: Folding,
) -> Iterator[str]:
    yield from _own_texts(item, renames, outcomes, folding)
    if item.others:
        names = [f"{ref.namespace}/{ref.name}" if ref.namespace else ref.name for ref in item.others]
        left = len(names) - folding.fields
        yield f"also {', '.join(names[: folding.fields])}" + (f" and {left} more" if left > 0 else "")


def _own_texts(
    item: ShownObject,
    renames: Mapping[tuple[str, str], ObjectChange],
    outcomes: Mapping[ObjectRef, str],
    folding: Folding,
) -> Iterator[str]:
    change = item.change
    if change.sign is Sign.DELETE:
        if words := _deletion_words(change, outcomes):
            yield words
        return
    if change.left:
        yield change.left
    if change.moved_from and not change.left:
        yield f"taken over from overlay {change.moved_from}"
    if change.fixed:
        yield _fixed_words(change, outcomes)
    images = {image.container: image for image in change.images}
    several = len(images) > 1
    if item.fields or change.sign is Sign.CREATE:
        for image in images.values():
            yield _image_words(image, item, several=several)
    if item.contents > 1:
        yield f"content {_differs(item)}, {item.contents} results"
    fields = [shown for shown in item.fields if not _is_image(shown.field.path, images)]
    told: list[tuple[str, ...]] = []  # of each field its lines
    for shown in fields:
        followed = _followed(shown.field.desired, shown.field.live, renames)
        if followed:
            told += [(f"follows {change.ref.kind} {plain_ref(change).name}",) for change in followed]
        else:
            told.append(tuple(field_lines(shown, folding, is_several=change.is_several)))
    told = list(dict.fromkeys(told))  # an env entry and its volume may follow the same object
    texts = [text for lines in told[: folding.fields] for text in lines]
    if change.renamed_from is not None:
        if texts:
            texts[0] += f" (new name {change.ref.name})"
        else:
            texts = [f"new name {change.ref.name}"]
    yield from texts
    if len(told) > folding.fields:
        yield f"and {counted(len(told) - folding.fields, 'more field')}"


def _followed(before: Json, after: Json, renames: Mapping[tuple[str, str], ObjectChange]) -> list[ObjectChange] | None:
    """The renames that make all the difference between two values; None where more than that differs."""
    if isinstance(before, str) and isinstance(after, str):
        if before == after:
            return []
        return [renames[before, after]] if (before, after) in renames else None
    if isinstance(before, dict) and isinstance(after, dict) and before.keys() == after.keys():
        pairs = [(before[name], after[name]) for name in before]
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = list(zip(before, after, strict=True))
    else:
        return [] if before == after else None
    found: list[ObjectChange] = []
    for one, other in pairs:
        part = _followed(one, other, renames)
        if part is None:
            return None
        found += part
    return found


def _outcomes(group: ChangeGroup, plan: FleetPlan) -> dict[ObjectRef, str]:
    """What comes of deletions that are not simply carried out, in words."""
    overlays, names = frozenset(group.overlays), frozenset(group.units)
    asked: dict[ObjectRef, dict[str, set[UnitName]]] = {}
    for hold in plan.holds:
        if hold.overlay in overlays and (mine := names & {*hold.units}):
            for ref in hold.refs:
                asked.setdefault(ref, {}).setdefault(hold.reason, set()).update(mine)
    held = {
        ref: "; ".join(_hold_words(reason, units, names) for reason, units in found.items())
        for ref, found in asked.items()
    }
    units = [plan.after.units[name] for name in names if name in plan.after.units]
    if units and not any(unit.overlay.sync.prune for unit in units):
        dropped = (item.change.ref for item in group.objects if item.change.sign is Sign.DELETE)
        return held | dict.fromkeys(dropped, "kept: sync.prune is false")
    return held


def _claimed(group: ChangeGroup, plan: FleetPlan) -> Mapping[ObjectRef, Set[UnitName]]:
    """Of the group's objects that two overlays would want: on which of its units."""
    found: dict[ObjectRef, set[UnitName]] = {}
    for claim in plan.claims:
        overlays, clusters = frozenset(claim.overlays), frozenset(claim.clusters)
        those = {name for name in group.units if name.overlay in overlays and name.cluster in clusters}
        if those:
            found.setdefault(claim.ref, set()).update(those)
    return found


def _claim_words(unwritten: Set[UnitName], group: ChangeGroup) -> Iterator[str]:
    if unwritten:
        where = "" if unwritten == {*group.units} else f" for {some_of(sorted(map(str, unwritten)))}"
        yield f"not written{where}: another overlay there wants it too"


def _hold_words(reason: str, units: Set[UnitName], group: Set[UnitName]) -> str:
    """A budget counts on each cluster: of a group to which the same happens some may ask alone."""
    those = "" if units == group else f" for {some_of(sorted(map(str, units)))}"
    return f"HOLD{those}: asks a person before it is deleted ({reason})"


def _deletion_words(change: ObjectChange, outcomes: Mapping[ObjectRef, str]) -> str:
    if change.hook is not None:
        return "stays there: what a hook made goes by its hook-delete alone"
    if change.moved_to:
        shared = ", which has it too and applies it from then on" if change.is_shared else ""
        return f"moves to overlay {change.moved_to}{shared}"
    if change.prune is PruneRule.DISABLED:
        return "kept: prune is disabled on it"
    if change.comes_as is not None and change.ref not in outcomes:
        return f"goes once {change.comes_as.name}, with the same content, is Healthy"
    return outcomes.get(change.ref, "")


def _fixed_words(change: ObjectChange, outcomes: Mapping[ObjectRef, str]) -> str:
    """What becomes of an object with fields that cannot be changed in place."""
    paths = ", ".join(change.fixed)
    if not change.is_remade:
        return f"{paths} cannot be changed in place: the apply fails"
    hold = outcomes.get(change.ref, "")
    return f"deleted and made anew: {paths} cannot be changed in place" + (f"; {hold}" if hold else "")


_IMAGE = re.compile(r"(?P<kind>initContainers|containers)\[name=(?P<name>[^\]]+)\]\.image\Z")


def _is_image(path: str, images: Mapping[str, ImageChange]) -> bool:
    found = _IMAGE.search(path)
    if found is None:
        return False
    return ("init/" if found["kind"] == "initContainers" else "") + found["name"] in images


def _differs(item: ShownObject) -> str:
    return "differs from unit to unit" if item.is_shared else "differs from cluster to cluster"


def _image_words(image: ImageChange, item: ShownObject, *, several: bool) -> str:
    name = f" of {image.container}" if several else ""
    if (variants := item.images.get(image.container, 1)) > 1:
        return f"image{name} {_differs(item)}, {variants} values"
    if not image.before or not image.after:
        return f"image{name} {image.after or image.before}" + ("" if image.after else " removed")
    repository, mark, tag = image.before.rpartition(":")
    after_repository, _, after_tag = image.after.rpartition(":")
    is_tag = mark and repository == after_repository and "/" not in tag + after_tag
    return f"image{name} {image.before} -> {after_tag if is_tag else image.after}"


def _restart_words(item: ShownObject) -> str:
    counts = sorted(pods for pods in item.pods if pods is not None)
    if counts and counts[0] != counts[-1]:
        return f"restarts {counts[0]}-{counts[-1]} pods"
    if counts:
        return f"restarts {counted(counts[0], 'pod')}" if counts[0] else ""
    return "restarts a pod on each node" if item.pods else ""


def _kinds(items: Sequence[ShownObject]) -> str:
    counts: dict[str, int] = {}
    for item in items:
        key = f"{item.change.sign.value} {item.change.ref.kind}"
        counts[key] = counts.get(key, 0) + 1
    return ", ".join(f"{count} {key[2:]} {key[0]}" for key, count in sorted(counts.items()))
