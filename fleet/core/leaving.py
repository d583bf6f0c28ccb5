"""Units that left the repo and are not let go yet, and what is needed to reach their clusters until then (R8, R13).

The repo does not name them any more (or a broken file hides them), so this is what the hub must remember of them by
itself, over restarts too.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace

from fleet.core.differences import entry_by_name
from fleet.core.documents import Json, canonical, mapping_at, number_at, parse_document, text_at
from fleet.core.fleet import Cluster, Connection, Mode
from fleet.core.ids import ClusterName, Identity, Revision, UnitName
from fleet.core.problems import Origin
from fleet.core.sync_policy import Suspension
from fleet.values import dataclass, field


@dataclass(frozen=True, slots=True)
class Leave:
    """One unit on its way out. fall: why a person must allow it first (R8), "" when it may go.

    wipe: by whose word what it owns is deleted first; wiped: that is done, and what is left is let go. suspend: what
    its cluster's entry said when that left Git as well: it stays in force until the entry says otherwise (R17).
    """

    commit: Revision  # the first one that does not have it
    fall: str = ""
    wipe: str = ""
    wiped: bool = False
    suspend: Suspension | None = None


@dataclass(frozen=True, slots=True)
class Leaving:
    """All of them, with the entries of clusters that are not in the repo any more."""

    units: Mapping[UnitName, Leave] = field(default_factory=dict[UnitName, Leave])
    clusters: Mapping[ClusterName, Cluster] = field(default_factory=dict[ClusterName, Cluster])

    def of_cluster(self, cluster: ClusterName) -> frozenset[UnitName]:
        """Units of a cluster that are not let go yet."""
        return frozenset(name for name in self.units if name.cluster == cluster)

    def allowed(self, units: frozenset[UnitName]) -> Leaving:
        """The same with these allowed to go."""
        now = {name: replace(leave, fall="") if name in units else leave for name, leave in self.units.items()}
        return replace(self, units=now)

    def with_wipes(self, asked: Mapping[UnitName, str], over: Container[UnitName]) -> Leaving:
        """The same with these to be wiped, by whose word, and those of which that is over. The first word stays."""
        now = {
            name: replace(leave, wipe=leave.wipe or asked.get(name, ""), wiped=leave.wiped or name in over)
            for name, leave in self.units.items()
        }
        return replace(self, units=now) if now != self.units else self

    def without_open_wipes(self) -> Leaving:
        """The same where what is to be wiped is to be let go; what was wiped stays so."""
        ended = {name: replace(leave, wipe="") for name, leave in self.units.items() if leave.wipe and not leave.wiped}
        return replace(self, units={**self.units, **ended})

    def with_entries(self, there: Container[ClusterName], known: Mapping[ClusterName, Cluster]) -> Leaving:
        """The same with the newest entry of each cluster that left, and with what that entry had suspended.

        there: clusters of the repo; known: entries as the repo had them last.
        """
        left = {name.cluster for name in self.units if name.cluster not in there}
        kept = {name: known.get(name) or self.clusters.get(name) or entry_by_name(name) for name in left}
        units = {
            name: replace(leave, suspend=kept[name.cluster].suspend if name.cluster in kept else None)
            for name, leave in self.units.items()
        }
        now = Leaving(units, {**self.clusters, **kept})
        return now if now != self else self

    def without(self, gone: frozenset[UnitName]) -> Leaving:
        """The same without units that are let go or came back; a cluster's entry goes with its last unit."""
        units = {name: leave for name, leave in self.units.items() if name not in gone}
        used = {name.cluster for name in units}
        return Leaving(units, {name: entry for name, entry in self.clusters.items() if name in used})

    def renamed(self, old: ClusterName, new: ClusterName, wanted: Container[UnitName]) -> Leaving:
        """The same after a cluster got another name: what is `wanted` under that name does not leave after all (R2).

        A wipe was of the old name, which a person typed: what goes on leaving is let go.
        """
        units: dict[UnitName, Leave] = {}
        for name, leave in self.units.items():
            now = replace(name, cluster=new) if name.cluster == old else name
            if now == name:
                units[name] = leave
            elif now not in wanted:
                units[now] = replace(leave, wipe="", wiped=False, suspend=None)
        return Leaving(units, {name: entry for name, entry in self.clusters.items() if name != old})


def encode_leaving(leaving: Leaving) -> str:
    """As it is kept in the state."""
    units: dict[str, Json] = {
        str(name): {
            "commit": leave.commit,
            "fall": leave.fall,
            "wipe": leave.wipe,
            "wiped": leave.wiped,
            "suspend": _suspended(leave.suspend),
        }
        for name, leave in leaving.units.items()
    }
    return canonical({"units": units, "clusters": _entries(leaving.clusters)}).decode()


def decode_leaving(text: str) -> Leaving:
    """What was kept; raises ValueError for anything else."""
    document = parse_document(text.encode())
    units, clusters = mapping_at(document, "units"), mapping_at(document, "clusters")
    return Leaving(
        {
            UnitName.parse(name): Leave(
                Revision(text_at(units, name, "commit")),
                text_at(units, name, "fall"),
                text_at(units, name, "wipe"),
                mapping_at(units, name).get("wiped") is True,
                _suspension(mapping_at(units, name, "suspend")),
            )
            for name in units
        },
        {ClusterName(name): _entry(name, mapping_at(clusters, name)) for name in clusters},
    )


def encode_entries(clusters: Mapping[ClusterName, Cluster]) -> str:
    """What reaches each cluster, as it is kept in the state."""
    return canonical(_entries(clusters)).decode()


def decode_entries(text: str) -> Mapping[ClusterName, Cluster]:
    """What was kept; raises ValueError for anything else."""
    document = parse_document(text.encode())
    return {ClusterName(name): _entry(name, mapping_at(document, name)) for name in document}


def _entries(clusters: Mapping[ClusterName, Cluster]) -> dict[str, Json]:
    return {
        name: {
            "credential": entry.connection.credential,
            "inCluster": entry.connection.in_cluster,
            "mode": entry.mode.value,
            "identity": entry.identity or "",
            "environment": entry.environment,
            "suspend": _suspended(entry.suspend),
        }
        for name, entry in clusters.items()
    }


def _suspended(said: Suspension | None) -> dict[str, Json]:
    """A suspension of Git; {} where there is none, as in what earlier versions wrote."""
    if said is None:
        return {}
    origin = said.origin or Origin("")
    return {
        "reason": said.reason,
        "owner": said.owner,
        "until": said.until,
        "scope": said.scope,
        "path": origin.path,
        "line": origin.line,
    }


def _suspension(kept: Mapping[str, Json]) -> Suspension | None:
    if not kept:
        return None
    said = dict(kept)
    origin = Origin(text_at(said, "path"), number_at(said, "line"))
    words = (text_at(said, key) for key in ("reason", "owner", "until", "scope"))
    return Suspension(*words, origin=origin)


def _entry(name: str, kept: Mapping[str, Json]) -> Cluster:
    entry = dict(kept)
    return Cluster(
        name=ClusterName(name),
        origin=Origin("", 0),
        environment=text_at(entry, "environment"),
        mode=Mode(text_at(entry, "mode")),
        connection=Connection(text_at(entry, "credential"), entry.get("inCluster") is True),
        identity=Identity(text_at(entry, "identity")) if text_at(entry, "identity") else None,
        suspend=_suspension(mapping_at(entry, "suspend")),
    )
