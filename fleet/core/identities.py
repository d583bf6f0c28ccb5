"""Which cluster an entry is, and which entries are one cluster: entries and identities are one to one (R2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from fleet.core.fleet import Cluster
from fleet.core.ids import ClusterName, Identity


def identity_of(
    entry: Cluster,
    recorded: Mapping[ClusterName, Identity],
    proven: Mapping[ClusterName, Identity] = MappingProxyType({}),
) -> Identity | None:
    """The identity that Git gives to an entry, or else the recorded or the proven one; None: it may be any."""
    return entry.identity or recorded.get(entry.name) or proven.get(entry.name)


def clashes_of(
    entries: Iterable[Cluster], recorded: Mapping[ClusterName, Identity], proven: Mapping[ClusterName, Identity]
) -> dict[ClusterName, ClusterName]:
    """Each entry that has an identity which another one has as well, with one of those others."""
    first: dict[Identity, ClusterName] = {}
    found: dict[ClusterName, ClusterName] = {}
    for entry in entries:
        identity = identity_of(entry, recorded, proven)
        if identity is None:
            continue
        other = first.setdefault(identity, entry.name)
        if other != entry.name:
            found[entry.name] = other
            found.setdefault(other, entry.name)
    return found
