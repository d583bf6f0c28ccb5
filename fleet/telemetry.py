"""Names of all spans, metrics and log keys, and their set-up.

One trace per commit: its trace id and its root span's id follow from installation and commit alone, so that a hub
that was restarted midway goes on in the same trace. There is a span per stage, per cluster and per unit, never one
per object; objects that failed are span events.
"""

from __future__ import annotations

import contextvars
import hashlib
import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO, cast

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from fleet.values import dataclass

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

# Spans
SPAN_COMMIT = "commit"
SPAN_FETCH = "fetch"
SPAN_INVENTORY = "inventory"
SPAN_RENDER = "render"
SPAN_RELEASE = "release"
SPAN_CLUSTER = "cluster"
SPAN_UNIT = "unit"

# Keys of spans and logs
KEY_COMMIT = "fleet.commit"
KEY_CLUSTER = "fleet.cluster"
KEY_UNIT = "fleet.unit"
KEY_REASON = "fleet.reason"
KEY_OBJECT = "fleet.object"
KEY_COUNT = "fleet.count"
KEY_OUTCOME = "fleet.outcome"

# Metrics
REGISTRY = CollectorRegistry()
COMMITS = Counter("fleet_commits_total", "Commits taken over from Git", registry=REGISTRY)
FETCHES = Counter("fleet_fetches_total", "Fetches by outcome", ["outcome"], registry=REGISTRY)
FETCHED_AT = Gauge("fleet_last_fetch_timestamp_seconds", "Time of the last good fetch", registry=REGISTRY)
RENDERS = Counter("fleet_renders_total", "Builds by outcome", ["outcome"], registry=REGISTRY)
REFUSALS = Counter(
    "fleet_refusals_total",
    "Refusals by boundary, rule and reason; failures have no rule",
    ["boundary", "rule", "reason"],
    registry=REGISTRY,
)
REQUESTS = Counter("fleet_kube_requests_total", "Requests to clusters", ["cluster", "verb", "code"], registry=REGISTRY)
CLUSTERS = Gauge("fleet_clusters", "Clusters by state", ["sync", "health"], registry=REGISTRY)
UNITS = Gauge("fleet_units", "Units by state", ["sync", "health"], registry=REGISTRY)
REPORT_AGE = Gauge("fleet_cluster_report_age_seconds", "Age of the last report", ["cluster"], registry=REGISTRY)
HOLDS = Gauge("fleet_holds_open", "Holds that wait for a person", registry=REGISTRY)
WORKER_FAILURES = Counter("fleet_worker_failures_total", "Bugs that ended a worker", ["cluster"], registry=REGISTRY)
STATE_WRITABLE = Gauge("fleet_state_writable", "1 while the hub's own state can be written", registry=REGISTRY)
CREDENTIAL_ENDS = Gauge(
    "fleet_credential_ends_timestamp_seconds", "When the credential of a cluster ends", ["cluster"], registry=REGISTRY
)
RENEWALS = Counter("fleet_credential_renewals_total", "Tokens renewed, by outcome", ["outcome"], registry=REGISTRY)
OLD_KEYS = Gauge(
    "fleet_old_keys",
    "Keys beside the one that seals the store, by whether an entry needs them",
    ["needed"],
    registry=REGISTRY,
)
UNREADABLE_ENTRIES = Gauge("fleet_unreadable_entries", "Encrypted entries that no key opens", registry=REGISTRY)
REVERIFIED = Counter(
    "fleet_reverified_total", "Objects compared anew because another version recorded them", registry=REGISTRY
)
CONVERGED = Histogram(
    "fleet_commit_converged_seconds",
    "From fetch to all released units at the commit",
    buckets=(0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600),
    registry=REGISTRY,
)
HTTP_REQUESTS = Counter(
    "fleet_http_requests_total", "Requests to the API", ["method", "route", "code"], registry=REGISTRY
)


@dataclass(frozen=True, slots=True)
class CommitTrace:
    """The ids of one commit's trace."""

    trace_id: int  # 128 bits
    root_id: int  # 64 bits

    @property
    def trace_hex(self) -> str:
        """As OTLP viewers and logs show it."""
        return f"{self.trace_id:032x}"


