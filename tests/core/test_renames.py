"""Renames with the same content: never more of them than successors, and never another content."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from core.building import ref
from hypothesis import given, settings
from hypothesis.strategies import booleans, dictionaries, integers, lists, sampled_from, tuples

from fleet.core import renames
from fleet.core.documents import canonical, digest_of_bytes
from fleet.core.ids import ObjectRef
from fleet.core.objects import BundleObject, HookPhase, ObjectOptions, PruneRule, Scope
from fleet.core.renames import holds_more, renames_of


def made(of: ObjectRef, content: Any, **options: Any) -> BundleObject:
    api = f"{of.group}/v1" if of.group else "v1"
    metadata = {"name": of.name, **({"namespace": of.namespace} if of.namespace else {})}
    spec = {} if content is None else {"spec": content}
    body = canonical({"apiVersion": api, "kind": of.kind, "metadata": metadata, **spec})
    return BundleObject(of, "v1", Scope.NAMESPACED, body, digest_of_bytes(body), ObjectOptions(**options))


def maps(**contents: Any) -> list[BundleObject]:
    return [made(ref(name), content) for name, content in contents.items()]


def names(before: list[BundleObject], after: list[BundleObject]) -> dict[str, str]:
    return {old.name: new.name for old, new in renames_of(before, after).items()}


def test_the_same_content_under_another_name_is_a_rename() -> None:
    assert names(maps(a=1, b=2), maps(c=1, b=2)) == {"a": "c"}


def test_another_content_is_a_deletion() -> None:
    assert names(maps(a=1, b=2), maps(c=3, b=2)) == {}
    assert names(maps(a=1), maps(c=True)) == {}  # equal in Python, not in JSON


def test_of_two_equal_objects_of_which_one_comes_back_none_is_renamed() -> None:
    assert names(maps(a=1, b=1), maps(c=1)) == {}
    assert names(maps(a=1, b=1), maps(c=1, d=1)) == {"a": "c", "b": "d"}
    assert names(maps(a=1), maps(c=1, d=1)) == {"a": "c"}


def test_what_stays_is_nobodys_successor() -> None:
    assert names(maps(a=1, b=1), maps(b=1)) == {}


def test_kind_and_namespace_stay() -> None:
    assert names([made(ref("a"), 1)], [made(ref("b", "Service"), 1)]) == {}
    assert names([made(ref("a"), 1)], [made(ref("b", namespace="other"), 1)]) == {}


@pytest.mark.parametrize(
    "kind",
    [
        ("", "PersistentVolumeClaim"),
        ("apps", "StatefulSet"),
        ("", "Namespace"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ("rbac.authorization.k8s.io", "ClusterRole"),
        ("example.com", "Database"),
    ],
)
def test_what_stands_for_more_than_its_text_is_never_renamed(kind: tuple[str, str]) -> None:
    old, new = (made(ObjectRef(*kind, "shop", name), {"size": 1}) for name in "ab")
    assert not renames_of([old], [new])
    assert renames_of([made(ref("a", "Deployment", "apps"), 1)], [made(ref("b", "Deployment", "apps"), 1)])


@pytest.mark.parametrize(
    "options",
    [
        {"prune": PruneRule.CONFIRM},
        {"prune": PruneRule.DISABLED},
        {"hook": HookPhase.PRE_SYNC},
        {"only_if_absent": True},
        {"reconcile": False},
    ],
)
def test_an_object_with_rules_of_its_own_is_a_deletion(options: dict[str, Any]) -> None:
    old, new = made(ref("a"), 1), made(ref("b"), 1)
    assert not renames_of([replace(old, options=ObjectOptions(**options))], [new])
    assert not renames_of([old], [replace(new, options=ObjectOptions(**options))])


DEPLOYMENT = ("Deployment", "apps")


def test_who_follows_a_new_name_has_the_same_content() -> None:
    def app(prefix: str, image: str = "web:1", label: str = "web") -> list[BundleObject]:
        reads = {"image": image, "envFrom": [{"configMapRef": {"name": f"{prefix}config"}}], "labels": {"app": label}}
        return [
            made(ref(f"{prefix}config"), {"a": 1}),
            made(ref(f"{prefix}web", *DEPLOYMENT), reads),
            made(ref(f"{prefix}scale", "HorizontalPodAutoscaler", "autoscaling"), {"target": f"{prefix}web"}),
        ]

    assert names(app(""), app("new-")) == {"config": "new-config", "web": "new-web", "scale": "new-scale"}
    assert names(app(""), app("new-", image="web:2")) == {"config": "new-config"}
    assert names(app(""), app("new-", label="new-web")) == {"config": "new-config"}


def test_whose_new_name_cannot_be_told_is_followed_by_nobody() -> None:
    def reader(name: str, of: str) -> BundleObject:
        return made(ref(name, *DEPLOYMENT), {"configMap": of})

    before = [*maps(a=1, b=1), reader("x", "a")]
    assert names(before, [*maps(c=1, d=1), reader("y", "c")]) == {"a": "c", "b": "d"}
    assert names([*maps(a=1), reader("x", "a")], [*maps(c=1), reader("y", "c")]) == {"a": "c", "x": "y"}


def test_a_value_that_is_also_a_name_makes_no_other_content() -> None:
    before, after = maps(db1=1, a={"database": "db1"}), maps(db2=1, b={"database": "db2"})
    assert names(before, after) == {"db1": "db2"}


def test_an_object_whose_name_is_all_it_has_is_renamed_where_what_names_it_says_so() -> None:
    def account(name: str) -> BundleObject:
        return made(ref(name, "ServiceAccount"), None)

    def binding(name: str, of: str) -> BundleObject:
        return made(ref(name, "RoleBinding", "rbac.authorization.k8s.io"), {"subjects": [{"name": of}]})

    assert names([account("payments")], [account("other")]) == {}
    assert names([account("a"), binding("x", "a")], [account("b"), binding("x", "b")]) == {"a": "b"}
    assert names([account("a"), binding("x", "a")], [account("b"), binding("y", "b")]) == {"a": "b", "x": "y"}
    assert names([account("a"), binding("x", "c")], [account("b"), binding("x", "d")]) == {}
    assert names([account("a"), *maps(x="a")], [account("b"), *maps(x="b")]) == {}


@pytest.mark.parametrize("alike", [False, True])
def test_what_is_compared_grows_with_the_objects_and_not_with_their_square(
    alike: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many that are alike but for a new name nobody can say which is which: they are deletions."""

    def unit(prefix: str) -> list[BundleObject]:
        rules = [{"n": 0 if alike else n, "subject": f"{prefix}account"} for n in range(1500)]
        bound = [
            made(ref(f"{prefix}{n}", "RoleBinding", "rbac.authorization.k8s.io"), rule) for n, rule in enumerate(rules)
        ]
        return [made(ref(f"{prefix}account", "ServiceAccount"), 1), *bound]

    compared, same = [0], renames._is_same

    def counted(old: Any, new: Any, pairs: Any) -> bool:
        compared[0] += 1
        return same(old, new, pairs)

    monkeypatch.setattr(renames, "_is_same", counted)
    found = names(unit("a-"), unit("b-"))
    assert len(found) == (1 if alike else 1501)
    assert compared[0] < 20 * 1500


