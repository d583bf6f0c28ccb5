"""What differs between two commits, judged without a cluster: objects, pods, names, moves, holds, claims, digest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from core.building import ref
from hypothesis import given
from hypothesis import strategies as st

from fleet.core.bundles import assemble
from fleet.core.fleet import (
    Cluster,
    Environment,
    Fleet,
    Mode,
    Overlay,
    Unit,
)
from fleet.core.ids import Digest, Revision, UnitName
from fleet.core.objects import Bundle, BundleObject, bundle_digest
from fleet.core.planning.apis import judge_api, minor_of
from fleet.core.planning.change import (
    How,
    SideProblem,
    SideResult,
    Sign,
    UnitChange,
    change_of_unit,
    changes_of,
)
from fleet.core.planning.document import document_of
from fleet.core.planning.field_words import FOLDED, WHOLE
from fleet.core.planning.fleet_plan import Comparison, FleetPlan, SideWords, plan_of
from fleet.core.planning.groups import VARIANTS_SHOWN, groups_of
from fleet.core.planning.markdown import LIMIT_BYTES, markdown_of
from fleet.core.planning.pods import Restart
from fleet.core.planning.remarks import remarks
from fleet.core.planning.words import heading, lines_of, summary, title_of, totals_of
from fleet.core.problems import Origin
from fleet.core.rollout_policy import Amount, RolloutPolicy, Step
from fleet.core.selection import Target
from fleet.core.sync_policy import Budget, SyncPolicy
from fleet.errors import UsageInvalid

HASHES = ("2457kbc5mc", "972mt7mgdb", "8tggktd256")


def made(*documents: Mapping[str, Any], key: bytes = b"key", generated: Sequence[str] = ()) -> tuple[BundleObject, ...]:
    """Objects as a render makes them. generated: names before the hash, one for each document."""
    copies = json.loads(json.dumps(documents))
    return assemble(copies, key=key, generated=generated or [""] * len(copies)).objects


def config(name: str, **data: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def secret(name: str, value: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"password": value}}


def workload(kind: str = "Deployment", *, image: str = "reg/web:1", replicas: int | None = 3, **spec: Any) -> Any:
    template = {"spec": {"containers": [{"name": "web", "image": image}], **spec.pop("pod", {})}}
    count = {} if replicas is None else {"replicas": replicas}
    metadata = {"name": "web", "namespace": "shop"}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": metadata,
        "spec": {**count, "template": template, **spec},
    }


def result(*documents: Mapping[str, Any], inputs: str = "", **options: Any) -> SideResult:
    objects = made(*documents, **options)
    return SideResult("overlays/web", Bundle(bundle_digest(objects), objects), Digest(inputs))


def name_of(text: str) -> UnitName:
    return UnitName.parse(text)


def fleet_of(
    *names: str, budget: Budget | None = None, sync: SyncPolicy | None = None, mode: Mode = Mode.MANAGE
) -> Fleet:
    units: dict[UnitName, Unit] = {}
    for text in names:
        name = name_of(text)
        cluster = Cluster(name.cluster, Origin("clusters/c.yaml"), environment="prod", mode=mode)
        overlay = Overlay(name.overlay, f"overlays/{name.overlay}", Origin("o.yaml"), sync=sync or SyncPolicy())
        units[name] = Unit(name, "p", Origin("o.yaml"), (), {}, overlay, cluster)
    return Fleet(
        Revision(""),
        environments=(Environment("dev"), Environment("prod")),
        clusters={unit.cluster.name: unit.cluster for unit in units.values()},
        overlays={unit.overlay.name: unit.overlay for unit in units.values()},
        units=units,
        budget=budget or Budget(),
    )


def plan(
    units: Sequence[UnitChange], before: Fleet | None = None, after: Fleet | None = None, **more: Any
) -> FleetPlan:
    names = [str(unit.name) for unit in units]
    words = SideWords("9e02d41" + "0" * 33, "main"), SideWords("", "your branch web-1.8")
    fleets = before or fleet_of(*names), after or fleet_of(*names)
    kube = more.pop("kube", 0)
    return plan_of(Comparison(*words, *fleets, ("a.yaml",), tuple(units), **more), kube=kube)


def web(before: SideResult | None, after: SideResult | None, name: str = "web@eu-1") -> UnitChange:
    return change_of_unit(name_of(name), before, after)


def printed(found: FleetPlan) -> str:
    """All that any form says."""
    parts = [heading(found), summary(found), *(f"{remark.word} {remark.line}" for remark in remarks(found))]
    for group in groups_of(found.units):
        parts += [title_of(group, found), *lines_of(group, found, WHOLE)]
    return "\n".join([*parts, markdown_of(found), json.dumps(document_of(found))])


# Objects


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 3)),
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 3)),
)
def test_every_object_that_differs_is_told_once_and_no_other(was: dict[str, int], now: dict[str, int]) -> None:
    before = made(*(config(name, v=str(value)) for name, value in was.items()))
    after = made(*(config(name, v=str(value)) for name, value in now.items()))
    found = {change.ref.name: change.sign for change in changes_of(before, after)}
    assert found == {
        name: Sign.CREATE if name not in was else Sign.DELETE if name not in now else Sign.CHANGE
        for name in {*was, *now}
        if was.get(name) != now.get(name)
    }


def test_other_order_and_form_of_the_same_is_no_change() -> None:
    one = {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "data": {"b": "2", "a": "1"},
        "metadata": {"name": "c", "namespace": "s"},
    }
    other = {
        "apiVersion": "v1",
        "metadata": {"namespace": "s", "name": "c"},
        "kind": "ConfigMap",
        "data": {"a": "1", "b": "2"},
    }
    assert web(result(one), result(other)).how is How.SAME


def asking(**requests: str) -> dict[str, Any]:
    return workload(pod={"containers": [{"name": "web", "image": "reg/web:1", "resources": {"requests": requests}}]})


def with_env(value: str) -> dict[str, Any]:
    container = {"name": "web", "image": "reg/web:1", "env": [{"name": "RATE", "value": value}]}
    return workload(pod={"containers": [container]})


@pytest.mark.parametrize(
    ("before", "after", "restart"),
    [
        (workload(), workload(image="reg/web:2"), Restart(3)),
        (workload(replicas=None), workload(replicas=None, image="reg/web:2"), Restart(1)),
        (workload(), workload(replicas=5), None),
        (workload(), workload(image="reg/web:2", paused=True), None),
        (workload("DaemonSet", replicas=None), workload("DaemonSet", replicas=None, image="reg/web:2"), Restart(None)),
        (
            workload("StatefulSet"),
            workload("StatefulSet", image="reg/web:2", updateStrategy={"type": "OnDelete"}),
            None,
        ),
        (workload("ReplicaSet"), workload("ReplicaSet", image="reg/web:2"), None),
        (
            workload("StatefulSet", updateStrategy={"rollingUpdate": {"partition": 2}}),
            workload("StatefulSet", image="reg/web:2", updateStrategy={"rollingUpdate": {"partition": 2}}),
            Restart(1),
        ),
        (
            workload("StatefulSet", updateStrategy={"rollingUpdate": {"partition": 3}}),
            workload("StatefulSet", image="reg/web:2", updateStrategy={"rollingUpdate": {"partition": 3}}),
            None,
        ),
        (asking(cpu="100m"), asking(cpu="0.1"), None),
        (asking(cpu="100m"), asking(cpu="0.2"), Restart(3)),
        (asking(memory="1Gi"), asking(memory="1024Mi"), None),
        (with_env("1"), with_env("1.0"), Restart(3)),
        (workload("StatefulSet"), workload("StatefulSet", image="reg/web:2", serviceName="other"), None),  # it fails
    ],
)
def test_pods_restart_when_a_controller_would_replace_them(before: Any, after: Any, restart: Restart | None) -> None:
    (change,) = changes_of(made(before), made(after))
    assert change.restart == restart


def test_images_are_told_before_and_after_by_container() -> None:
    pods = {"pod": {"initContainers": [{"name": "wait", "image": "reg/wait:1"}]}}
    (change,) = changes_of(made(workload()), made(workload(image="reg/web@sha256:0a", **pods)))
    assert [(image.container, image.before, image.after) for image in change.images] == [
        ("init/wait", "", "reg/wait:1"),
        ("web", "reg/web:1", "reg/web@sha256:0a"),
    ]


def follower(name: str) -> dict[str, Any]:
    return workload(pod={"volumes": [{"name": "cfg", "configMap": {"name": name}}]})


def test_a_generated_name_that_follows_its_content_is_a_rename_with_its_users() -> None:
    names = [f"web-cfg-{suffix}" for suffix in HASHES[:2]]
    before = made(config(names[0], timeout="30s"), follower(names[0]), generated=["web-cfg", ""])
    after = made(config(names[1], timeout="10s"), follower(names[1]), generated=["web-cfg", ""])
    renamed, user = changes_of(before, after)
    assert (renamed.sign, renamed.renamed_from, renamed.users) == (Sign.CHANGE, ref(names[0]), (user.ref,))
    assert [drift.path for drift in renamed.fields] == ["data.timeout"]
    found = plan([UnitChange(name_of("web@eu-1"), How.CHANGES, (renamed, user), owned=2)])
    (group,) = groups_of(found.units)
    assert list(lines_of(group, found, FOLDED)) == [
        f"~ ConfigMap shop/web-cfg  data.timeout 30s -> 10s (new name {names[1]})",
        "~ Deployment shop/web     follows ConfigMap web-cfg  restarts 3 pods",
    ]
    assert (totals_of(found).created, totals_of(found).deleted) == (0, 0)


def test_two_names_that_people_gave_are_one_object_less_and_one_more() -> None:
    found = changes_of(made(config("web-a", v="1")), made(config("web-b", v="1")))
    assert [change.sign for change in found] == [Sign.DELETE, Sign.CREATE]


@given(st.text("abcdefgh", min_size=9, max_size=12), st.text("stuvwxyz", min_size=9, max_size=12))
def test_no_form_of_a_plan_shows_a_value_of_a_secret(before: str, after: str) -> None:
    unit = web(result(secret("s", before), secret("gone", before)), result(secret("s", after), secret("new", after)))
    text = printed(plan([unit]))
    assert "data.password changed" in text
    assert before not in text
    assert after not in text
    assert "fleet-sealed" not in text


# Units


def test_what_cannot_be_told_afterwards_is_unknown_and_what_could_not_be_told_before_is_listed_whole() -> None:
    broken = SideResult("overlays/web", SideProblem("ResourceMissing", "no such file", "k.yaml:3"))
    lost = web(result(config("a")), broken)
    assert (lost.how, lost.objects, plan([lost]).is_unknown) == (How.UNKNOWN, (), True)
    mended = web(broken, result(config("a")))
    assert (mended.how, mended.unknown_before, len(mended.objects)) == (How.CHANGES, True, 1)
    assert plan([mended]).is_unknown
    assert not plan([web(result(config("b")), result(config("a")))]).is_unknown


def test_another_path_with_the_same_result_is_shown() -> None:
    before, after = result(config("a")), replace(result(config("a")), path="overlays/web/prod")
    found = plan([web(before, after)])
    assert found.is_different
    assert "path overlays/web -> overlays/web/prod" in printed(found)


def test_an_object_that_another_unit_of_the_cluster_gains_moves() -> None:
    leaving = web(result(config("a"), config("b")), result(config("b")))
    taking = web(result(config("c")), result(config("c"), config("a")), "api@eu-1")
    elsewhere = web(result(config("a"), config("b")), result(config("b")), "web@eu-2")
    found = plan([leaving, taking, elsewhere])
    moves = {str(unit.name): [change.moved_to for change in unit.of_sign(Sign.DELETE)] for unit in found.units}
    assert moves == {"api@eu-1": [], "web@eu-1": ["api"], "web@eu-2": [""]}
    assert (totals_of(found).created, totals_of(found).deleted) == (0, 1)


def test_an_object_that_two_units_would_want_is_claimed_where_the_change_brings_it() -> None:
    taking = web(result(config("c")), result(config("c"), config("a")), "api@eu-1")
    held = {
        name_of("api@eu-1"): frozenset({ref("c"), ref("a")}),
        name_of("web@eu-1"): frozenset({ref("a"), ref("c")}),  # `c` was claimed twice before: not this change's doing
        name_of("web@eu-2"): frozenset({ref("a")}),
    }
    (claim,) = plan([taking], held=held).claims
    assert (claim.ref, claim.overlays, claim.clusters) == (ref("a"), ("api", "web"), ("eu-1",))


def test_what_two_units_would_want_is_in_no_sum_and_its_line_says_that_nobody_writes_it() -> None:
    units = [web(None, result(config("a"), workload()), f"webu@eu-{n}") for n in (1, 2)]
    held = {unit.name: frozenset(change.ref for change in unit.objects) for unit in units}
    free = plan(units, held=held)
    deployment = next(change.ref for change in units[0].objects if change.ref.kind == "Deployment")
    both = plan(units, held={**held, **{name_of(f"web@eu-{n}"): frozenset({deployment, ref("a")}) for n in (1, 2)}})
    assert (totals_of(free).created, totals_of(both).created) == (4, 0)
    assert "not written: another overlay there wants it too" in printed(both)
    one = plan(units, held={**held, name_of("web@eu-2"): frozenset({ref("a")})})
    assert totals_of(one).created == 3
    assert "not written for webu@eu-2: another overlay there wants it too" in printed(one)
    assert "not written" not in printed(free)


def test_pods_of_a_workload_that_two_units_come_to_want_do_not_restart() -> None:
    units = [web(result(workload()), result(workload(image="reg/web:2")), "web@eu-1")]
    taken = [*units, web(None, result(workload()), "api@eu-1")]
    held = {unit.name: frozenset(change.ref for change in unit.objects) for unit in taken}
    assert totals_of(plan(units, held=held)).pods == 3
    found = plan(taken, held=held)
    assert (totals_of(found).pods, totals_of(found).changed, totals_of(found).created) == (0, 0, 0)
    assert "restarts 3 pods" not in "\n".join(
        line for group in groups_of(found.units) for line in lines_of(group, found, WHOLE)
    )


# Holds


def shrink(name: str, *, left: int, lost: int) -> UnitChange:
    kept = [config(f"k{index}") for index in range(left)]
    return web(result(*kept, *(config(f"d{index}") for index in range(lost))), result(*kept), name)


def test_deletions_within_the_budget_ask_nobody_and_beyond_it_a_person() -> None:
    assert plan([shrink("web@eu-1", left=9, lost=3)]).holds == ()
    (hold,) = plan([shrink("web@eu-1", left=9, lost=4)]).holds
    assert (hold.reason, len(hold.refs)) == ("prune-budget", 4)
    (fall,) = plan([shrink("web@eu-1", left=1, lost=2)]).holds
    assert fall.reason == "sharp-fall"


def test_the_same_deletion_on_many_clusters_is_one_hold() -> None:
    names = [f"web@eu-{index}" for index in range(4)]
    fleet = fleet_of(*names)
    units = {
        name: replace(unit, overlay=replace(unit.overlay, rollout=RolloutPolicy(())))
        for name, unit in fleet.units.items()
    }
    at_once = replace(fleet, units=units)
    changes = [shrink(name, left=20, lost=1) for name in names]
    (hold,) = plan(changes, at_once, at_once).holds
    assert [str(unit) for unit in hold.units] == names
    assert plan(changes[:3], at_once, at_once).holds == ()
    assert plan(changes, fleet, fleet).holds == ()  # by steps, the first cluster proves it for the others


def test_a_budget_that_the_change_loosens_does_not_count_for_it() -> None:
    unit = shrink("web@eu-1", left=9, lost=4)
    loose = Budget(objects=99, share=0.9, share_from=8, clusters=9)
    assert plan([unit], after=fleet_of("web@eu-1", budget=loose)).holds
    assert not plan([unit], *(fleet_of("web@eu-1", budget=loose) for _ in range(2))).holds


@pytest.mark.parametrize("options", [{"sync": SyncPolicy(prune=False)}, {"mode": Mode.OBSERVE}])
def test_what_is_never_deleted_is_never_held(options: Any) -> None:
    unit = shrink("web@eu-1", left=1, lost=9)
    assert plan([unit]).holds
    assert not plan([unit], after=fleet_of("web@eu-1", **options)).holds


def test_a_precious_kind_is_held_in_words_and_a_moved_one_is_not() -> None:
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "shop"}}
    leaving = web(result(claim, config("a")), result(config("a")))
    assert "HOLD: asks a person before it is deleted (precious-kind)" in printed(plan([leaving]))
    taking = web(result(config("c")), result(config("c"), claim), "api@eu-1")
    assert plan([leaving, taking]).holds == ()


def test_what_is_held_on_one_cluster_of_several_says_on_which() -> None:
    """The same four go on both, and are too many of one that has eleven."""
    few = shrink("web@eu-1", left=7, lost=4)
    many = replace(shrink("web@eu-2", left=7, lost=4), owned=40)
    found = plan([few, many])
    (hold,), (group,) = found.holds, groups_of(found.units)
    assert (hold.units, len(group.units)) == ((few.name,), 2)
    words = "HOLD for web@eu-1: asks a person before it is deleted (prune-budget)"
    assert [line.endswith(words) for line in lines_of(group, found, WHOLE)] == [True] * 4
    alike = plan([few, shrink("web@eu-2", left=7, lost=4)])  # the twin: both ask
    (both,) = groups_of(alike.units)
    words = "HOLD: asks a person before it is deleted (prune-budget)"
    assert [line.endswith(words) for line in lines_of(both, alike, WHOLE)] == [True] * 4
    free = plan([many])
    assert "HOLD" not in printed(free)


def test_many_clusters_that_leave_an_overlay_at_once_are_held() -> None:
    names = [f"web@eu-{index}" for index in range(8)]
    gone = [web(result(config("a")), None, name) for name in names[:4]]
    (hold,) = plan(gone, fleet_of(*names), fleet_of(*names[4:])).holds
    assert (hold.reason, hold.message) == ("sharp-fall", "4 of 8 clusters would leave overlay web at once")
    assert plan(gone[:2], fleet_of(*names), fleet_of(*names[2:])).holds == ()


# Groups


def bumped(name: str, *, image: str = "reg/web:2", extra: bool = False) -> UnitChange:
    more = [config("more")] if extra else []
    return web(result(workload()), result(workload(image=image), *more), name)


def test_the_text_grows_with_kinds_of_change_and_not_with_clusters() -> None:
    few = plan([bumped(f"web@eu-{index}", extra=index == 0) for index in range(5)])
    many = plan([bumped(f"web@eu-{index}", extra=index == 0) for index in range(500)])
    lines = [[*lines_of(group, found, FOLDED)] for found in (few, many) for group in groups_of(found.units)]
    assert lines[:2] == lines[2:]
    first, second = groups_of(many.units)
    assert (len(first.units), second.based_on, len(second.objects)) == (499, "A", 1)
    assert title_of(second, many) == "B  web on 1 cluster: eu-0   as A, and"


def test_values_that_differ_on_every_cluster_are_one_kind_of_change_and_a_few_are_told_apart() -> None:
    every = groups_of([bumped(f"web@eu-{index}", image=f"reg/web:{index}-b") for index in range(VARIANTS_SHOWN + 1)])
    assert [(len(group.units), group.objects[0].fields[0].variants) for group in every] == [(4, 4)]
    few = groups_of([bumped(f"web@eu-{index}", image=f"reg/web:{index}-b") for index in range(VARIANTS_SHOWN)])
    assert [len(group.units) for group in few] == [1, 1, 1]


def test_the_same_change_of_many_overlays_is_told_once() -> None:
    units = [
        web(result(config(f"c{index}", v="1")), result(config(f"c{index}", v="2")), f"o{index}@eu-1")
        for index in range(40)
    ]
    (group,) = groups_of(units)
    assert (len(group.overlays), len(group.objects[0].others)) == (40, 39)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 4), st.booleans()), min_size=1, max_size=12))
def test_every_unit_that_changes_is_in_exactly_one_group(drawn: list[tuple[str, int, bool]]) -> None:
    units = [
        bumped(f"{overlay}@eu-{index}", image=f"reg/web:{tag}", extra=extra)
        for index, (overlay, tag, extra) in enumerate(drawn)
    ]
    grouped = [name for group in groups_of(units) for name in group.units]
    assert sorted(grouped) == sorted(unit.name for unit in units if unit.how is not How.SAME)


# Steps


def test_the_steps_of_the_changed_clusters_are_told_with_their_limits_and_soaks() -> None:
    def step(name: str, **options: Any) -> Step:
        return Step(name, Origin("fleet.yaml", 3), **options)

    canary = Target(Origin("fleet.yaml", 4), match_labels={"tier": "canary"})
    steps = (
        step("canary", clusters=canary, soak_seconds=600.0),
        step("go", approvals=2),
        step("rest", rest=True, max_parallel=Amount(share=0.5), one_first=True),
    )
    names = [f"web@eu-{index}" for index in range(5)]
    fleet = fleet_of(*names)
    labelled = replace(fleet.clusters[name_of("web@eu-0").cluster], labels={"tier": "canary"})
    overlays = {name: replace(overlay, rollout=RolloutPolicy(steps)) for name, overlay in fleet.overlays.items()}
    fleet = replace(fleet, clusters={**fleet.clusters, labelled.name: labelled}, overlays=overlays)
    changed = [bumped(name) for name in names]
    assert way(plan(changed, fleet, fleet)) == (
        "web: canary 1, soak 10m > go, 2 approvals > rest 1 > rest 3, 2 at a time"
        "   10m at least, by its soaks and gates alone"
    )
    assert way(plan([*changed, web(result(config("a")), None, "api@eu-1")])) == "web: prod 1 > prod 4"
    at_once = {name: replace(overlay, rollout=RolloutPolicy(())) for name, overlay in fleet.overlays.items()}
    assert way(plan(changed, fleet, replace(fleet, overlays=at_once))) == "web: all clusters at once"


def way(found: FleetPlan) -> str:
    (text,) = [remark.line for remark in remarks(found) if remark.word == "Rollout"]
    return text


# Digest


def test_a_digest_is_that_of_the_change_whatever_the_machine_and_the_commits() -> None:
    def side(value: str, key: bytes) -> SideResult:
        return result(secret("s", value), config("c", v=value), inputs=f"ids-{value}", key=key)

    one = plan([web(side("a", b"one"), side("b", b"one"))])
    other = plan([web(side("a", b"two"), side("b", b"two"))])
    assert one.digest == other.digest
    assert one.digest != plan([web(side("a", b"one"), side("c", b"one"))]).digest
    secrets_alone = [
        plan([web(result(secret("s", "a"), inputs="i"), result(secret("s", value), inputs=f"ids-{value}"))])
        for value in "bc"
    ]
    assert secrets_alone[0].digest != secrets_alone[1].digest


def test_a_digest_follows_the_target_set_and_not_what_comes_out_the_same() -> None:
    one, two = bumped("web@eu-1"), bumped("web@eu-2")
    same = web(result(config("a")), result(config("a")), "web@eu-3")
    assert plan([one]).digest != plan([one, two]).digest
    assert plan([one, two]).digest == plan([two, one]).digest == plan([one, two, same]).digest


# A comment


@given(st.integers(1, 400), st.integers(16, 64))
def test_a_comment_stays_within_its_limit_and_counts_what_it_leaves_out(overlays: int, limit_kib: int) -> None:
    units = [
        web(result(config("c", **{f"f{index}": "x"})), result(config("c", **{f"f{index}": "y" * 40})), f"o{index}@eu-1")
        for index in range(overlays)
    ]
    found = plan(units)
    text = markdown_of(found, limit_bytes=limit_kib * 1024)
    assert len(text.encode()) <= limit_kib * 1024
    shown = text.count("```diff")
    assert text.count("```") == 2 * shown
    left = overlays - shown
    assert (f"**{left} more groups with {left} units" in text) is (left > 0)


def test_a_comment_of_a_huge_group_folds_it_and_stays_within_the_limit() -> None:
    before = [config(f"c{index}", v="x" * 900) for index in range(500)]
    after = [config(f"c{index}", v="y" * 900) for index in range(500)]
    text = markdown_of(plan([web(result(*before), result(*after))]))
    assert len(text.encode()) <= LIMIT_BYTES
    assert "more objects: 488 ConfigMap ~" in text


def test_nothing_in_a_value_ends_its_block_or_mentions_a_person() -> None:
    evil = "```\n@everyone <script> [x](http://evil)"
    text = markdown_of(plan([web(result(config("c", v="a\nb")), result(config("c", v=evil)))]))
    assert "````diff" in text
    outside = text[: text.index("````diff")] + text[text.rindex("````") :]
    assert "@everyone" not in outside


# APIs


@pytest.mark.parametrize(("minor", "verdict"), [(20, None), (21, False), (24, False), (25, True), (40, True)])
def test_an_api_is_deprecated_and_then_removed_at_its_versions(minor: int, verdict: bool | None) -> None:
    found = judge_api(ref("b", "CronJob", "batch"), "batch/v1beta1", minor)
    assert (found.is_removed if found else None) is verdict
    assert judge_api(ref("b", "CronJob", "batch"), "batch/v1", minor) is None


@pytest.mark.parametrize("text", ["", "1", "2.30", "1.x", "1.36.1.2", "1.15", "1.9999"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(UsageInvalid):
        minor_of(text)


def test_a_plan_names_apis_of_what_it_brings_and_not_of_what_goes() -> None:
    old = {"apiVersion": "batch/v1beta1", "kind": "CronJob", "metadata": {"name": "b", "namespace": "shop"}}
    assert [notice.is_removed for notice in plan([web(None, result(old))], kube=30).apis] == [True]
    assert plan([web(result(old, config("a")), result(config("a")))], kube=30).apis == ()


def test_names_of_clusters_are_given_while_they_are_few() -> None:
    found = plan([bumped(f"web@eu-{index}") for index in range(2)])
    assert title_of(groups_of(found.units)[0], found) == "A  web on 2 clusters: eu-0 eu-1"
    many = plan([bumped(f"web@eu-{index}") for index in range(7)])
    assert title_of(groups_of(many.units)[0], many) == "A  web on 7 clusters: 7 prod"
    assert heading(many) == (
        "main 9e02d41 -> your branch web-1.8 merged into it (1 file). 1 of 1 overlay changes, on 7 clusters."
    )
    assert summary(many) == "7 objects change, none is deleted, none is created, 21 pods restart"
