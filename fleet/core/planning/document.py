"""A plan as JSON: what `-o json` prints and docs/schemas/plan.json describes. Secrets are only changed or unchanged."""

from __future__ import annotations

from collections.abc import Iterable

from fleet.core.documents import Document, Json
from fleet.core.field_diff import FieldDrift
from fleet.core.gates import kind_of, wants_of
from fleet.core.ids import ObjectRef
from fleet.core.planning.apis import ApiNotice
from fleet.core.planning.change import How, ObjectChange, Sign, UnitChange
from fleet.core.planning.course import Course, CourseStep, Estimate
from fleet.core.planning.fleet_plan import Claim, FleetPlan, SideWords
from fleet.core.planning.groups import ChangeGroup, groups_of
from fleet.core.planning.holds import HoldForecast
from fleet.core.planning.hook_runs import HookRun, hook_runs
from fleet.core.planning.live import LiveView
from fleet.core.planning.settings import SettingChange
from fleet.core.planning.woken import Woken
from fleet.core.planning.words import totals_of
from fleet.core.problems import Problem
from fleet.core.rollout_policy import Gate

_ACTIONS = {Sign.CREATE: "create", Sign.CHANGE: "change", Sign.DELETE: "delete"}


def document_of(plan: FleetPlan) -> Document:
    """The whole plan: objects are listed once for each group, and for its units to which something else happens."""
    by_name = {unit.name: unit for unit in plan.units}
    groups = groups_of(plan.units)
    leads = {name: by_name[group.units[0]] for group in groups for name in group.units}
    return {
        "apiVersion": "fleet.internal/v1",
        "kind": "Plan",
        "digest": plan.digest,
        "base": _side(plan.base),
        "head": _side(plan.head),
        "files": list(plan.files),
        "settings": [_setting(one) for one in plan.settings],
        "begins": [_woken(one) for one in plan.woken],
        "different": plan.is_different,
        "complete": not plan.is_unknown,
        "summary": _summary(plan),
        "groups": [_group(group, leads[group.units[0]]) for group in groups],
        "units": [_unit(unit, leads.get(unit.name)) for unit in plan.units],
        "hooks": [_hook(run) for run in hook_runs(plan.units, plan.after)],
        "holds": [_hold(hold) for hold in plan.holds],
        "claims": [_claim(claim) for claim in plan.claims],
        "rollout": [_rollout(*found) for found in zip(plan.courses, plan.estimates, strict=True)],
        "kubernetes": f"1.{plan.kube}" if plan.kube else None,
        "apis": [_api(notice) for notice in plan.apis],
        "problems": [_problem(problem) for problem in plan.problems],
        "notes": list(plan.notes),
        "live": _live(plan.live) if plan.live is not None else None,
    }


def _summary(plan: FleetPlan) -> Document:
    totals = totals_of(plan)
    return {
        "units": {how.value: len(plan.of(how)) for how in How},
        "objects": {"create": totals.created, "change": totals.changed, "delete": totals.deleted},
        "podsRestarted": totals.pods,
        "daemonSetsRestarted": totals.nodes,
    }


def _setting(one: SettingChange) -> Document:
    return {"scope": one.scope, "name": one.name, "path": one.path, "before": one.before, "after": one.after}


def _woken(one: Woken) -> Document:
    return {"what": one.begins.value, "units": _texts(one.units), "objects": one.objects, "message": one.words}


def _hook(run: HookRun) -> Document:
    return {
        "phase": run.phase.value,
        "object": _ref(run.ref),
        "overlay": run.overlay,
        "clusters": _texts(run.clusters),
        "again": run.is_again,
    }


def _hold(hold: HoldForecast) -> Document:
    return {
        "reason": hold.reason,
        "message": hold.message,
        "units": _texts(hold.units),
        "deletes": [_ref(ref) for ref in hold.refs],
    }


def _claim(claim: Claim) -> Document:
    return {"object": _ref(claim.ref), "overlays": _texts(claim.overlays), "clusters": _texts(claim.clusters)}


def _rollout(course: Course, estimate: Estimate) -> Document:
    return {
        "overlay": course.overlay,
        "soakSeconds": course.soak_seconds,
        "steps": [_step(found) for found in course.steps],
        "leftOver": _texts(course.left_over),
        "estimate": {
            "leastSeconds": estimate.least_seconds,
            "lowSeconds": estimate.low,
            "highSeconds": estimate.high,
            "basis": estimate.basis,
        },
    }


def _api(notice: ApiNotice) -> Document:
    return {
        "object": _ref(notice.ref),
        "apiVersion": notice.api_version,
        "removed": notice.is_removed,
        "message": notice.message,
    }


