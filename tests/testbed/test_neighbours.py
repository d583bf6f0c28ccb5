"""Webhooks, other writers and the trace receiver of the test bed do what tests rely on."""

from __future__ import annotations

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from testbed.controlplane import ControlPlane
from testbed.otlp import OtlpReceiver
from testbed.rest import Refused
from testbed.webhooks import (
    DENIAL,
    INJECTED_LABEL,
    NO_DRY_RUN,
    Mood,
    WebhookServer,
    gadget,
    install_gadgets,
    install_mutating,
)
from testbed.workloads import deployment
from testbed.writers import Autoscaler, Rival


def test_a_mutating_webhook_adds_what_nobody_applied(
    api_server: ControlPlane, webhook_server: WebhookServer, namespace: str
) -> None:
    hands = api_server.client()
    hands.make_namespace(namespace)
    install_mutating(api_server, webhook_server, namespace)
    webhook_server.mood = Mood.SIDECAR
    made = hands.apply(deployment("web", namespace), manager="fleet")
    assert made["metadata"]["labels"] == {INJECTED_LABEL: "testbed"}
    assert [item["name"] for item in made["spec"]["template"]["spec"]["containers"]] == ["app", "sidecar"]
    again = hands.apply(deployment("web", namespace), manager="fleet")
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


@pytest.mark.parametrize(("mood", "words"), [(Mood.DENY, DENIAL), (Mood.FAIL, "failed calling webhook")])
def test_a_webhook_can_be_in_the_way(
    api_server: ControlPlane, webhook_server: WebhookServer, namespace: str, mood: Mood, words: str
) -> None:
    api_server.client().make_namespace(namespace)
    install_mutating(api_server, webhook_server, namespace)
    webhook_server.mood = mood
    with pytest.raises(Refused, match=words):
        api_server.client().apply(deployment("web", namespace))


def test_a_webhook_can_refuse_dry_runs_alone(
    api_server: ControlPlane, webhook_server: WebhookServer, namespace: str
) -> None:
    hands = api_server.client()
    hands.make_namespace(namespace)
    install_mutating(api_server, webhook_server, namespace)
    webhook_server.mood = Mood.NO_DRY_RUN
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    with pytest.raises(Refused, match=NO_DRY_RUN):
        hands.request("POST", path, deployment("web", namespace), query={"dryRun": "All"})
    assert hands.apply(deployment("web", namespace))["metadata"]["labels"]


def test_gadgets_are_converted_both_ways(
    api_server: ControlPlane, webhook_server: WebhookServer, namespace: str
) -> None:
    hands = api_server.client()
    hands.make_namespace(namespace)
    group = f"{namespace}.example.org"
    install_gadgets(api_server, webhook_server, group)
    hands.apply(gadget(group, namespace, "g"))
    newer = hands.get(f"/apis/{group}/v2/namespaces/{namespace}/gadgets/g")
    older = hands.get(f"/apis/{group}/v1/namespaces/{namespace}/gadgets/g")
    assert newer["spec"] == {"size": {"amount": 3, "unit": "Gi"}, "color": "red"}
    assert older["spec"] == {"size": "3Gi", "color": "red"}


def test_an_autoscaler_owns_replicas_through_scale(api_server: ControlPlane, namespace: str) -> None:
    hands = api_server.client()
    hands.make_namespace(namespace)
    hands.apply(deployment("web", namespace), manager="fleet")
    Autoscaler(api_server, namespace, "web").scale_to(4)
    seen = hands.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/web")
    owners = {(entry["manager"], entry.get("subresource")) for entry in seen["metadata"]["managedFields"]}
    assert seen["spec"]["replicas"] == 4
    assert ("kube-controller-manager", "scale") in owners


def test_a_rival_puts_its_value_back(api_server: ControlPlane, namespace: str) -> None:
    hands = api_server.client()
    hands.make_namespace(namespace)
    hands.apply(deployment("web", namespace), manager="fleet")
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/web"
    with Rival(api_server, path, {"spec": {"replicas": 7}}):
        hands.wait(path, lambda seen: seen["spec"]["replicas"] == 7)
        hands.apply(deployment("web", namespace), manager="fleet")
        hands.wait(path, lambda seen: seen["spec"]["replicas"] == 7)


def test_spans_arrive_with_their_parents(otlp: OtlpReceiver) -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=f"{otlp.endpoint}/v1/traces")))
    tracer = provider.get_tracer("test")
    with tracer.start_as_current_span("outer", attributes={"commit": "3f9c1ab"}), tracer.start_as_current_span("inner"):
        pass
    spans = {span.name: span for span in otlp.wait_for(lambda spans: len(spans) == 2)}
    assert spans["inner"].parent_id == spans["outer"].span_id
    assert spans["outer"].attributes == {"commit": "3f9c1ab"}
    assert spans["outer"].parent_id == ""
