"""What goes with a Namespace is read of every kind that the cluster serves, however many there are (R5, R10)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fleet.core.documents import Document
from fleet.core.ids import ObjectRef
from fleet.errors import ServerFailed
from fleet.ports.kube import Catalog, ObjectList, ServedKind
from fleet.reconcile.losses import Losses

SHOP = ObjectRef("", "Namespace", "", "shop")
KINDS = [f"Kind{number:03}" for number in range(120)]


class Kube:
    """A cluster on which one kind has an object in the namespace."""

    served = Catalog({})

    def __init__(self, kind: str) -> None:
        self.kind, self.asked = kind, list[str]()

    async def discover(self, *, fresh: bool = False) -> Catalog:
        assert fresh, "what the connection knew when it was made may be old"
        return self.served

    async def list(self, served: ServedKind, **_: Any) -> ObjectList:
        self.asked.append(served.kind)
        thing: Document = {"metadata": {"name": "theirs", "namespace": "shop"}}
        return ObjectList((thing,) if served.kind == self.kind else (), "1")


def losses(kube: Kube) -> Losses:
    verbs = frozenset({"list", "get"})
    served = {("x", kind): ServedKind("x", "v1", kind, kind.lower(), True, verbs) for kind in KINDS}
    kube.served = Catalog(served)
    site: Any = SimpleNamespace(
        catalog=Catalog({}), view=SimpleNamespace(kinds={}), installation="acme", kube=kube, clock=lambda: 0.0
    )
    return Losses(site)


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[-1]])
async def test_an_object_of_any_kind_is_among_what_goes(kind: str) -> None:
    kube = Kube(kind)
    found = (await losses(kube).of([SHOP], ()))[SHOP]
    assert found.lines == ("1 object, 1 of them not from this repo", f"{kind} theirs")
    assert len(found.inside) == 1
    assert sorted(kube.asked) == KINDS


async def test_an_empty_namespace_has_nothing_inside() -> None:
    found = (await losses(Kube("")).of([SHOP], ()))[SHOP]
    assert (found.lines, found.inside) == (("no objects",), ())


async def test_a_cluster_that_does_not_say_what_it_serves_has_unknown_things_inside() -> None:
    kube = Kube(KINDS[0])
    reader = losses(kube)

    async def broken(*, fresh: bool = False) -> Catalog:
        raise ServerFailed("cannot discover /apis", where="eu-1")

    kube.discover = broken  # type: ignore[method-assign]
    found = (await reader.of([SHOP], ()))[SHOP]
    assert found.lines == ("not known, ServerFailed: what goes with it",)
    assert len(found.inside) == 1
    assert not kube.asked


async def test_what_has_its_own_line_no_more_is_seen_at_once() -> None:
    """A few seconds old is good enough, but never by an older list."""
    reader, theirs = losses(Kube(KINDS[0])), ObjectRef("x", KINDS[0], "shop", "theirs")
    assert await reader.inside(SHOP, [theirs]) == ()
    assert len(await reader.inside(SHOP, ())) == 1


async def test_what_is_approved_is_not_read_with_each_try() -> None:
    kube = Kube(KINDS[0])
    reader = losses(kube)
    assert await reader.inside(SHOP, ()) == await reader.inside(SHOP, ())
    assert sorted(kube.asked) == KINDS


async def test_what_was_just_shown_is_not_held_against_an_older_reading() -> None:
    """It left between both: what was read before would say that more goes along than was shown."""
    kube = Kube(KINDS[0])
    reader = losses(kube)
    assert len(await reader.inside(SHOP, ())) == 1
    kube.kind = ""
    assert (await reader.of([SHOP], ()))[SHOP].inside == ()
    assert await reader.inside(SHOP, ()) == ()
    assert len(kube.asked) == 3 * len(KINDS)
    assert (await reader.of([SHOP], ()))[SHOP].inside == await reader.inside(SHOP, ())
    assert len(kube.asked) == 4 * len(KINDS), "nothing left: a few seconds old is good enough"


@pytest.mark.parametrize(
    ("seen", "read"), [(True, True), (True, False), (False, True)], ids=["was there", "may be there", "never was there"]
)
async def test_what_an_owner_leaves_that_was_there_before_goes_with_it(seen: bool, read: bool) -> None:
    """A ReplicaSet is gone some time before the last of its Pods is told to end."""
    kube = Kube(KINDS[0])
    reader = losses(kube)
    owner: Document = {"metadata": {"name": "theirs", "namespace": "shop", "uid": "u-1"}}
    left: Document = {"metadata": {"name": "left", "namespace": "shop", "ownerReferences": [{"uid": "u-1"}]}}
    listed = [owner, left] if seen else []

    async def listing(served: ServedKind, **_: Any) -> ObjectList:
        if served.kind == KINDS[1] and owner not in listed and not read:
            raise ServerFailed("cannot list", where="eu-1")
        return ObjectList(tuple(listed) if served.kind == kube.kind else (), "1")

    kube.list = listing  # type: ignore[method-assign]
    assert len(await reader.inside(SHOP, ())) == (1 if seen else 0)
    for rest in ([left], [left]):
        listed = rest
        found = (await reader.of([SHOP], ()))[SHOP]
        assert len(found.inside) == (not seen) + 2 * (not read)
