"""Every request that one simulated cluster got: what tests and the demo count. Bounded in memory."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import NamedTuple

from fleet.core.documents import Document
from fleet.values import dataclass

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


class Met(NamedTuple):
    """What a delete met, and what it asked for."""

    uid: str = ""
    owner: str = ""
    asked_uid: str = ""
    asked_version: str = ""


NOTHING_MET = Met()


@dataclass(frozen=True, slots=True)
class Entry:
    """One request. `code` 0: it got no answer (cut, refused by a fault, or still streaming)."""

    sequence: int
    moment: float  # time.time()
    cluster: str
    verb: str
    group: str
    resource: str  # with its subresource, as in deployments/status; a path where it is no resource
    namespace: str
    name: str
    agent: str
    code: int
    dry_run: bool
    query: Mapping[str, str]
    landed: bool = False  # a write that was carried out, whether or not its answer arrived
    uid: str = ""  # of what a delete met, and what its preconditions asked for
    owner: str = ""  # the owner annotation of what a delete met
    asked_uid: str = ""
    asked_version: str = ""

    @property
    def writes(self) -> bool:
        """Whether this request was meant to change something and did."""
        return self.verb in WRITES and not self.dry_run and self.code < 400

    def document(self) -> Document:
        """As the control endpoint gives it."""
        made: Document = {key: value for key, value in asdict(self).items() if key != "query"}
        made["query"] = dict(self.query)
        return made


class Ledger:
    """The requests of one cluster, the newest `limit` of them; the counters are never cut."""

    def __init__(self, cluster: str, *, limit: int = 20_000) -> None:
        self._cluster = cluster
        self._entries: deque[Entry] = deque(maxlen=limit)
        self.sequence = 0
        self.counts: Counter[tuple[str, str]] = Counter()  # (verb, resource)

    def add(
        self,
        *,
        verb: str,
        group: str,
        resource: str,
        namespace: str,
        name: str,
        agent: str,
        code: int,
        dry_run: bool,
        query: Mapping[str, str],
        landed: bool = False,
        met: Met = NOTHING_MET,
    ) -> Entry:
        """Record one request when its answer begins."""
        self.sequence += 1
        entry = Entry(
            self.sequence,
            time.time(),
            self._cluster,
            verb,
            group,
            resource,
            namespace,
            name,
            agent,
            code,
            dry_run,
            query,
            landed,
            *met,
        )
        self._entries.append(entry)
        self.counts[verb, resource] += 1
        return entry

    def since(self, sequence: int = 0) -> list[Entry]:
        """Requests after this sequence number, oldest first."""
        found: list[Entry] = []
        for entry in reversed(self._entries):
            if entry.sequence <= sequence:
                break
            found.append(entry)
        return found[::-1]

    def writes(self, since: int = 0) -> list[Entry]:
        """Successful writes that were no dry-runs, after this sequence number."""
        return [entry for entry in self.since(since) if entry.writes]

    def count(self, *, verb: str = "", resource: str = "", since: int = 0) -> int:
        """How many requests of a verb and resource ("" for any) after this sequence number."""
        return sum(
            (not verb or entry.verb == verb) and (not resource or entry.resource == resource)
            for entry in self.since(since)
        )

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