contents = integers(0, 2)
sets = dictionaries(sampled_from("abcdefgh"), contents, max_size=8)


@settings(max_examples=400)
@given(before=sets, after=sets)
def test_what_is_not_counted_is_there_again(before: dict[str, int], after: dict[str, int]) -> None:
    """Of each content at least as many objects are left as there were, less the deletions that count."""
    pairs = names(maps(**before), maps(**after))
    assert len(set(pairs.values())) == len(pairs)
    for old, new in pairs.items():
        assert old not in after
        assert new not in before
        assert before[old] == after[new]
    counted = Counter(content for name, content in before.items() if name not in after and name not in pairs)
    changed = Counter(content for name, content in before.items() if name in after and after[name] != content)
    left = Counter(after.values())
    for content, there in Counter(before.values()).items():
        assert left[content] >= there - counted[content] - changed[content]


@settings(max_examples=200)
@given(
    parts=lists(tuples(contents, booleans(), integers(0, 5)), min_size=1, max_size=9), prefix=sampled_from(["p-", "a"])
)
def test_a_whole_unit_under_other_names_is_a_rename_of_each_object(
    parts: list[tuple[int, bool, int]], prefix: str
) -> None:
    """A chain of objects, each with a content of its own and perhaps the name of one before it."""

    def unit(prefix: str) -> list[BundleObject]:
        return [
            made(
                ref(f"{prefix}n{place}", *DEPLOYMENT),
                [place, content, f"{prefix}n{to}" if refers and to < place else ""],
            )
            for place, (content, refers, to) in enumerate(parts)
        ]

    assert names(unit(""), unit(prefix)) == {f"n{place}": f"{prefix}n{place}" for place in range(len(parts))}


def test_a_chain_of_names_is_followed_so_far_and_no_farther() -> None:
    before = [made(ref(f"c{n}", *DEPLOYMENT), {"n": n, "next": f"c{n - 1}"}) for n in range(250)]
    after = [made(ref(f"d{n}", *DEPLOYMENT), {"n": n, "next": f"d{n - 1}"}) for n in range(250)]
    before[0], after[0] = made(ref("c0"), 0), made(ref("d0"), 0)
    assert names(before, after) == {f"c{n}": f"d{n}" for n in range(11)}


@pytest.mark.parametrize(
    ("kind", "ours", "more"),
    [
        ("ConfigMap", {"f:data": {"f:a": {}}}, True),
        ("ConfigMap", {"f:data": {"f:a": {}, "f:b": {}}}, False),
        ("Secret", {"f:data": {"f:a": {}}}, True),
        ("Service", {}, False),
    ],
)
def test_data_of_others_is_not_there_under_the_new_name(kind: str, ours: dict[str, Any], more: bool) -> None:
    entry = {"manager": "fleet", "operation": "Apply", "apiVersion": "v1", "fieldsV1": ours}
    live: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"managedFields": [entry]},
        "data": {"a": "1", "b": "2"},
    }
    assert holds_more(live) is more
