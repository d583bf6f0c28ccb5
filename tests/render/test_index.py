"""The reverse index: from changed paths to requests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from render.world import SMALL, commit

from fleet.errors import PathEscapes, ResourceMissing
from fleet.ports.render import RenderRequest
from fleet.render.closure import read_closure
from fleet.render.index import ReverseIndex, place_of
from fleet.render.inputs import Closure
from fleet.render.reader import Reader
from fleet.render.tree import CommitTree

_PATHS = ("x", "x/y", "x/y/z", "x/yy", "w/y")


def closure(*files: str, absent: tuple[str, ...] = ()) -> Closure:
    return Closure("", files=dict.fromkeys(files, "oid"), absent=set(absent))


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.booleans(), st.sets(st.sampled_from(_PATHS))), max_size=8),
    st.sets(st.sampled_from(_PATHS), min_size=1),
)
def test_a_look_up_says_what_going_through_all_closures_says(
    puts: list[tuple[str, bool, set[str]]], changed: set[str]
) -> None:
    index, held = ReverseIndex(), dict[str, set[str]]()
    for name, asks, paths in puts:
        request = RenderRequest(name)
        index.ask(request)
        index.put(place_of(request), closure(*sorted(paths)))
        held[name] = paths
        if asks:
            index.affected(frozenset({"none/of/these"}))
    touched = {name for name, paths in held.items() if any(is_at_or_above(path, changed) for path in paths)}
    for _ in range(3):
        assert index.affected(frozenset(changed)) == {RenderRequest(name) for name in touched}
        assert index.places(frozenset(changed)) == {place_of(RenderRequest(name)) for name in touched}


def is_at_or_above(path: str, changed: set[str]) -> bool:
    return any(one == path or one.startswith(f"{path}/") for one in changed)


def test_requests_that_differ_in_facts_share_a_closure_until_the_last_is_forgotten() -> None:
    index = ReverseIndex()
    one, two = RenderRequest("app", facts=b"1"), RenderRequest("app", facts=b"2")
    for request in (one, two):
        index.ask(request)
        index.put(place_of(request), closure("app/a.yaml"))
    assert index.affected(frozenset({"app/a.yaml"})) == {one, two}
    index.forget(one)
    assert index.affected(frozenset({"app/a.yaml"})) == {two}
    index.forget(two)
    assert index.affected(frozenset({"app/a.yaml"})) == frozenset()
    assert index.closure(two) is None


def test_a_new_closure_replaces_the_old_one() -> None:
    index = ReverseIndex()
    request = RenderRequest("app")
    index.ask(request)
    index.put(place_of(request), closure("old.yaml"))
    index.put(place_of(request), closure("new.yaml", absent=("maybe",)))
    assert index.affected(frozenset({"old.yaml"})) == frozenset()
    assert index.affected(frozenset({"maybe/below.yaml"})) == {request}


def test_a_widened_closure_is_touched_by_everything() -> None:
    index = ReverseIndex()
    request = RenderRequest("app")
    index.ask(request)
    index.put(place_of(request), Closure("", widened=["a field"]))
    assert index.affected(frozenset({"anything"})) == {request}
    assert index.affected(frozenset()) == frozenset()


OUT = "../../outside"
CHARTS = "helmCharts: [{name: web, version: 1.2.3}]\n"
ARCHIVE = "app/charts/web-1.2.3.tgz"


@pytest.mark.parametrize(
    ("kustomization", "links", "mended"),
    [
        ("resources: [cm.yaml]\n", {"app/cm.yaml": OUT}, "app/cm.yaml"),
        ("resources: [cm.yaml]\n", {"app/cm.yaml": "/etc/passwd"}, "app/cm.yaml"),
        ("resources: [cm.yaml]\n", {"app/cm.yaml": "../shared/cm.yaml", "shared": "app/../.."}, "shared"),
        ("resources: [cm.yaml]\n", {"app/cm.yaml": "b", "app/b": "cm.yaml"}, "app/b"),
        ("resources: [base]\n", {"app/base": OUT}, "app/base"),
        ("components: [base]\n", {"app/base": OUT}, "app/base"),
        (CHARTS, {ARCHIVE: f"../{OUT}"}, ARCHIVE),
        (CHARTS, {"app/charts": OUT}, "app/charts"),
    ],
)
def test_what_mends_a_link_that_leads_out_touches_whom_it_stopped(
    kustomization: str, links: dict[str, str], mended: str
) -> None:
    snapshot = commit({"app/kustomization.yaml": kustomization}, links)
    assert_is_touched(RenderRequest("app"), read_closure(CommitTree(snapshot), Reader(), "app", charts=True), mended)


@pytest.mark.parametrize("request_", [RenderRequest("apps"), RenderRequest("app", ("apps",))])
def test_what_mends_the_link_of_a_unit_itself_touches_it(request_: RenderRequest) -> None:
    tree = CommitTree(commit(SMALL, {"apps": "../outside"}))
    assert_is_touched(request_, read_closure(tree, Reader(), request_.path, request_.components), "apps")


def assert_is_touched(request: RenderRequest, closure: Closure, mended: str) -> None:
    assert isinstance(closure.error, PathEscapes)
    index = ReverseIndex()
    index.ask(request)
    index.put(place_of(request), closure)
    assert index.affected(frozenset({mended})) == {request}
    assert index.affected(frozenset({"README.md"})) == frozenset()


def test_what_a_chart_archive_leads_to_touches_whom_it_is_missing() -> None:
    tree = CommitTree(commit({"app/kustomization.yaml": CHARTS}, {ARCHIVE: "../../vendor/web.tgz"}))
    closure, request = read_closure(tree, Reader(), "app", charts=True), RenderRequest("app")
    assert isinstance(closure.error, ResourceMissing)
    index = ReverseIndex()
    index.ask(request)
    index.put(place_of(request), closure)
    assert index.affected(frozenset({"vendor/web.tgz"})) == {request}


def test_a_chart_archive_is_found_by_a_link() -> None:
    texts = {"app/kustomization.yaml": CHARTS, "vendor/web.tgz": "an archive"}
    tree = CommitTree(commit(texts, {ARCHIVE: "../../vendor/web.tgz"}))
    closure = read_closure(tree, Reader(), "app", charts=True)
    assert closure.error is None
    assert closure.charts == {"vendor/web.tgz": "app/charts/web"}
    assert ARCHIVE in closure.links
