"""From documents to a bundle: identity, scope, namespaces, seals, generated names."""

from __future__ import annotations

import base64
import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.core.bundles import BundleLimits, assemble, flatten, generated_from
from fleet.core.ids import ObjectRef
from fleet.core.objects import HookDelete, HookPhase, PruneRule, Scope, bundle_digest, masked, seal, unsealed
from fleet.errors import (
    DocumentInvalid,
    DuplicateObject,
    EncryptedUnsupported,
    NamespaceMissing,
    RenderTooLarge,
)

KEY = b"key"


def thing(kind="ConfigMap", api_version="v1", name="a", namespace="ns", **fields):
    metadata = {"name": name, **({"namespace": namespace} if namespace else {}), **fields.pop("metadata", {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}


CRD = thing(
    "CustomResourceDefinition",
    "apiextensions.k8s.io/v1",
    "plans.acme.io",
    "",
    spec={"group": "acme.io", "scope": "Namespaced", "names": {"kind": "Plan"}},
)


def build(*documents, **options):
    return assemble(flatten(copy.deepcopy(list(documents))), key=KEY, **options)


def test_scope_is_known_from_the_table_the_crds_beside_it_or_not_at_all() -> None:
    made = build(
        thing(),
        thing("Namespace", namespace="", name="ns"),
        CRD,
        thing("Plan", "acme.io/v1"),
        thing("Other", "acme.io/v1", namespace=""),
    )
    assert [found.scope for found in made.objects] == [
        Scope.NAMESPACED,
        Scope.CLUSTER,
        Scope.CLUSTER,
        Scope.NAMESPACED,
        Scope.UNKNOWN,
    ]


@pytest.mark.parametrize("documents", [[thing(namespace="")], [CRD, thing("Plan", "acme.io/v1", namespace="")]])
def test_a_namespaced_object_without_namespace_is_refused(documents) -> None:
    with pytest.raises(NamespaceMissing):
        build(*documents)


def test_a_cluster_scoped_object_carries_no_namespace() -> None:
    (found,) = build(thing("ClusterRole", "rbac.authorization.k8s.io/v1")).objects
    assert found.ref == ObjectRef("rbac.authorization.k8s.io", "ClusterRole", "", "a")
    assert "namespace" not in found.document()["metadata"]


def test_lists_of_all_kinds_are_flattened_also_inside_each_other() -> None:
    typed = {"apiVersion": "v1", "kind": "ConfigMapList", "items": [{"metadata": {"name": "b", "namespace": "ns"}}]}
    nested = {
        "apiVersion": "v1",
        "kind": "List",
        "items": [thing(), {"apiVersion": "v1", "kind": "List", "items": [typed]}],
    }
    assert [found.ref.name for found in build(nested).objects] == ["a", "b"]


def test_a_local_config_is_left_out() -> None:
    local = {"annotations": {"config.kubernetes.io/local-config": "true"}}
    assert len(build(thing(metadata=local), thing(name="b")).objects) == 1


@pytest.mark.parametrize(
    "again", [thing(), thing(data={"x": "y"}), {"apiVersion": "v1", "kind": "List", "items": [thing()]}]
)
def test_an_object_that_is_defined_twice_is_refused(again) -> None:
    with pytest.raises(DuplicateObject, match="ConfigMap ns/a"):
        build(thing(), again)


def test_the_same_name_elsewhere_is_another_object() -> None:
    assert len(build(thing(), thing(namespace="other"), thing("Service"), thing(name="b")).objects) == 4


@pytest.mark.parametrize(
    "document",
    [
        {"kind": "X", "metadata": {"name": "a"}},
        {"apiVersion": "v1", "metadata": {"name": "a"}},
        {"apiVersion": "v1", "kind": "X"},
        {"apiVersion": "v1", "kind": "Job", "metadata": {"generateName": "a-"}},
        thing(name="a/b"),
        thing(name="../x"),
        thing(name=5),
        thing(metadata={"labels": {"a": 5}}),
        thing(metadata={"annotations": {"a": True}}),
        {"apiVersion": "v1", "kind": "List", "items": ["x"]},
    ],
)
def test_what_is_no_usable_object_is_refused(document) -> None:
    with pytest.raises(DocumentInvalid):
        build(document)


def test_encrypted_objects_are_refused_by_name() -> None:
    with pytest.raises(EncryptedUnsupported, match="Secret ns/a"):
        build(thing("Secret", sops={"mac": "x"}))


def test_too_many_or_too_large_objects_are_refused() -> None:
    limits = BundleLimits(objects=2, object_bytes=200)
    assert build(thing(), thing(name="b"), limits=limits)
    with pytest.raises(RenderTooLarge):
        build(thing(), thing(name="b"), thing(name="c"), limits=limits)
    with pytest.raises(RenderTooLarge, match="ConfigMap ns/a"):
        build(thing(data={"a": "x" * 300}), limits=limits)


def test_secret_values_have_a_size_together_and_equal_ones_count_once() -> None:
    limits = BundleLimits(secret_bytes=100)

    def secret(name: str, *values: bytes) -> dict:
        data = {f"k{number}": base64.b64encode(value).decode() for number, value in enumerate(values)}
        return thing("Secret", name=name, data=data)

    full = secret("a", b"x" * 60, b"y" * 40)
    assert len(build(full, secret("b", b"x" * 60), limits=limits).secrets) == 2
    with pytest.raises(RenderTooLarge, match="Secret ns/b") as refused:
        build(secret("a", b"x" * 60, b"y" * 40), secret("b", b"z"), limits=limits)
    assert refused.value.where == "/Secret/ns/b"
    assert "101 bytes in 3 values so far; the limits are 100 bytes and 10000 values" in refused.value.why


def test_secret_values_have_a_number_together() -> None:
    def secret(*values: bytes) -> dict:
        data = {f"k{number}": base64.b64encode(value).decode() for number, value in enumerate(values)}
        return thing("Secret", name="a", data=data)

    limits = BundleLimits(secret_values=2)
    assert build(secret(b"x", b"y", b"x"), limits=limits)
    with pytest.raises(RenderTooLarge, match="Secret ns/a"):
        build(secret(b"x", b"y", b"z"), limits=limits)


def test_a_large_build_is_warned_of() -> None:
    many = [thing(name=f"n{number}") for number in range(601)]
    assert "square" in build(*many).warnings[0]
    assert build(*many[:600]).warnings == ()


@given(st.dictionaries(st.sampled_from("abc"), st.binary(max_size=20)))
def test_secret_values_are_sealed_and_come_back_whole(values: dict[str, bytes]) -> None:
    data = {name: base64.b64encode(value).decode() for name, value in values.items()}
    made = build(thing("Secret", data=data))
    sealed = made.objects[0].document()
    assert sealed["data"] == {name: seal(KEY, value) for name, value in values.items()}
    assert unsealed(sealed, made.secrets)["data"] == data
    assert set(masked(sealed)["data"].values()) <= {"(hidden)"}


def test_a_secret_of_another_group_is_a_custom_resource() -> None:
    made = build(thing("Secret", "acme.io/v1", data={"a": "plain"}))
    assert made.secrets == {}


@given(st.permutations([thing(name=name) for name in "abcd"]))
def test_the_order_of_a_build_does_not_count(documents) -> None:
    assert bundle_digest(build(*documents).objects) == bundle_digest(
        build(*[thing(name=name) for name in "abcd"]).objects
    )


def test_any_change_of_an_object_changes_the_digest() -> None:
    digests = {
        bundle_digest(build(document).objects)
        for document in (thing(), thing(data={"a": "b"}), thing(name="b"), thing(namespace="o"), thing("Service"))
    }
    assert len(digests) == 5


# Recorded from kustomize 5.8.1
GENERATED = [
    thing(name="g-m5tm9m25tf", data={"a": "b", "html": "<&>\u2028"}),
    thing(name="bin-9ghc4tgkt6", binaryData={"b.bin": "//4="}),
    thing("Secret", name="s-k695gkmbtk", data={"a": "Yg=="}, type="Opaque"),
]


@pytest.mark.parametrize("document", GENERATED)
def test_a_generated_name_is_proven_by_its_hash(document) -> None:
    base = document["metadata"]["name"].rpartition("-")[0]
    assert generated_from(document) == base
    assert build(document).objects[0].generated_from == base
    assert generated_from({**document, "data": {"a": "changed"}}) == ""


def test_a_name_that_only_looks_generated_is_not() -> None:
    assert generated_from(thing(name="g-2222222222", data={"a": "b"})) == ""
    assert generated_from(thing(name="plain")) == ""
    assert generated_from(thing("Service", name="g-m5tm9m25tf")) == ""


def test_options_are_read_from_annotations() -> None:
    annotations = {
        "fleet.internal/wave": "-3",
        "fleet.internal/prune": "confirm",
        "fleet.internal/reconcile": "disabled",
        "fleet.internal/replace": "enabled",
        "fleet.internal/hook": "PreSync",
        "fleet.internal/hook-delete": "HookSucceeded, HookFailed",
    }
    options = build(thing(metadata={"annotations": annotations})).objects[0].options
    assert (options.wave, options.prune, options.reconcile, options.replace) == (-3, PruneRule.CONFIRM, False, True)
    assert options.hook is HookPhase.PRE_SYNC
    assert options.hook_delete == {HookDelete.SUCCEEDED, HookDelete.FAILED}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fleet.internal/prun", "disabled"),
        ("fleet.internal/prune", "Disabled"),
        ("fleet.internal/wave", "1.5"),
        ("fleet.internal/wave", "99999"),
        ("fleet.internal/hook", "presync"),
        ("fleet.internal/hook-delete", ""),
        ("fleet.internal/owner", "me"),
    ],
)
def test_an_annotation_that_cannot_be_meant_is_an_error(name: str, value: str) -> None:
    with pytest.raises(DocumentInvalid, match=r"fleet\.internal"):
        build(thing(metadata={"annotations": {name: value}}))


def test_a_forged_mark_is_refused() -> None:
    with pytest.raises(DocumentInvalid, match="refused"):
        build(thing(metadata={"labels": {"fleet.internal/installation": "x"}}))
