"""What would go with an object that is deleted, in the words of a hold."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.core.guard import Approved
from fleet.core.ids import Digest, ObjectRef
from fleet.core.inside import covers
from fleet.core.losses import (
    Claim,
    Inside,
    claim_line,
    claim_loss,
    claims_taken,
    definition_loss,
    kinds_inside,
    namespace_loss,
    stateful_set_loss,
    unknown_inside,
    volume_line,
)
from fleet.core.objects import INSTALLATION_LABEL
from fleet.core.record import installation_hash

OURS = {INSTALLATION_LABEL: installation_hash("acme")}


def item(name: str, *, ours: bool = True, owners: tuple[str, ...] = (), **metadata: Any) -> dict[str, Any]:
    """Its UID is its name with a `u-` before it."""
    if owners:
        metadata["ownerReferences"] = [{"kind": "X", "name": uid[2:], "uid": uid} for uid in owners]
    return {"metadata": {"name": name, "uid": f"u-{name}", "labels": OURS if ours else {}, **metadata}}


def claim(name: str, size: str = "200Gi", volume: str = "pv-1") -> dict[str, Any]:
    spec = {"resources": {"requests": {"storage": size}}, "volumeName": volume}
    return {"metadata": {"name": name}, "spec": spec}


def volume(policy: str) -> dict[str, Any]:
    claim_ref = {"namespace": "shop", "name": "data-db-0"}
    spec = {"persistentVolumeReclaimPolicy": policy, "capacity": {"storage": "50Gi"}, "claimRef": claim_ref}
    return {"metadata": {"name": "pv-1"}, "spec": spec}


def test_a_namespace_tells_its_count_its_data_and_what_is_not_from_here() -> None:
    secrets = [item(name, ours=False) for name in ("db-admin", "x1", "x2", "x3")]
    inside = [
        Inside("PersistentVolumeClaim", (claim("data-db-0"),)),
        Inside("Secret", tuple(secrets)),
        Inside("ConfigMap", tuple(item(f"c{n}") for n in range(3))),
    ]
    lines = namespace_loss(inside, [Claim(claim("data-db-0"), volume("Delete"))], installation="acme").lines
    assert lines == (
        "8 objects, 5 of them not from this repo",
        "PVC data-db-0 200 GiB (reclaim policy Delete: THE DATA IS LOST)",
        "Secret db-admin, Secret x1, 2 more",
        "from this repo, not in this list: ConfigMap c0, ConfigMap c1, 1 more",
    )


def lines_of(*parts: Inside, own: frozenset[ObjectRef] = frozenset()) -> tuple[str, ...]:
    return namespace_loss(parts, [], installation="acme", own=own).lines


def test_what_its_owner_or_the_cluster_makes_is_not_counted() -> None:
    deployment = Inside("Deployment", (item("web", ours=False),), group="apps")
    replicas = Inside("ReplicaSet", (item("web-1", ours=False, owners=("u-web",)),), group="apps")
    pods = Inside("Pod", (item("web-1-x", ours=False, owners=("u-web-1",)),))
    assert lines_of(pods, replicas, deployment) == ("1 object, 1 of them not from this repo", "Deployment web")
    made = Inside("ConfigMap", (item("kube-root-ca.crt", ours=False), item("a", ours=False)))
    assert lines_of(made) == ("1 object, 1 of them not from this repo", "ConfigMap a")
    assert lines_of(Inside("ServiceAccount", (item("default"),))) == ("no objects",)


@pytest.mark.parametrize(
    "items",
    [
        (item("a", ours=False, owners=("u-a",)),),
        (item("a", ours=False, owners=("u-b",)), item("b", ours=False, owners=("u-a",))),
        (item("a", ours=False, owners=("u-outside",)),),
        (item("a", ours=False, owners=("u-b", "u-outside")), item("b", ours=False)),
        (item("a", ours=False, owners=("u-kube-root-ca.crt",)), item("kube-root-ca.crt", ours=False)),
    ],
    ids=["its own owner", "in a circle", "outside", "outside too", "what each namespace has"],
)
def test_an_owner_hides_only_what_goes_with_it_alone(items: tuple[dict[str, Any], ...]) -> None:
    counted = [one for one in items if one["metadata"]["name"] != "kube-root-ca.crt"]
    found = namespace_loss([Inside("ConfigMap", items)], [], installation="acme")
    assert found.lines[0].startswith(f"{len(counted)} object")
    assert len(found.inside) == len(counted)


def test_endpoints_count_where_nothing_but_a_hand_made_them() -> None:
    selecting: dict[str, Any] = {**item("web", ours=False), "spec": {"selector": {"app": "web"}}}
    by_hand: dict[str, Any] = {**item("old-db", ours=False), "spec": {}}
    endpoints = Inside("Endpoints", (item("web", ours=False), item("old-db", ours=False), item("alone", ours=False)))
    assert lines_of(Inside("Service", (selecting, by_hand)), endpoints) == (
        "4 objects, 4 of them not from this repo",
        "Endpoints alone, Endpoints old-db, 2 more",
    )


@pytest.mark.parametrize(
    ("listed", "counted"),
    [
        ((item("web-1", ours=False, owners=("u-web",)), item("x", ours=False, owners=("u-web-1",))), ()),
        ((item("a", ours=False, owners=("u-outside",)),), ("a",)),
        ((item("a", ours=False, owners=("u-web", "u-outside")),), ("a",)),
        ((item("web"), item("web-1", ours=False, owners=("u-web",))), ("web",)),
        ((item("a", ours=False, owners=("u-web",)), item("web", owners=("u-a",))), ("a", "web")),
    ],
    ids=["of what went", "outside", "outside too", "it still stands", "in a circle"],
)
def test_what_an_object_owned_that_a_person_let_go_goes_by_the_same_word(
    listed: tuple[dict[str, Any], ...], counted: tuple[str, ...]
) -> None:
    word = [Approved(ObjectRef("apps", "Deployment", "shop", "web"), "u-web", Digest("d"))]
    parts = [Inside("Pod", listed)]
    found = namespace_loss(parts, [], installation="acme", agreed=word)
    expected = namespace_loss([Inside("Pod", tuple(item(name) for name in counted))], [], installation="acme")
    assert found.inside == expected.inside


@pytest.mark.parametrize("service", ["web", "other"])
def test_what_a_controller_made_for_a_service_that_a_person_let_go_goes_by_the_same_word(service: str) -> None:
    label = {"kubernetes.io/service-name": "web"}
    mirrored = item("web-x", ours=False, owners=("u-endpoints",))
    mirrored["metadata"]["labels"] = label
    by_hand = item("by-hand", ours=False, labels=label)
    parts = [
        Inside("Endpoints", (item("web", ours=False),)),
        Inside("EndpointSlice", (mirrored, by_hand), group="discovery.k8s.io"),
    ]
    word = [Approved(ObjectRef("", "Service", "shop", service), f"u-of-{service}", Digest("d"))]
    found = namespace_loss(parts, [], installation="acme", agreed=word)
    assert len(found.inside) == (1 if service == "web" else 3)
    assert "EndpointSlice by-hand" in found.lines[1]


@pytest.mark.parametrize("going", [True, False])
def test_what_is_on_its_way_out_does_not_count_and_what_it_owns_neither(going: bool) -> None:
    ending = item("a", ours=False)
    if going:
        ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    parts = [Inside("Pod", (ending, item("b", ours=False, owners=("u-a",))))]
    assert lines_of(*parts)[0] == ("no objects" if going else "1 object, 1 of them not from this repo")
    assert len(namespace_loss(parts, [], installation="acme").inside) == (not going)


def space_of(
    *configs: dict[str, Any], pods: tuple[dict[str, Any], ...] = (), claims: tuple[Claim, ...] = (), unread: str = ""
) -> tuple[str, ...]:
    parts = [Inside("ConfigMap", configs), Inside("Pod", pods), Inside("Secret", unread=unread)]
    own = frozenset({ObjectRef("", "ConfigMap", "", "own")})
    return namespace_loss(parts, claims, installation="acme", own=own).inside


def test_what_changes_by_itself_or_has_its_own_line_does_not_void_an_approval() -> None:
    owned = item("web-abc", ours=False, owners=("u-a",))
    shown = space_of(item("a"))
    assert len(shown) == 1
    assert space_of(item("a", resourceVersion="7"), item("own"), item("kube-root-ca.crt"), pods=(owned,)) == shown


def test_what_git_still_wants_goes_along_and_is_named() -> None:
    parts = [Inside("ConfigMap", (item("own"), item("wanted"))), Inside("Secret", (item("theirs", ours=False),))]
    found = namespace_loss(parts, [], installation="acme", own={ObjectRef("", "ConfigMap", "", "own")})
    assert found.lines == (
        "3 objects, 1 of them not from this repo",
        "Secret theirs",
        "from this repo, not in this list: ConfigMap wanted",
    )
    assert len(found.inside) == 2


@pytest.mark.parametrize(
    "more",
    [
        space_of(item("a"), item("b", ours=False)),
        space_of(item("b")),
        space_of(item("a"), pods=(item("bare"),)),
        space_of(item("a"), unread="Forbidden"),
        space_of(item("a"), pods=(item("static", owners=("u-of-a-node",)),)),
        space_of(item("a"), claims=(Claim(claim("d"), volume("Delete")),)),
    ],
)
def test_whatever_else_is_inside_by_now_was_not_shown(more: tuple[str, ...]) -> None:
    assert not covers(space_of(item("a")), more)


def test_what_becomes_of_the_data_is_part_of_what_was_shown() -> None:
    kept, lost = (claim_loss(Claim(claim("d"), volume(policy))).inside for policy in ("Retain", "Delete"))
    assert kept != lost
    assert not covers(kept, lost)
    assert not covers(kept, claim_loss(Claim(claim("d"))).inside)


def test_thousands_of_things_stay_a_short_text_and_one_more_is_seen() -> None:
    many = [item(f"c{n}") for n in range(5000)]
    shown, more = space_of(*many), space_of(*many, item("new"))
    assert len(shown) == len(more) == 1
    assert covers(shown, space_of(*reversed(many)))
    assert not covers(shown, more)


def test_what_could_not_be_read_is_never_said_to_be_empty() -> None:
    kinds = [Inside(kind, unread="Forbidden") for kind in ("Secret", "Job", "Pod", "Service", "Ingress", "Gizmo")]
    lines = lines_of(*kinds)
    assert lines == ("not known, Forbidden: Gizmo, Ingress, Job, Pod and 2 more kinds",)
    unserved = definition_loss(Inside("Gizmo", unread="it is not served"), installation="acme")
    assert unserved.lines == ("not known, it is not served: Gizmo",)
    assert len(unserved.inside) == 1


@given(ours=st.integers(0, 6), others=st.integers(0, 6), unread=st.booleans())
def test_every_foreign_object_is_counted_and_nothing_unread_is_hidden(ours: int, others: int, unread: bool) -> None:
    items = [*(item(f"a{n}") for n in range(ours)), *(item(f"b{n}", ours=False) for n in range(others))]
    inside = [Inside("ConfigMap", tuple(items)), *([Inside("Secret", unread="Forbidden")] if unread else [])]
    text = "\n".join(lines_of(*inside))
    assert (f"{others} of them not from this repo" in text) is bool(others)
    assert ("Secret" in text) is unread
    assert not (unread and text.startswith("no objects"))


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (volume("Delete"), "200 GiB (reclaim policy Delete: THE DATA IS LOST)"),
        (volume("Recycle"), "200 GiB (reclaim policy Recycle: THE DATA IS LOST)"),
        (volume("Retain"), "200 GiB (reclaim policy Retain: the volume stays)"),
        (None, "200 GiB (reclaim policy not known: take it that the data is lost)"),
    ],
)
def test_a_claim_tells_what_becomes_of_its_data(found: dict[str, Any] | None, line: str) -> None:
    assert claim_line(Claim(claim("data"), found)) == line


def test_a_claim_without_volume_holds_no_data_and_a_volume_names_its_claim() -> None:
    assert claim_line(Claim(claim("data", "1500M", volume=""))) == "1500M (bound to no volume: holds no data)"
    assert volume_line(volume("Delete")) == "50 GiB, bound to shop/data-db-0 (reclaim policy Delete: THE DATA IS LOST)"


def test_a_definition_counts_its_objects() -> None:
    items = (item("a", namespace="x"), item("b", namespace="y", ours=False))
    found = definition_loss(Inside("Gizmo", items), installation="acme", own={ObjectRef("", "Gizmo", "x", "a")})
    assert found.lines == ("2 Gizmo objects in 2 namespaces, 1 of them not from this repo",)
    assert len(found.inside) == 1
    still = definition_loss(Inside("Gizmo", items), installation="acme")
    assert still.lines[1:] == ("from this repo, not in this list: Gizmo a",)
    assert len(still.inside) == 2
    assert definition_loss(Inside("Gizmo"), installation="acme").lines == ("no Gizmo exists",)


def test_a_definition_takes_along_what_other_kinds_own() -> None:
    parent = item("a", ours=False)
    shown = definition_loss(Inside("Gizmo", (parent,)), installation="acme").inside
    for owner in ("u-of-another-kind", "u-a"):
        both = Inside("Gizmo", (parent, item("b", ours=False, owners=(owner,))))
        assert not covers(shown, definition_loss(both, installation="acme").inside)


@pytest.mark.parametrize(
    ("shown", "now", "covered"),
    [("ab", "bc", True), ("ab", "c", True), ("a", "", True), ("", "a", False), ("a", "aX", False), ("aX", "bX", True)],
)
def test_custom_resources_that_others_own_are_one_thing_of_a_definition(shown: str, now: str, covered: bool) -> None:
    """They come and go by the minute; a capital has no owner."""

    def bound(names: str) -> tuple[str, ...]:
        items = (item(name, ours=False, owners=() if name.isupper() else ("u-of-a-pod",)) for name in names)
        return definition_loss(Inside("Gizmo", tuple(items)), installation="acme").inside

    assert covers(bound(shown), bound(now)) is covered


APPLIED = [{"manager": "fleet", "operation": "Apply"}]


@pytest.mark.parametrize("by", ["what was applied", "the record"])
def test_a_custom_resource_that_this_repo_wants_counts_by_its_name_whoever_owns_it(by: str) -> None:
    shown = definition_loss(Inside("Gizmo", (item("a", ours=False, owners=("u-x",)),)), installation="acme")
    if by == "the record":
        wanted, recorded = item("b", ours=False, owners=("u-x",)), {ObjectRef("", "Gizmo", "", "b")}
    else:
        wanted, recorded = item("b", owners=("u-x",), managedFields=APPLIED), frozenset[ObjectRef]()
    inside = Inside("Gizmo", (item("a", ours=False, owners=("u-x",)), wanted))
    now = definition_loss(inside, installation="acme", recorded=recorded)
    assert not covers(shown.inside, now.inside)
    assert "from this repo, not in this list: Gizmo b" in now.lines


def test_a_custom_resource_whose_controller_copied_our_label_to_it_is_not_from_this_repo() -> None:
    """A Certificate's labels are on each CertificateRequest that is made for it, and these come by the hour."""
    copied = [item(name, owners=("u-cert",), managedFields=[{"manager": "cm", "operation": "Apply"}]) for name in "ab"]
    shown = definition_loss(Inside("Request", (copied[0],)), installation="acme")
    now = definition_loss(Inside("Request", tuple(copied)), installation="acme")
    assert covers(shown.inside, now.inside)
    assert now.lines == ("2 Request objects, 2 of them not from this repo",)


