"""The reverse index: from changed paths to requests, quick for a large fleet."""

from __future__ import annotations

import time

import pytest
from render.world import SMALL, commit

from fleet.errors import PathEscapes, ResourceMissing
from fleet.ports.render import RenderRequest
from fleet.render.closure import Reader, read_closure
from fleet.render.index import ReverseIndex
from fleet.render.inputs import Closure
from fleet.render.tree import CommitTree


def closure(*files: str, absent: tuple[str, ...] = ()) -> Closure:
    return Closure("", files=dict.fromkeys(files, "oid"), absent=set(absent))


def test_ten_thousand_requests_are_answered_in_milliseconds() -> None:
    index = ReverseIndex()
    for number in range(10_000):
        request = RenderRequest(f"app{number}")
        index.ask(request)
        index.put(request, closure(f"app{number}/a.yaml", f"app{number}/b.yaml", f"shared{number % 100}/c.yaml"))
    start = time.perf_counter()
    assert len(index.affected(frozenset({"app17/a.yaml"}))) == 1
    assert len(index.affected(frozenset({"shared5/c.yaml"}))) == 100
    assert index.affected(frozenset(f"other/{number}" for number in range(1000))) == frozenset()
    assert time.perf_counter() - start < 0.1


def test_requests_that_differ_in_facts_share_a_closure_until_the_last_is_forgotten() -> None:
    index = ReverseIndex()
    one, two = RenderRequest("app", facts=b"1"), RenderRequest("app", facts=b"2")
    for request in (one, two):
        index.ask(request)
        index.put(request, closure("app/a.yaml"))
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
    index.put(request, closure("old.yaml"))
    index.put(request, closure("new.yaml", absent=("maybe",)))
    assert index.affected(frozenset({"old.yaml"})) == frozenset()
    assert index.affected(frozenset({"maybe/below.yaml"})) == {request}


def test_a_widened_closure_is_touched_by_everything() -> None:
    index = ReverseIndex()
    request = RenderRequest("app")
    index.ask(request)
    index.put(request, Closure("", widened=["a field"]))
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
    index.put(request, closure)
    assert index.affected(frozenset({mended})) == {request}
    assert index.affected(frozenset({"README.md"})) == frozenset()


def test_what_a_chart_archive_leads_to_touches_whom_it_is_missing() -> None:
    tree = CommitTree(commit({"app/kustomization.yaml": CHARTS}, {ARCHIVE: "../../vendor/web.tgz"}))
    closure, request = read_closure(tree, Reader(), "app", charts=True), RenderRequest("app")
    assert isinstance(closure.error, ResourceMissing)
    index = ReverseIndex()
    index.ask(request)
    index.put(request, closure)
    assert index.affected(frozenset({"vendor/web.tgz"})) == {request}


def test_a_chart_archive_is_found_by_a_link() -> None:
    texts = {"app/kustomization.yaml": CHARTS, "vendor/web.tgz": "an archive"}
    tree = CommitTree(commit(texts, {ARCHIVE: "../../vendor/web.tgz"}))
    closure = read_closure(tree, Reader(), "app", charts=True)
    assert closure.error is None
    assert closure.charts == {"vendor/web.tgz": "app/charts/web"}
    assert ARCHIVE in closure.links
