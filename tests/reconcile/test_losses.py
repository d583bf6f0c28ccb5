"""What goes with a Namespace is read of every kind that the cluster serves, however many there are (R5, R10)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fleet.core.documents import Document
from fleet.core.ids import ObjectRef
from fleet.ports.kube import Catalog, ObjectList, ServedKind
from fleet.reconcile.losses import Losses

SHOP = ObjectRef("", "Namespace", "", "shop")
KINDS = [f"Kind{number:03}" for number in range(120)]


class Kube:
    """A cluster on which one kind has an object in the namespace."""

    def __init__(self, kind: str) -> None:
        self.kind, self.asked = kind, list[str]()

    async def list(self, served: ServedKind, **_: Any) -> ObjectList:
        self.asked.append(served.kind)
        thing: Document = {"metadata": {"name": "ours", "namespace": "shop"}}
        return ObjectList((thing,) if served.kind == self.kind else (), "1")


def losses(kube: Kube) -> Losses:
    verbs = frozenset({"list", "get"})
    served = {("x", kind): ServedKind("x", "v1", kind, kind.lower(), True, verbs) for kind in KINDS}
    site: Any = SimpleNamespace(
        catalog=Catalog(served), view=SimpleNamespace(kinds={}), installation="acme", kube=kube, clock=lambda: 0.0
    )
    return Losses(site)


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[-1]])
async def test_an_object_of_any_kind_is_among_what_goes(kind: str) -> None:
    kube = Kube(kind)
    found = (await losses(kube).of([SHOP], ()))[SHOP]
    assert found.lines == ("1 object, 1 of them not from this repo", f"{kind} ours")
    assert len(found.inside) == 1
    assert sorted(kube.asked) == KINDS


async def test_an_empty_namespace_has_nothing_inside() -> None:
    found = (await losses(Kube("")).of([SHOP], ()))[SHOP]
    assert (found.lines, found.inside) == (("no objects",), ())
