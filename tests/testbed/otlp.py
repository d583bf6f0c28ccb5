"""A receiver of OpenTelemetry over OTLP/HTTP (protobuf): what the product exports arrives as at a real collector."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from testbed.loopthread import LoopThread, serve
from testbed.rest import TimedOut

_PROTOBUF = "application/x-protobuf"


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """One span; ids are hex, parent_id is "" for a root; links are the span ids it points to."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    is_error: bool
    status_message: str
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any]
    events: tuple[str, ...]
    links: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReceivedPoint:
    """One data point of a metric; of a histogram, the count of what it saw."""

    metric: str
    unit: str
    value: float
    attributes: Mapping[str, Any]


class OtlpReceiver:
    """Collects spans and metric points; set `status` to refuse exports as a collector in trouble does."""

    def __init__(self) -> None:
        self.status = 200
        self.requests = 0
        self._spans: list[ReceivedSpan] = []
        self._points: list[ReceivedPoint] = []
        self._guard = threading.Lock()
        self._thread = LoopThread("otlp")
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/v1/traces", self._take_traces)
        app.router.add_post("/v1/metrics", self._take_metrics)
        self._runner, port = self._thread.run(serve(app))
        self.endpoint = f"http://127.0.0.1:{port}"

    @property
    def spans(self) -> list[ReceivedSpan]:
        with self._guard:
            return list(self._spans)

    @property
    def points(self) -> list[ReceivedPoint]:
        with self._guard:
            return list(self._points)

    def wait_for(self, holds: Callable[[list[ReceivedSpan]], Any], *, seconds: float = 10) -> list[ReceivedSpan]:
        """The spans as soon as they are as asked."""
        deadline = time.monotonic() + seconds
        while not holds(spans := self.spans):
            if time.monotonic() > deadline:
                raise TimedOut(f"spans after {seconds} s: {sorted({span.name for span in spans})}")
            time.sleep(0.02)
        return spans

    def close(self) -> None:
        self._thread.run(self._runner.cleanup())
        self._thread.close()

    async def _take_traces(self, request: web.Request) -> web.Response:
        self.requests += 1
        if self.status != 200:
            return web.Response(status=self.status)
        message = ExportTraceServiceRequest.FromString(await request.read())
        with self._guard:
            self._spans += _spans_in(message)
        return web.Response(body=ExportTraceServiceResponse().SerializeToString(), content_type=_PROTOBUF)

    async def _take_metrics(self, request: web.Request) -> web.Response:
        self.requests += 1
        if self.status != 200:
            return web.Response(status=self.status)
        message = ExportMetricsServiceRequest.FromString(await request.read())
        with self._guard:
            self._points += _points_in(message)
        return web.Response(body=ExportMetricsServiceResponse().SerializeToString(), content_type=_PROTOBUF)


def _spans_in(message: ExportTraceServiceRequest) -> Iterable[ReceivedSpan]:
    for group in message.resource_spans:
        resource = _attributes(group.resource.attributes)
        for scope in group.scope_spans:
            for span in scope.spans:
                yield ReceivedSpan(
                    name=span.name,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    start_ns=span.start_time_unix_nano,
                    end_ns=span.end_time_unix_nano,
                    is_error=span.status.code == span.status.STATUS_CODE_ERROR,
                    status_message=span.status.message,
                    attributes=_attributes(span.attributes),
                    resource=resource,
                    events=tuple(event.name for event in span.events),
                    links=tuple(link.span_id.hex() for link in span.links),
                )


def _points_in(message: ExportMetricsServiceRequest) -> Iterable[ReceivedPoint]:
    for group in message.resource_metrics:
        for scope in group.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                for point in getattr(metric, kind).data_points if kind else ():
                    yield ReceivedPoint(metric.name, metric.unit, _number(point), _attributes(point.attributes))


def _number(point: Any) -> float:
    if hasattr(point, "count"):
        return float(point.count)
    return float(point.as_int if point.WhichOneof("value") == "as_int" else point.as_double)


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind) if kind else None
