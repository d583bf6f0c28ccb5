"""The order of applies and of deletions."""

from __future__ import annotations

import pytest
from core.building import bundle_object, ref
from hypothesis import given
from hypothesis.strategies import integers, lists, permutations, sampled_from, tuples

from fleet.core.ids import ObjectRef
from fleet.core.order import Rank, prune_stages, rank_of, stages_of, waves_of

KINDS = [
    ("", "Namespace"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("storage.k8s.io", "StorageClass"),
    ("", "ServiceAccount"),
    ("", "ConfigMap"),
    ("", "PersistentVolumeClaim"),
    ("", "Service"),
    ("apps", "Deployment"),
    ("example.com", "Widget"),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
    ("apiregistration.k8s.io", "APIService"),
]


@given(permutations(KINDS))
def test_ranks_follow_the_kind_whatever_the_order_of_the_build(kinds: list[tuple[str, str]]) -> None:
    stages = stages_of(bundle_object(ref("x", kind, group)) for group, kind in kinds)
    found = [[obj.ref.kind for obj in stage.objects] for stage in stages]
    assert [set(part) for part in found] == [
        {"Namespace", "CustomResourceDefinition", "StorageClass"},
        {"ServiceAccount", "ConfigMap", "PersistentVolumeClaim"},
        {"Service", "Deployment", "Widget"},
        {"ValidatingWebhookConfiguration", "APIService"},
    ]


def test_a_wave_beats_a_rank() -> None:
    late = bundle_object(ObjectRef("", "Namespace", "", "late"), wave=1)
    early = bundle_object(ref("early", "Deployment", "apps"), wave=-1)
    stages = stages_of([late, early, bundle_object(ref("plain"))])
    assert [(stage.wave, stage.rank) for stage in stages] == [
        (-1, Rank.WORKLOAD),
        (0, Rank.CONFIG),
        (1, Rank.FOUNDATION),
    ]
    assert [[stage.wave for stage in wave] for wave in waves_of(stages)] == [[-1], [0], [1]]


@given(lists(tuples(sampled_from(KINDS), integers(-2, 2), integers(0, 30)), unique=True))
def test_stages_hold_each_object_once_and_pruning_is_the_reverse(found: list[tuple[tuple[str, str], int, int]]) -> None:
    objects = [bundle_object(ref(f"n{wave}-{number}", kind, group), wave=wave) for (group, kind), wave, number in found]
    stages = stages_of(objects)
    assert sorted(obj.ref for stage in stages for obj in stage.objects) == sorted(obj.ref for obj in objects)
    places = [(stage.wave, stage.rank) for stage in stages]
    assert places == sorted(set(places))
    backwards = prune_stages((obj.ref for obj in objects), {obj.ref: obj.options.wave for obj in objects})
    assert [set(group) for group in backwards] == [{obj.ref for obj in stage.objects} for stage in reversed(stages)]


@pytest.mark.parametrize("kind", ["Deployment", "Service", "Unheard"])
def test_what_is_in_no_table_goes_with_the_workloads(kind: str) -> None:
    assert rank_of(ref("x", kind, "no.such.group")) is Rank.WORKLOAD
