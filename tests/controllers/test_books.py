"""What stands in several books of a hub is of one unit, and goes along with its cluster."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.controllers.books import Books
from fleet.controllers.identities import Identities
from fleet.core.ids import ClusterName, Digest, ObjectRef, Revision, UnitName
from fleet.core.results import Rendered
from fleet.core.view import Head, View
from fleet.ports.state import ReleasedBundle
from fleet.store.memory import MemoryState

API, WEB = UnitName.parse("api@old"), UnitName.parse("web@old")
OLD, NEW = API.cluster, ClusterName("new")
X, Y = (ObjectRef("", "ConfigMap", "shop", name) for name in "xy")
FIRST, SECOND = (Rendered(Digest(name), Revision(name)) for name in ("first", "second"))


@pytest.mark.parametrize("noted", [(), (API,), (API, WEB)])
async def test_a_renamed_cluster_holds_what_it_held_in_memory_as_in_the_state(noted: tuple[UnitName, ...]) -> None:
    """Whatever was noted for its new name before it was known to be the same cluster; for nothing it is the twin."""
    state, books = MemoryState(), Books(View(Head("main")), Identities())
    books.held, books.permits = {API: FIRST}, {API: frozenset({X})}
    for name in noted:
        books.held[replace(name, cluster=NEW)] = SECOND
        books.permits[replace(name, cluster=NEW)] = frozenset({Y})
    await state.put_released([ReleasedBundle(name, one.commit, one.bundle) for name, one in books.held.items()])
    await state.rename_cluster(OLD, NEW, {})
    books.rename(OLD, NEW)
    durable = {row.unit: Rendered(row.bundle, row.commit) for row in await state.released()}
    assert books.held == durable == {replace(API, cluster=NEW): FIRST}
    assert books.permits == {replace(API, cluster=NEW): frozenset({X})}
