"""The request ledger of a control plane: every request its API server answered, read from the audit log.

It proves what was asked, by whom (user agent) and how often, and so also that nothing was asked.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}
WRITE_VERBS = frozenset({"create", "update", "patch", "delete", "deletecollection"})


_BEGINS = b'{"kind":"Event"'
_MOST_OF_A_LINE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as the API server saw it.

    resource: plural with the subresource after a slash ("deployments/scale"), "" for paths that name none
    (discovery, /version); query: the first value of each parameter; received, answered: seconds since the epoch (a
    watch is answered when it is opened).
    """

    verb: str
    group: str
    resource: str
    namespace: str
    name: str
    user: str
    user_agent: str
    code: int
    path: str
    query: dict[str, str]
    received: float
    answered: float

    @property
    def dry_run(self) -> bool:
        return "dryRun" in self.query

    @property
    def is_write(self) -> bool:
        """Whether it could have changed what is stored: dry-runs and reviews could not."""
        return self.verb in WRITE_VERBS and not self.dry_run and not self.resource.endswith("reviews")


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the ledger: requests that began to be answered after it are "since" it.

    at: seconds since the epoch. The log is not written in the order of the answers, so that the place alone would
    count some of before.
    """

    offset: int
    at: float = 0.0


class Ledger:
    """Reads one audit log."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def mark(self) -> Mark:
        """The end of what is written now, at the begin of a line that is only half there."""
        if not self._path.exists():
            return Mark(0, time.time())
        with self._path.open("rb") as log:
            size = log.seek(0, 2)
            start = log.seek(max(0, size - _MOST_OF_A_LINE))
            return Mark(start + log.read(size - start).rfind(b"\n") + 1, time.time())

    def since(self, mark: Mark) -> list[Request]:
        """All requests after the mark, oldest first; a watch counts once, when it was opened."""
        requests: list[Request] = []
        seen: set[str] = set()
        for event in self._events(mark):
            if event["auditID"] not in seen:
                seen.add(event["auditID"])
                request = _request_of(event)
                if request.answered >= mark.at:
                    requests.append(request)
        return requests

    def _events(self, mark: Mark) -> Iterator[dict]:
        if not self._path.exists():
            return
        with self._path.open("rb") as log:
            log.seek(mark.offset)
            for line in log:
                if not line.endswith(b"\n"):
                    return
                # A server that was killed leaves half a line, and its successor goes on behind it.
                event = json.loads(line[max(0, line.rfind(_BEGINS)) :])
                if event["verb"] == "watch" and event["stage"] == "ResponseComplete" and _code_of(event) < 400:
                    continue  # counted when it was opened
                yield event


def _code_of(event: dict) -> int:
    return event.get("responseStatus", {}).get("code", 0)


def _request_of(event: dict) -> Request:
    about = event.get("objectRef", {})
    split = urlsplit(event["requestURI"])
    resource = about.get("resource", "")
    if about.get("subresource"):
        resource += f"/{about['subresource']}"
    return Request(
        verb=event["verb"],
        group=about.get("apiGroup", ""),
        resource=resource,
        namespace=about.get("namespace", ""),
        name=about.get("name", ""),
        user=event.get("user", {}).get("username", ""),
        user_agent=event.get("userAgent", ""),
        code=_code_of(event),
        path=split.path,
        query={key: values[0] for key, values in parse_qs(split.query, keep_blank_values=True).items()},
        received=_seconds_of(event["requestReceivedTimestamp"]),
        answered=_seconds_of(event["stageTimestamp"]),
    )


def _seconds_of(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()
