"""What a setting lets a hub begin with, though nothing is built anew: told with counts, and asked about live."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from core.building import MARK, live_of, ref
from core.test_change import config, fleet_of, plan, result, web

from fleet.cli.planning_live import LiveUnit, concerned
from fleet.core.fleet import Fleet, Mode
from fleet.core.ids import ClusterName, Digest, ObjectRef, Revision, UnitName
from fleet.core.objects import Bundle
from fleet.core.parent import parent_of
from fleet.core.planning.change import How, UnitChange
from fleet.core.planning.document import document_of
from fleet.core.planning.live_judge import judge_barred, judge_kept
from fleet.core.planning.phrases import Remark
from fleet.core.planning.remarks import remarks
from fleet.core.planning.woken import Begins, woken_of
from fleet.core.planning.words import summary
from fleet.core.sync_policy import Adopt, Suspension, SyncMode, SyncPolicy

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "schemas" / "plan.json").read_text())
NAMES = ("dns@eu-1", "web@eu-1", "web@eu-2")
STOP = Suspension("disk swap")


def with_clusters(fleet: Fleet, **fields: Any) -> Fleet:
    clusters = {name: replace(cluster, **fields) for name, cluster in fleet.clusters.items()}
    units = {name: replace(unit, cluster=clusters[name.cluster]) for name, unit in fleet.units.items()}
    return replace(fleet, clusters=clusters, units=units)


def synced(**policy: Any) -> Fleet:
    return fleet_of(*NAMES, sync=SyncPolicy(**policy))


@pytest.mark.parametrize(
    ("before", "after", "begins"),
    [
        (fleet_of(*NAMES, mode=Mode.OBSERVE), fleet_of(*NAMES), Begins.WRITES),
        (with_clusters(fleet_of(*NAMES), suspend=STOP), fleet_of(*NAMES), Begins.RESUMES),
        (replace(fleet_of(*NAMES), suspend=STOP), fleet_of(*NAMES), Begins.RESUMES),
        (synced(mode=SyncMode.MANUAL), fleet_of(*NAMES), Begins.BY_ITSELF),
        (synced(prune=False), fleet_of(*NAMES), Begins.DELETES),
        (synced(self_heal=False), fleet_of(*NAMES), Begins.HEALS),
        (fleet_of(*NAMES), synced(adopt=Adopt.IF_NO_DIFF), Begins.ADOPTS),
        (synced(adopt=Adopt.IF_NO_DIFF), synced(adopt=Adopt.ALWAYS), Begins.ADOPTS),
    ],
)
def test_what_begins_is_told_and_its_opposite_is_not(before: Fleet, after: Fleet, begins: Begins) -> None:
    assert woken_of(before, after) == {UnitName.parse(name): (begins,) for name in NAMES}
    assert woken_of(after, before) == {}
    assert woken_of(before, before) == {}


def test_where_nothing_is_written_afterwards_nothing_begins() -> None:
    fleet = fleet_of(*NAMES)
    stopped = (
        with_clusters(fleet, mode=Mode.OBSERVE),
        with_clusters(fleet, suspend=STOP),
        replace(fleet, suspend=STOP),
    )
    assert [woken_of(synced(prune=False), after) for after in stopped] == [{}, {}, {}]
    assert woken_of(fleet_of(*NAMES, mode=Mode.OBSERVE), synced(mode=SyncMode.MANUAL)) == {}


def test_first_writes_are_counted_in_every_form() -> None:
    held = {UnitName.parse(name): frozenset({ref("a"), ref("b")}) for name in NAMES}
    found = plan([], fleet_of(*NAMES, mode=Mode.OBSERVE), fleet_of(*NAMES), held=held)
    text = "dns, web on 2 clusters: first writes there (mode: manage), at once and without steps, 6 objects"
    assert Remark("Begins", text) in list(remarks(found))
    assert summary(found).endswith("; what begins by a setting is not counted")
    document: Any = document_of(found)
    jsonschema.validate(document, SCHEMA)
    assert document["begins"] == [{"what": "first-writes", "units": list(NAMES), "objects": 6, "message": text}]
    unbuilt = plan([], fleet_of(*NAMES, mode=Mode.OBSERVE), fleet_of(*NAMES), held={})
    assert [one.objects for one in unbuilt.woken] == [None], "what could not be built is not counted as nothing"
    assert not summary(plan([], fleet_of(*NAMES), fleet_of(*NAMES))).endswith("counted")


def test_all_objects_of_a_unit_that_begins_are_asked_about_live() -> None:
    kept, hook = config("kept"), config("migrate")
    hook["metadata"]["annotations"] = {"fleet.internal/hook": "PreSync"}
    was, now = result(kept, hook, config("cfg", v="1")), result(kept, hook, config("cfg", v="2"))
    assert isinstance(was.result, Bundle)
    assert isinstance(now.result, Bundle)
    unit = fleet_of("web@eu-1").units[UnitName.parse("web@eu-1")]
    changed = LiveUnit(web(was, now), unit, was.result, now.result)
    same = LiveUnit(UnitChange(unit.name, How.CHANGES), unit, was.result, was.result)

    def asked(one: LiveUnit, *begins: Begins) -> list[ObjectRef]:
        found = concerned([one], {unit.name: begins} if begins else {})
        return [item.ref for each in found for item in each.change.objects]

    assert asked(changed) == [ref("cfg")]
    assert sorted(asked(changed, Begins.WRITES)) == [ref("cfg"), ref("kept")]
    assert asked(same) == []
    assert sorted(asked(same, Begins.RESUMES)) == [ref("cfg"), ref("kept")]
    (found,) = concerned([same], {unit.name: (Begins.DELETES,)})
    assert found.keeps_no_more


def test_what_was_kept_is_told_to_go_and_what_stays_is_not() -> None:
    def told(document: dict[str, Any], **annotations: str) -> list[str]:
        notes: dict[str, Any] = {"annotations": annotations} if annotations else {}
        live = live_of({**document, "metadata": {**document["metadata"], **notes}})
        return [found.message for found in judge_kept(live, ref("old", document["kind"]), MARK, ClusterName("eu-1"))]

    claim = {**config("old"), "kind": "PersistentVolumeClaim"}
    assert told(config("old")) == ["was kept until now by sync.prune: false, and is deleted"]
    assert told(claim) == ["was kept until now by sync.prune: false, and is deleted, after a person was asked"]
    assert told(config("old"), **{"fleet.internal/prune": "disabled"}) == []
    assert told(config("old"), **{"fleet.internal/hook": "PreSync"}) == []
    assert not list(judge_kept(config("old"), ref("old"), MARK, ClusterName("eu-1"))), "it carries no mark of ours"


def test_a_result_that_the_parent_bars_is_told_and_another_is_not() -> None:
    name = UnitName.parse("web@eu-1")
    parent = parent_of(MARK, [], generation=1, bundle=None, commit=Revision(""), quarantined=[Digest("b")])
    assert [found.danger.value for found in judge_barred(name, Digest("b"), parent)] == ["barred"]
    assert not list(judge_barred(name, Digest("c"), parent))
