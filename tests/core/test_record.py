"""Marks, records, and what may be deleted of them."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from typing import Any

import pytest
from core.building import MARK, UNIT, bundle_object, live_of, ref, row
from hypothesis import given
from hypothesis.strategies import dictionaries, lists, sampled_from, text

from fleet.core.ids import Digest
from fleet.core.objects import INSTALLATION_LABEL, OWNER_ANNOTATION, PART_OF_LABEL, Mark
from fleet.core.record import (
    Deletable,
    Gone,
    MarkKind,
    NotDeletable,
    RowState,
    applyset_id,
    desired_digest_of,
    installation_hash,
    judge_deletion,
    judge_mark,
    mark_body,
    mark_labels,
    parent_name,
    plan_record,
    rebuild_record,
    record_digest,
)
from fleet.core.sync_policy import IgnoreRule

BODY: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
    "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}}}},
}


def test_a_mark_is_on_the_objects_own_metadata_and_nowhere_else() -> None:
    marked = mark_body(BODY, MARK)
    assert marked["metadata"]["labels"] == {"app": "web", **mark_labels(MARK)}
    assert marked["metadata"]["annotations"] == {OWNER_ANNOTATION: "acme/5f0c/web"}
    assert marked["spec"] == BODY["spec"]
    assert "annotations" not in BODY["metadata"]


def test_the_applyset_id_is_that_of_kep_3659() -> None:
    raw = hashlib.sha256(b"unit-web.fleet-system.ConfigMap.").digest()
    expected = f"applyset-{base64.urlsafe_b64encode(raw).decode().rstrip('=')}-v1"
    assert applyset_id("unit-web", "fleet-system") == expected
    assert len(expected) <= 63


@given(text(max_size=300))
def test_the_installation_label_is_a_valid_one_for_any_id(name: str) -> None:
    assert installation_hash(name).isalnum()
    assert len(installation_hash(name)) == 32


def test_names_of_parents_are_short_enough_and_distinct() -> None:
    long = ".".join(["a" * 60] * 4)
    assert parent_name("web") == "unit-web"
    assert len(parent_name(long)) <= 253
    assert parent_name(long + "b"[:9]) != parent_name(long)


def test_what_we_applied_is_ours() -> None:
    assert judge_mark(live_of(BODY), MARK).kind is MarkKind.OURS


def test_an_object_without_marks_is_unmarked() -> None:
    assert judge_mark(live_of(BODY, marked=False), MARK).kind is MarkKind.UNMARKED


def edited(**changes: dict[str, str | None]) -> dict[str, Any]:
    live = live_of(BODY)
    metadata = dict(live["metadata"])
    for part, values in changes.items():
        merged = {**metadata[part], **values}
        metadata[part] = {name: value for name, value in merged.items() if value is not None}
    return {**live, "metadata": metadata}


@pytest.mark.parametrize(
    ("live", "kind", "who"),
    [
        (edited(labels={INSTALLATION_LABEL: None}), MarkKind.LABEL_LOST, ""),
        (edited(labels={PART_OF_LABEL: None}), MarkKind.LABEL_LOST, ""),
        (edited(labels={PART_OF_LABEL: "other"}), MarkKind.LABEL_LOST, ""),
        (edited(annotations={OWNER_ANNOTATION: None}), MarkKind.ANNOTATION_LOST, ""),
        (edited(annotations={OWNER_ANNOTATION: "acme/5f0c/api"}), MarkKind.OTHER_UNIT, "api"),
        (
            edited(annotations={OWNER_ANNOTATION: "acme/9999/web"}),
            MarkKind.OTHER_INSTALLATION,
            "acme on the cluster 9999",
        ),
        (edited(annotations={OWNER_ANNOTATION: "rival/5f0c/web"}), MarkKind.FORGED, "rival"),
        (
            edited(
                annotations={OWNER_ANNOTATION: "rival/5f0c/web"},
                labels={INSTALLATION_LABEL: installation_hash("rival")},
            ),
            MarkKind.OTHER_INSTALLATION,
            "rival",
        ),
        (edited(annotations={OWNER_ANNOTATION: "acme/5f0c"}), MarkKind.FORGED, "acme/5f0c"),
        (edited(annotations={OWNER_ANNOTATION: "acme/5f0c/web/x"}), MarkKind.FORGED, "acme/5f0c/web/x"),
        (edited(annotations={OWNER_ANNOTATION: "acme//web"}), MarkKind.FORGED, "acme//web"),
        (edited(labels={INSTALLATION_LABEL: installation_hash("rival")}), MarkKind.FORGED, "acme/5f0c/web"),
    ],
)
def test_each_damage_to_a_mark_is_told_apart(live: dict[str, Any], kind: MarkKind, who: str) -> None:
    verdict = judge_mark(live, MARK)
    assert (verdict.kind, verdict.who) == (kind, who)


def test_a_copied_mark_is_not_ours_unless_the_record_knows_the_object() -> None:
    copied = live_of(BODY)
    copied["metadata"] = {**copied["metadata"], "managedFields": []}
    assert judge_mark(copied, MARK).kind is MarkKind.COPIED
    assert judge_mark(copied, MARK, known_uid="u1").kind is MarkKind.OURS
    assert judge_mark(copied, MARK, known_uid="u2").kind is MarkKind.COPIED


MARKS = [MARK, Mark("acme", "5f0c", "api"), Mark("acme", "77", "web"), Mark("rival", "5f0c", "web")]


@given(sampled_from(MARKS), sampled_from(MARKS))
def test_only_the_exact_mark_is_ours(mine: Mark, theirs: Mark) -> None:
    live = {**BODY, "metadata": {**live_of(BODY, marked=False)["metadata"]}}
    assert judge_mark(mark_body(live, theirs), mine).ours == (mine == theirs)


def test_the_record_holds_old_united_with_new() -> None:
    kept, new = bundle_object(ref("kept")), bundle_object(ref("new"))
    rows = [row(ref("kept")), row(ref("old")), row(ref("back"), state=RowState.DELETING)]
    planned = plan_record(UNIT, rows, [kept, new, bundle_object(ref("back"))], at=5.0)
    assert [(item.ref.name, item.state) for item in planned] == [
        ("new", RowState.INTENDED),
        ("back", RowState.INTENDED),
    ]
    assert plan_record(UNIT, rows, [kept], at=5.0) == ()


def test_a_released_row_is_not_taken_back() -> None:
    rows = [row(ref("a"), state=RowState.RELEASED)]
    assert plan_record(UNIT, rows, [bundle_object(ref("a"))], at=1.0) == ()


@given(lists(sampled_from("abcdefgh"), unique=True))
def test_the_digest_of_a_record_does_not_depend_on_the_order(names: list[str]) -> None:
    refs = [ref(name) for name in names]
    assert record_digest(refs) == record_digest(reversed(refs))
    assert record_digest(refs) != record_digest([*refs, ref("more")])


def test_a_record_is_rebuilt_from_what_carries_exactly_our_mark() -> None:
    mine = live_of(BODY)
    theirs = edited(annotations={OWNER_ANNOTATION: "acme/5f0c/api"})
    found = rebuild_record(
        UNIT, MARK, [mine, theirs], expected=record_digest([ref("web", "Deployment", "apps")]), at=1.0
    )
    assert [(item.ref.name, item.uid, item.fingerprint) for item in found.rows] == [("web", "u1", "")]
    assert found.complete
    assert not rebuild_record(UNIT, MARK, [mine], expected=record_digest([ref("more")]), at=1.0).complete
    assert not rebuild_record(UNIT, MARK, [mine], expected=None, at=1.0).complete


@pytest.mark.parametrize(
    ("note", "is_recorded"),
    [("fleet.internal/hook", False), ("argocd.argoproj.io/hook", True), ("fleet.internal/wave", True)],
)
def test_what_a_hook_left_is_in_no_rebuilt_record(note: str, *, is_recorded: bool) -> None:
    """Argo CD's own word makes no hook: where `compat` says so, the rendered object carries ours beside it."""
    left = edited(annotations={note: "PreSync"})
    found = rebuild_record(UNIT, MARK, [left], expected=record_digest([]), at=1.0)
    assert bool(found.rows) is is_recorded
    assert found.complete is not is_recorded