def trace_of(installation: str, commit: str) -> CommitTrace:
    """The trace of a commit: the same in every process of the same installation."""
    seed = hashlib.sha256(f"fleet-trace\0{installation}\0{commit}".encode()).digest()
    return CommitTrace(int.from_bytes(seed[:16], "big") or 1, int.from_bytes(seed[16:24], "big") or 1)


def cluster_span_of(installation: str, commit: str, cluster: str) -> int:
    """The id of a cluster's span in a commit's trace: the same in every process, so that units find their parent."""
    seed = hashlib.sha256(f"fleet-cluster\0{installation}\0{commit}\0{cluster}".encode()).digest()
    return int.from_bytes(seed[:8], "big") or 1


_span_id: contextvars.ContextVar[int] = contextvars.ContextVar("fleet_span_id", default=0)
_trace_id: contextvars.ContextVar[int] = contextvars.ContextVar("fleet_trace_id", default=0)


class Traces:
    """Sends finished spans over OTLP/HTTP; without an endpoint it does nothing and imports nothing."""

    def __init__(self, endpoint: str, *, version: str, installation: str = "default") -> None:
        self.installation = installation
        self._provider = _provider(endpoint, version) if endpoint else None

    def span(
        self,
        name: str,
        commit: str,
        start: float,
        end: float,
        *,
        attributes: Mapping[str, str | int | float] | None = None,
        events: Sequence[tuple[str, float, Mapping[str, str]]] = (),
        parent: int = 0,
        span_id: int = 0,
        failed: str = "",
    ) -> int:
        """Record one finished span of the commit's trace (wall-clock seconds); returns its id.

        parent: a span id of the same trace, by default the root; the root itself is the span of SPAN_COMMIT.
        """
        if self._provider is None:
            return 0
        from opentelemetry import context as otel_context
        from opentelemetry import trace
        from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags

        ids = trace_of(self.installation, commit)
        is_root = name == SPAN_COMMIT
        parent_context = SpanContext(ids.trace_id, parent or ids.root_id, is_remote=True, trace_flags=TraceFlags(1))
        empty = otel_context.Context()
        context = empty if is_root else trace.set_span_in_context(NonRecordingSpan(parent_context), empty)
        tokens = _span_id.set(ids.root_id if is_root else span_id), _trace_id.set(ids.trace_id)
        try:
            span = self._provider.get_tracer("fleet").start_span(name, context=context, start_time=int(start * 1e9))
        finally:
            _span_id.reset(tokens[0])
            _trace_id.reset(tokens[1])
        span.set_attribute(KEY_COMMIT, commit)
        for key, value in (attributes or {}).items():
            span.set_attribute(key, value)
        for text, moment, details in events:
            span.add_event(text, dict(details), int(moment * 1e9))
        if failed:
            span.set_status(Status(StatusCode.ERROR, failed))
        span.end(int(end * 1e9))
        return span.get_span_context().span_id

    def close(self) -> None:
        """Send what is left, at most 3 s. Blocking."""
        if self._provider is not None:
            self._provider.force_flush(3000)
            self._provider.shutdown()


def _provider(endpoint: str, version: str) -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class Ids(RandomIdGenerator):
        """Random ids, but for the spans whose id is fixed beforehand."""

        def generate_span_id(self) -> int:
            return _span_id.get() or super().generate_span_id()

        def generate_trace_id(self) -> int:
            return _trace_id.get() or super().generate_trace_id()

    resource = Resource.create({"service.name": "fleet", "service.version": version})
    provider = TracerProvider(resource=resource, id_generator=Ids())
    target = endpoint.rstrip("/")
    exporter = OTLPSpanExporter(endpoint=target if target.endswith("/v1/traces") else f"{target}/v1/traces", timeout=5)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=500))
    return provider


class _Lossy:
    """A stream for logs: a line that cannot be written (a full disk, a closed pipe) is lost and stops nobody."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            return self._stream.write(text)
        return 0

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def set_up_logs(level: str, stream: TextIO | None = None) -> None:
    """JSON lines on stderr with time, level, event and whatever was bound (trace id, cluster, unit, commit)."""
    # What malformed requests do to aiohttp's parser is counted, not logged: anybody could fill the disk with it (R43).
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping().get(level, logging.INFO)),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Lossy(stream or sys.stderr))),
        cache_logger_on_first_use=False,
    )
