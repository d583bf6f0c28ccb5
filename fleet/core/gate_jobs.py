"""The Job of a gate: what is created of its manifest, and what its conditions say of the change. Pure."""

from __future__ import annotations

import math

from fleet.core.documents import Document, documents_at, mapping_at, text_at
from fleet.core.gates import Ask, Read, Word
from fleet.core.objects import OWNER_ANNOTATION, Mark
from fleet.core.record import judge_mark, owner_text

GATE_KEY = "fleet.internal/gate"  # label: the gate's name; annotation: the run
_KEPT_SECONDS = 3600  # a Job whose hub is gone is removed by the cluster itself


def job_document(manifest: Document, mark: Mark, ask: Ask) -> Document:
    """The Job to create: a name for this run alone, our mark, and an end of its own.

    It carries the annotation of our mark and not the label that workers select by: it is in no unit's record, and no
    worker takes it for an object that left the repo. Finalizers and owners of the manifest are left out: nothing but
    this run's end keeps or removes it, and what it said stays to be read for an hour whatever the manifest asks.
    """
    metadata, spec = dict(mapping_at(manifest, "metadata")), dict(mapping_at(manifest, "spec"))
    limit, kept = spec.get("activeDeadlineSeconds"), spec.get("ttlSecondsAfterFinished")
    left = max(1, math.ceil(ask.seconds))
    notes: Document = {**mapping_at(metadata, "annotations")}
    labels: Document = {**mapping_at(metadata, "labels"), GATE_KEY: ask.gate.name}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "namespace": text_at(metadata, "namespace"),
            "name": f"{text_at(metadata, 'name')}-{ask.run}",
            "labels": labels,
            "annotations": {**notes, OWNER_ANNOTATION: owner_text(mark), GATE_KEY: ask.run},
        },
        "spec": {
            **spec,
            "ttlSecondsAfterFinished": max(kept, _KEPT_SECONDS) if isinstance(kept, int) else _KEPT_SECONDS,
            "activeDeadlineSeconds": min(limit, left) if isinstance(limit, int) else left,
        },
    }


def is_run(live: Document, mark: Mark, run: str) -> bool:
    """Whether a live Job is ours and of this run: nothing else is read, changed or deleted (R4)."""
    return judge_mark(live, mark).ours and text_at(live, "metadata", "annotations", GATE_KEY) == run


def judge_job(live: Document, limit: object) -> Read | None:
    """What a Job says by its conditions; None while it goes on.

    limit: its manifest's own deadline, None for none. An end that the gate's time alone set, which runs on the cluster
    also while no hub does, says nothing of the change.
    """
    name = f"Job {text_at(live, 'metadata', 'namespace')}/{text_at(live, 'metadata', 'name')}"
    for condition in documents_at(live, "status", "conditions"):
        if condition.get("status") != "True":
            continue
        if condition.get("type") == "Complete":
            return Read(Word.GOOD, f"{name} completed")
        if condition.get("type") == "Failed":
            deadline = mapping_at(live, "spec").get("activeDeadlineSeconds")
            if text_at(condition, "reason") == "DeadlineExceeded" and (limit is None or deadline != limit):
                return Read(Word.NONE, f"{name} did not end within the {deadline} s that its gate had left")
            why = ": ".join(filter(None, (text_at(condition, "reason"), text_at(condition, "message"))))
            return Read(Word.BAD, f"{name} failed: {why}" if why else f"{name} failed")
    return None
