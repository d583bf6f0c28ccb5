"""Pods that a change concerns: the images of their containers, and whether a controller replaces them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fleet.core.diff import quantity_of
from fleet.core.documents import Document, Json, at, documents_at, mapping_at, number_at, text_at
from fleet.core.ids import ObjectRef
from fleet.values import dataclass


@dataclass(frozen=True, slots=True, order=True)
class ImageChange:
    """One container's image; "" where there was none, or is none any more."""

    container: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Restart:
    """Pods that a changed template replaces. pods: as the manifest counts them; None: one on each node."""

    pods: int | None


_TEMPLATE = ("spec", "template")
_TEMPLATES: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("apps", "Deployment"): ("spec", "template"),
    ("apps", "StatefulSet"): ("spec", "template"),
    ("apps", "DaemonSet"): ("spec", "template"),
    ("apps", "ReplicaSet"): ("spec", "template"),
    ("", "ReplicationController"): ("spec", "template"),
    ("", "Pod"): (),
    ("batch", "Job"): ("spec", "template"),
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
}


def images_of(document: Document) -> dict[str, str]:
    """Image by container name; init containers are `init/NAME`."""
    group = text_at(document, "apiVersion").rpartition("/")[0]
    template = _TEMPLATES.get((group, text_at(document, "kind")))
    if template is None:
        return {}
    spec = mapping_at(document, *template, "spec")
    return {
        prefix + text_at(container, "name"): text_at(container, "image")
        for part, prefix in (("initContainers", "init/"), ("containers", ""))
        for container in documents_at(spec, part)
    }


def image_changes(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[ImageChange]:
    """Images that differ, by container name."""
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            yield ImageChange(name, before.get(name, ""), after.get(name, ""))


def restart_of(ref: ObjectRef, before: Document, after: Document) -> Restart | None:
    """Which pods a controller replaces when its pod template changes; None: none by itself.

    Replicas that an autoscaler sets are not known here; an absent count is one, as the API server reads it. A
    StatefulSet replaces those from its `partition` on.
    """
    if ref.group != "apps" or _is_same_template(mapping_at(before, *_TEMPLATE), mapping_at(after, *_TEMPLATE)):
        return None
    match ref.kind:
        case "Deployment":
            stands = at(after, "spec", "paused") is True
        case "StatefulSet" | "DaemonSet":
            stands = text_at(after, "spec", "updateStrategy", "type") == "OnDelete"
        case _:
            return None  # a ReplicaSet keeps its pods, whatever its template says
    if stands:
        return None
    if ref.kind == "DaemonSet":
        return Restart(None)
    kept = number_at(after, "spec", "updateStrategy", "rollingUpdate", "partition") if ref.kind == "StatefulSet" else 0
    pods = max(0, number_at(after, "spec", "replicas", default=1) - kept)
    return Restart(pods) if pods or not kept else None


def _is_same_template(before: Document, after: Document) -> bool:
    """Whether a server stores two pod templates alike: it writes `cpu: "0.1"` as `100m`."""
    return before == after or _with_amounts(before) == _with_amounts(after)


def _with_amounts(template: Document) -> Document:
    spec = mapping_at(template, "spec")
    parts: Document = {
        part: [{**one, "resources": _amounts_of(mapping_at(one, "resources"))} for one in documents_at(spec, part)]
        for part in ("initContainers", "containers")
    }
    return {**template, "spec": {**spec, **parts}}


def _amounts_of(resources: Document) -> Document:
    return {
        **resources,
        **{
            part: {name: _amount_of(amount) for name, amount in mapping_at(resources, part).items()}
            for part in ("requests", "limits")
        },
    }


def _amount_of(written: Json) -> Json:
    amount = quantity_of(written)
    return written if amount is None else str(amount.normalize())
