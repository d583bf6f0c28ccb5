"""The few built-in kinds that are served at two versions: from one to the other."""

from __future__ import annotations

from fleet.core.documents import Document, documents_at, mapping_at, text_at


def to_version(document: Document, api_version: str) -> Document:
    """The document at another API version of its group; what needs no change is only renamed."""
    out: Document = {**document, "apiVersion": api_version}
    if document.get("kind") == "HorizontalPodAutoscaler":
        return _autoscaler(out, api_version)
    return out


def _autoscaler(document: Document, api_version: str) -> Document:
    spec = dict(mapping_at(document, "spec"))
    if api_version == "autoscaling/v1":
        for metric in documents_at(spec, "metrics"):
            if text_at(metric, "resource", "name") == "cpu":
                average = mapping_at(metric, "resource", "target").get("averageUtilization")
                if average is not None:
                    spec["targetCPUUtilizationPercentage"] = average
        spec.pop("metrics", None)
        spec.pop("behavior", None)
        status = mapping_at(document, "status")
        kept = ("observedGeneration", "lastScaleTime", "currentReplicas", "desiredReplicas")
        now: Document = {key: status[key] for key in kept if key in status}
        now.setdefault("currentReplicas", 0)
        now.setdefault("desiredReplicas", 0)
        return {**document, "spec": spec, "status": now}
    average = spec.pop("targetCPUUtilizationPercentage", None)
    if average is not None:
        target: Document = {"type": "Utilization", "averageUtilization": average}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    status = {**mapping_at(document, "status")}
    status.setdefault("currentMetrics", None)
    status.setdefault("desiredReplicas", 0)
    return {**document, "spec": spec, "status": status}
