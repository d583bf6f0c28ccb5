"""A person's word that a rebuilt record counts (R24): for what was shown of a cluster, and for nothing else. Pure.

It is kept until the cluster's worker heard it, which confirms what it is for and nothing else. Meanwhile the cluster
may go away, and what answers next under its name may be another one, or have lost its record once more: that was not
shown to anybody. Nor was a unit that reports later.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from fleet.core.documents import digest_of
from fleet.core.ids import ClusterName, Digest, Identity, UnitName
from fleet.core.status import Report, UnitReport, asks_recovery

Words = Mapping[ClusterName, frozenset[str]]  # what was shown of each confirmed cluster, see `shown_of`
_LENGTH = 16


def shown_of(unit: UnitName, bundle: Digest | None, identity: Identity | None) -> str:
    """Stands for one rebuilt record: whose it is, on which cluster, and which result it is the record of."""
    return digest_of(["rebuilt", str(unit), bundle, identity])[:_LENGTH]


def asked_of(units: Iterable[UnitReport], clusters: Mapping[ClusterName, Report]) -> Words:
    """What waits for a person's word, by cluster."""
    found: dict[ClusterName, set[str]] = {}
    for report in units:
        if asks_recovery(report):
            cluster = clusters.get(report.unit.cluster)
            shown = shown_of(report.unit, report.bundle, cluster.identity if cluster is not None else None)
            found.setdefault(report.unit.cluster, set()).add(shown)
    return {name: frozenset(shown) for name, shown in found.items()}


def unheard_of(
    units: Iterable[UnitName],
    reports: Mapping[UnitName, UnitReport],
    *,
    unspoken: Container[UnitName],
    untold: Container[UnitName],
    heard: Container[ClusterName],
) -> tuple[ClusterName, ...]:
    """Clusters that were not heard, and may know what was taken back of an overlay that waits for a person's word.

    Their parent objects may alone say so, where a rollback did not reach the others, and the word brings it to those.
    units: all of the commit in force; unspoken: those that nobody reported since this process began; untold: those
    that wait, of which a cluster that is there need not have heard; heard: clusters that it saw. Sorted.
    """
    overlays = {name.overlay for name, report in reports.items() if asks_recovery(report)}
    found: set[ClusterName] = set()
    for name in units:
        if name.overlay in overlays and name.cluster not in found:
            report = reports.get(name)
            if report is None:
                is_heard = name in untold and name.cluster in heard
            else:
                is_heard = name not in unspoken or asks_recovery(report)
            if not is_heard:
                found.add(name.cluster)
    return tuple(sorted(found))


def list_digest_of(asked: Words, unheard: Iterable[ClusterName] = ()) -> Digest:
    """What a confirmation is bound to: all that was shown at once, and which clusters were not heard."""
    shown = [(name, *sorted(of_it)) for name, of_it in sorted(asked.items())]
    return digest_of([[*line] for line in (*shown, *((name,) for name in unheard))])


def words_of(text: str) -> Words:
    """As it is kept in the state: names, each with what was shown of it; an earlier version kept names alone."""
    found: dict[ClusterName, frozenset[str]] = {}
    for part in text.split():
        name, _, shown = part.partition("=")
        found[ClusterName(name)] = frozenset(filter(None, shown.split(",")))
    return found


def text_of(words: Words) -> str:
    """See `words_of`."""
    return " ".join(f"{name}={','.join(sorted(shown))}" if shown else name for name, shown in sorted(words.items()))


def with_words(text: str | None, asked: Words) -> str:
    """`text_of` what was said before and, of what is asked, now."""
    return text_of({**words_of(text or ""), **asked})


def without_words(text: str | None, over: Words) -> str:
    """`text_of` the words that are not over; one that was said anew meanwhile, for something else, is not."""
    return text_of({name: shown for name, shown in words_of(text or "").items() if over.get(name) != shown})


def given_of(words: Words, asked: Words) -> Words:
    """The words that are for any of what is asked now, or whose cluster asks nothing.

    One of an earlier version is for whatever is asked.
    """
    return {
        name: shown
        for name, shown in words.items()
        if not shown or name not in asked or not shown.isdisjoint(asked[name])
    }
