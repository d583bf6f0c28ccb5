"""What units hold, and what those that do not go by themselves were shown: two tables, written together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, select

from fleet.core.ids import ClusterName, Digest, OverlayName, Revision, UnitName
from fleet.core.results import Rendered, Shown
from fleet.ports.state import ReleasedBundle
from fleet.store.puts import Puts
from fleet.store.tables import RELEASED, SHOWN


def put_bundles(
    puts: Puts, rows: Sequence[ReleasedBundle], gone: Sequence[UnitName], shown: Mapping[UnitName, Shown]
) -> None:
    """Add what changes; units of `rows` and `gone` were shown nothing since, but what `shown` says."""
    for unit in gone:
        puts.drop(RELEASED, unit.cluster, unit.overlay)
    for row in rows:
        bundle = {"revision": row.commit, "bundle": row.bundle}
        puts.put(RELEASED, {"cluster": row.unit.cluster, "overlay": row.unit.overlay, **bundle})
    for unit in (*gone, *(row.unit for row in rows)):
        puts.drop(SHOWN, unit.cluster, unit.overlay)
    for unit, one in shown.items():
        bundle = {"revision": one.result.commit, "bundle": one.result.bundle}
        of = {"operation": one.operation, "over": one.is_over, "begun": one.is_begun, "back": one.is_back}
        puts.put(SHOWN, {"cluster": unit.cluster, "overlay": unit.overlay, **bundle, **of})


def released_in(connection: Connection) -> tuple[ReleasedBundle, ...]:
    """All released bundles."""
    return tuple(
        ReleasedBundle(
            UnitName(OverlayName(row.overlay), ClusterName(row.cluster)), Revision(row.revision), Digest(row.bundle)
        )
        for row in connection.execute(select(RELEASED).order_by(RELEASED.c.cluster, RELEASED.c.overlay))
    )


def shown_in(connection: Connection) -> Mapping[UnitName, Shown]:
    """All that was shown, by unit."""
    return {
        UnitName(OverlayName(row.overlay), ClusterName(row.cluster)): Shown(
            Rendered(Digest(row.bundle), Revision(row.revision)), row.operation, row.over, row.begun, row.back
        )
        for row in connection.execute(select(SHOWN))
    }