@pytest.mark.parametrize(("kind", "counted"), [("Deployment", 0), ("Gizmo", 1)])
def test_what_an_owner_that_vanished_leaves_goes_only_while_its_kind_can_be_listed(kind: str, counted: int) -> None:
    """Of an owner whose kind is served no more nobody knows whether it went, and its own may stay."""
    parts = [Inside("Pod", (item("a", ours=False, owners=("u-gone",)),)), Inside("Deployment", (), group="apps")]
    found = namespace_loss(parts, [], installation="acme", before={"u-gone": ("apps", kind)})
    assert len(found.inside) == counted


def stateful_set(when_deleted: str) -> dict[str, Any]:
    template = {"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "10Gi"}}}}
    policy = {"whenDeleted": when_deleted} if when_deleted else {}
    spec = {"replicas": 3, "volumeClaimTemplates": [template], "persistentVolumeClaimRetentionPolicy": policy}
    return {"metadata": {"name": "db", "uid": "u-db"}, "spec": spec}


@pytest.mark.parametrize("when_deleted", ["", "Retain"])
def test_a_stateful_set_leaves_its_claims(when_deleted: str) -> None:
    found = stateful_set_loss(stateful_set(when_deleted))
    assert found.lines == ("3 pods", "PVC data-db-N 10 GiB of each pod stays")
    assert not found.inside


def test_a_stateful_set_that_takes_its_claims_along_is_bound_to_their_data() -> None:
    lost, kept = Claim(claim("data-db-0"), volume("Delete")), Claim(claim("data-db-1"), volume("Retain"))
    found = stateful_set_loss(stateful_set("Delete"), [lost, kept])
    assert found.lines == (
        "3 pods",
        "PVC data-db-0 200 GiB (reclaim policy Delete: THE DATA IS LOST)",
        "PVC data-db-1 200 GiB (reclaim policy Retain: the volume stays)",
    )
    fewer = stateful_set_loss(stateful_set("Delete"), [lost])
    assert covers(found.inside, fewer.inside)
    assert not covers(stateful_set_loss(stateful_set("Delete")).inside, fewer.inside)
    unread = stateful_set_loss(stateful_set("Delete"), unread="Forbidden")
    assert unread.lines[1:] == (
        "PVC data-db-N 10 GiB of each pod (whenDeleted: Delete: THE DATA IS LOST)",
        "not known, Forbidden: PersistentVolumeClaim",
    )
    assert not covers(found.inside, unread.inside)


def test_the_claims_of_a_stateful_set_are_known_by_their_name_and_their_owner() -> None:
    names = ("data-db-0", "data-db-12", "data-db-x", "data-db-", "data-db2-0", "old-data-db-0", "else")
    claims = [item(name, owners=("u-db",) if name == "else" else ()) for name in names]
    taken = claims_taken(stateful_set("Delete"), claims)
    assert [one["metadata"]["name"] for one in taken] == ["data-db-0", "data-db-12", "else"]  # type: ignore[index,call-overload]


@given(st.frozensets(st.tuples(st.sampled_from(["", "apps", "x"]), st.text("ab", min_size=1)), max_size=200))
def test_every_kind_that_is_served_is_asked_for_but_those_that_tell_nothing(kinds: frozenset[tuple[str, str]]) -> None:
    noise = {("", "Event"), ("coordination.k8s.io", "Lease")}
    assert kinds_inside(set(), kinds | noise) == sorted(kinds)
    assert kinds_inside({("", "Event")}, kinds | noise) == sorted(kinds | {("", "Event")})  # one that a unit has
    assert kinds_inside(noise, kinds) == sorted(kinds)  # not served


def test_a_group_that_does_not_answer_may_hold_anything_unless_it_keeps_nothing() -> None:
    found = unknown_inside({"db.example.com", "metrics.k8s.io", "custom.metrics.k8s.io"})
    assert lines_of(*found) == ("not known, they do not answer: kinds of db.example.com",)
    assert lines_of(*unknown_inside({"metrics.k8s.io"})) == ("no objects",)
    assert kinds_inside(set(), {("metrics.k8s.io", "PodMetrics"), ("db.example.com", "Database")}) == [
        ("db.example.com", "Database")
    ]