DEPLOYMENT = row(ref("web", "Deployment", "apps"))


def test_what_is_recorded_and_still_ours_may_be_deleted_with_its_preconditions() -> None:
    assert judge_deletion(DEPLOYMENT, live_of(BODY), MARK) == Deletable("u1", "7")
    assert judge_deletion(DEPLOYMENT, None, MARK) == Gone()


@pytest.mark.parametrize(
    ("record", "live"),
    [
        (DEPLOYMENT, live_of(BODY, uid="u2")),
        (replace(DEPLOYMENT, uid=""), live_of(BODY)),
        (replace(DEPLOYMENT, state=RowState.RELEASED), live_of(BODY)),
        (DEPLOYMENT, edited(annotations={OWNER_ANNOTATION: None})),
        (DEPLOYMENT, edited(labels={INSTALLATION_LABEL: None})),
        (DEPLOYMENT, edited(annotations={OWNER_ANNOTATION: "acme/5f0c/api"})),
        (DEPLOYMENT, live_of(BODY, marked=False)),
        (DEPLOYMENT, live_of(BODY, ownerReferences=[{"kind": "Widget", "name": "w", "uid": "x"}])),
    ],
)
def test_anything_else_stays_and_says_why(record: Any, live: dict[str, Any]) -> None:
    verdict = judge_deletion(record, live, MARK)
    assert isinstance(verdict, NotDeletable)
    assert verdict.message


def test_a_rule_that_concerns_an_object_changes_what_is_desired_of_it() -> None:
    obj = bundle_object(ref("web", "Deployment", "apps"))
    replicas = IgnoreRule(kind="Deployment", pointers=("/spec/replicas",))
    plain = desired_digest_of(obj, MARK)
    assert desired_digest_of(obj, MARK, [replicas]) != plain
    assert desired_digest_of(obj, MARK, [replace(replicas, kind="Service")]) == plain
    assert desired_digest_of(obj, replace(MARK, overlay="api")) != plain
    assert desired_digest_of(replace(obj, digest=Digest("other")), MARK) != plain


@given(dictionaries(text(min_size=1, max_size=5), text(max_size=5)))
def test_marking_keeps_everything_else(labels: dict[str, str]) -> None:
    body = {**BODY, "metadata": {**BODY["metadata"], "labels": dict(labels)}}
    marked = mark_body(body, MARK)
    assert {**marked["metadata"]["labels"], **labels} == {**labels, **mark_labels(MARK)}
    assert {name: value for name, value in marked.items() if name != "metadata"} == {
        name: value for name, value in body.items() if name != "metadata"
    }
