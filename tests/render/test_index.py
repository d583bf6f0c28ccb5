"""The reverse index: from changed paths to requests, quick for a large fleet."""

from __future__ import annotations

import time

from fleet.ports.render import RenderRequest
from fleet.render.index import ReverseIndex
from fleet.render.inputs import Closure


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