def _live(live: LiveView) -> Document:
    return {
        "complete": live.is_complete,
        "clusters": [
            {
                "name": look.cluster,
                "version": look.version or None,
                "problem": look.problem or None,
                "next": look.next_step or None,
                "approximate": look.approximate,
                "by": "hub" if look.by_hub else "kubeconfig",
                "ageSeconds": look.age_seconds,
            }
            for look in live.looks
        ],
        "findings": [
            {
                "danger": found.danger.value,
                "overlay": found.overlay,
                "cluster": found.cluster,
                "object": _ref(found.ref) if found.ref is not None else None,
                "message": found.message,
                "next": found.next_step or None,
                "approximate": found.approximate,
            }
            for found in live.findings
        ],
    }


def _group(group: ChangeGroup, lead: UnitChange) -> Document:
    # What differs between the units of a group is told by the first of them here, and by the others themselves.
    varying: list[Json] = []
    for shown in group.objects:
        varying += [f"{shown.change.ref}: {one.field.path}" for one in shown.fields if one.variants > 1]
        if shown.contents > 1:
            varying.append(f"{shown.change.ref}: content")
    return {
        "name": group.letter,
        "how": group.how.value,
        "basedOn": group.based_on or None,
        "units": _texts(group.units),
        "objects": [_object(change) for change in lead.objects],
        "varying": varying,
    }


def _step(found: CourseStep) -> Document:
    step = found.stage.step
    return {
        "name": found.stage.name,
        "clusters": _texts(found.clusters),
        "oneFirst": step.one_first,
        "maxParallel": found.at_once,
        "maxUnavailable": found.may_miss,
        "soakSeconds": step.soak_seconds,
        "approvals": step.approvals,
        "gates": [_gate(gate) for gate in step.gates],
    }


def _gate(gate: Gate) -> Document:
    return {
        "name": gate.name,
        "type": kind_of(gate),
        "wants": wants_of(gate),
        "intervalSeconds": gate.interval_seconds,
        "windowSeconds": gate.window_seconds,
        "timeoutSeconds": gate.timeout_seconds,
        "retries": gate.retries,
    }


def _unit(unit: UnitChange, lead: UnitChange | None) -> Document:
    """lead: the first unit of its group, whose objects stand there."""
    found: Document = {
        "name": str(unit.name),
        "overlay": unit.name.overlay,
        "cluster": unit.name.cluster,
        "how": unit.how.value,
        "pathBefore": unit.path_before or None,
        "pathAfter": unit.path_after or None,
        "objectsBefore": None if unit.unknown_before else unit.owned,
    }
    if unit.problem is not None:
        found["problem"] = {
            "reason": unit.problem.reason,
            "message": unit.problem.message,
            "where": unit.problem.where,
            "next": unit.problem.next_step,
        }
    if lead is not None and lead.name != unit.name and lead.objects != unit.objects:
        objects: list[Json] = [_object(change) for change in unit.objects]
        if objects != [_object(change) for change in lead.objects]:
            found["objects"] = objects
    return found


def _object(change: ObjectChange) -> Document:
    found: Document = {"action": _ACTIONS[change.sign], "object": _ref(change.ref), "apiVersion": change.api_version}
    if change.fields:
        found["fields"] = [_field(drift) for drift in change.fields]
    if change.images:
        found["images"] = [
            {"container": image.container, "before": image.before or None, "after": image.after or None}
            for image in change.images
        ]
    if change.restart is not None:
        found["restarts"] = "each node" if change.restart.pods is None else change.restart.pods
    if change.renamed_from is not None:
        found["renamedFrom"] = change.renamed_from.name
        found["users"] = [_ref(ref) for ref in change.users]
    if change.sign is Sign.DELETE:
        found["prune"] = change.prune.value
    if change.fixed:
        found["fixed"], found["remade"] = list(change.fixed), change.is_remade
    if change.left:
        found["left"] = change.left
    if change.hook is not None:
        found["hook"] = change.hook.value
    if change.moved_from:
        found["movesFrom"] = change.moved_from
    if change.moved_to:
        found["movesTo"] = change.moved_to
    if change.comes_as is not None:
        found["comesAs"] = change.comes_as.name
    return found


def _field(drift: FieldDrift) -> Document:
    if drift.masked:
        return {"path": drift.path, "masked": True}
    return {"path": drift.path, "before": drift.desired, "after": drift.live}


def _ref(ref: ObjectRef) -> Document:
    return {"group": ref.group, "kind": ref.kind, "namespace": ref.namespace, "name": ref.name}


def _side(side: SideWords) -> Document:
    return {"commit": side.revision or None, "name": side.name or None, "subject": side.subject or None}


def _problem(problem: Problem) -> Document:
    return {
        "severity": problem.severity.value,
        "reason": problem.reason,
        "what": problem.what,
        "path": problem.origin.path,
        "line": problem.origin.line,
        "why": problem.why,
        "next": problem.next_step,
    }


def _texts(values: Iterable[object]) -> list[Json]:
    return [str(value) for value in values]
