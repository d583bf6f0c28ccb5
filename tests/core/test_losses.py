"""What would go with an object that is deleted, in the words of a hold."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.core.ids import ObjectRef
from fleet.core.inside import covers
from fleet.core.losses import (
    Claim,
    Inside,
    claim_line,
    claim_loss,
    definition_losses,
    inside_of,
    kinds_inside,
    namespace_losses,
    stateful_set_losses,
    volume_line,
)
from fleet.core.objects import INSTALLATION_LABEL
from fleet.core.record import installation_hash

OURS = {INSTALLATION_LABEL: installation_hash("acme")}


def item(name: str, *, ours: bool = True, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": OURS if ours else {}, **metadata}}


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
    lines = namespace_losses(inside, [Claim(claim("data-db-0"), volume("Delete"))], installation="acme")
    assert lines == (
        "8 objects, 5 of them not from this repo",
        "PVC data-db-0 200 GiB (reclaim policy Delete: THE DATA IS LOST)",
        "Secret db-admin, Secret x1, 2 more",
    )


def test_what_its_owner_or_the_cluster_makes_is_not_counted() -> None:
    owned = item("web-abc", ours=False, ownerReferences=[{"kind": "ReplicaSet", "name": "web"}])
    inside = [Inside("Pod", (owned,)), Inside("ConfigMap", (item("kube-root-ca.crt", ours=False), item("a")))]
    assert namespace_losses(inside, [], installation="acme") == ("1 object",)
    assert namespace_losses([Inside("Pod", (owned,))], [], installation="acme") == ("no objects",)


def space_of(*configs: dict[str, Any], pods: tuple[dict[str, Any], ...] = (), unread: str = "") -> tuple[str, ...]:
    parts = [Inside("ConfigMap", configs), Inside("Pod", pods), Inside("Secret", unread=unread)]
    return inside_of(parts, own=frozenset({ObjectRef("", "ConfigMap", "", "own")}))


def test_what_changes_by_itself_or_has_its_own_line_does_not_void_an_approval() -> None:
    owned = item("web-abc", ours=False, ownerReferences=[{"kind": "ReplicaSet", "name": "web"}])
    shown = space_of(item("a"))
    assert len(shown) == 1
    assert space_of(item("a", resourceVersion="7"), item("own"), item("kube-root-ca.crt"), pods=(owned,)) == shown


@pytest.mark.parametrize(
    "more",
    [
        space_of(item("a"), item("b", ours=False)),
        space_of(item("b")),
        space_of(item("a"), pods=(item("bare"),)),
        space_of(item("a"), unread="Forbidden"),
        inside_of([Inside("ConfigMap", (item("a"),))], [Claim(claim("d"), volume("Delete"))]),
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
    lines = namespace_losses(kinds, [], installation="acme")
    assert lines == ("not known, Forbidden: Gizmo, Ingress, Job, Pod and 2 more kinds",)
    assert definition_losses(Inside("Gizmo", unread="it is not served"), installation="acme") == (
        "not known, it is not served: Gizmo",
    )


@given(ours=st.integers(0, 6), others=st.integers(0, 6), unread=st.booleans())
def test_every_foreign_object_is_counted_and_nothing_unread_is_hidden(ours: int, others: int, unread: bool) -> None:
    items = [*(item(f"a{n}") for n in range(ours)), *(item(f"b{n}", ours=False) for n in range(others))]
    inside = [Inside("ConfigMap", tuple(items)), *([Inside("Secret", unread="Forbidden")] if unread else [])]
    text = "\n".join(namespace_losses(inside, [], installation="acme"))
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
    assert definition_losses(Inside("Gizmo", items), installation="acme") == (
        "2 Gizmo objects in 2 namespaces, 1 of them not from this repo",
    )
    assert definition_losses(Inside("Gizmo"), installation="acme") == ("no Gizmo exists",)


@pytest.mark.parametrize(
    ("policy", "end"), [({}, "stays"), ({"whenDeleted": "Delete"}, "(whenDeleted: Delete: THE DATA IS LOST)")]
)
def test_a_stateful_set_tells_its_claims(policy: dict[str, str], end: str) -> None:
    template = {"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "10Gi"}}}}
    spec = {"replicas": 3, "volumeClaimTemplates": [template], "persistentVolumeClaimRetentionPolicy": policy}
    lines = stateful_set_losses({"metadata": {"name": "db"}, "spec": spec})
    assert lines == ("3 pods", f"PVC data-db-N 10 GiB of each pod {end}")


@given(st.frozensets(st.tuples(st.sampled_from(["", "apps", "x"]), st.text("ab", min_size=1)), max_size=200))
def test_every_kind_that_is_served_is_asked_for_but_those_that_tell_nothing(kinds: frozenset[tuple[str, str]]) -> None:
    noise = {("", "Event"), ("apps", "ReplicaSet")}
    assert kinds_inside(set(), kinds | noise) == sorted(kinds)
    assert kinds_inside({("", "Event")}, kinds | noise) == sorted(kinds | {("", "Event")})  # one that a unit has
    assert kinds_inside(noise, kinds) == sorted(kinds)  # not served
