"""What becomes of pods on a control plane with controllers, chosen by a label or annotation on the pod template.

`crash` (CrashLoopBackOff; `testbed/exit-code`, `testbed/message`), `pull` (ImagePullBackOff), `unready` (runs, never
Ready), `fail` (ends with the exit code), `run` (a Job's pod that does not end) are played by kwok (stages.yaml).
`unschedulable` is the real scheduler's verdict: admission gives such pods a node selector that no node satisfies.
"""

from __future__ import annotations

import time
from typing import Any, Literal

from testbed.rest import Rest, TimedOut

Fate = Literal["crash", "pull", "unready", "fail", "run", "unschedulable"]
_PODS = "/api/v1/namespaces/default/pods"
_IN_FORCE_SECONDS = 30.0
_ADMISSION = "admissionregistration.k8s.io/v1"
_IS_UNSCHEDULABLE = (
    "(has(object.metadata.labels) && object.metadata.labels[?'testbed/fate'].orValue('') == 'unschedulable') || "
    "(has(object.metadata.annotations) && object.metadata.annotations[?'testbed/fate'].orValue('') == 'unschedulable')"
)


def fate(kind: Fate, *, exit_code: int = 1, message: str = "") -> dict[str, str]:
    """Annotations for a pod template that give its pods this fate."""
    notes: dict[str, str] = {"testbed/fate": kind}
    if kind in ("crash", "fail"):
        notes["testbed/exit-code"] = str(exit_code)
        notes["testbed/message"] = message
    return notes


def install_fates(admin: Rest) -> None:
    """Install the admission rule behind `unschedulable` and wait until it is in force."""
    for document in _policy():
        admin.apply(document)
    probe = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "probe-", "annotations": fate("unschedulable")},
        "spec": {"containers": [{"name": "app", "image": "probe"}]},
    }
    deadline = time.monotonic() + _IN_FORCE_SECONDS
    while "nodeSelector" not in admin.request("POST", _PODS, probe, query={"dryRun": "All"})["spec"]:
        if time.monotonic() > deadline:
            raise TimedOut("the admission rule of the test bed is not in force")
        time.sleep(0.05)


def _policy() -> list[dict[str, Any]]:
    pods = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    mutation = "[JSONPatch{op: 'add', path: '/spec/nodeSelector', value: {'testbed/nowhere': 'true'}}]"
    policy = {
        "apiVersion": _ADMISSION,
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": "testbed-fates"},
        "spec": {
            "matchConstraints": {"resourceRules": [pods]},
            "matchConditions": [{"name": "unschedulable", "expression": _IS_UNSCHEDULABLE}],
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": mutation}}],
        },
    }
    binding = {
        "apiVersion": _ADMISSION,
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": "testbed-fates"},
        "spec": {"policyName": "testbed-fates"},
    }
    return [policy, binding]
