"""Admission and conversion webhooks over HTTPS, as clusters have them: helpful, in the way, or broken.

The mutating webhook labels Deployments and may add a sidecar; the conversion webhook turns Gadgets of v1 into v2 and
back. Both are installed for one namespace (one group), so that other tests on the server do not meet them.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import ssl
import threading
import time
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from aiohttp import web
from testbed.authority import Authority
from testbed.controlplane import ControlPlane
from testbed.loopthread import LoopThread, serve
from testbed.rest import TimedOut
from testbed.workloads import deployment

INJECTED_LABEL = "injected.example.org/by"
DENIAL = "denied by the policy of the test bed"
NO_DRY_RUN = "this webhook has side effects and does not support dry run"
_ADMISSION = "admissionregistration.k8s.io/v1"
_IN_FORCE_SECONDS = 30.0


class Mood(Enum):
    """What a webhook does with the next requests."""

    LABEL = "adds a label to the object and to its pods"
    SIDECAR = "adds a container beside the label"
    PASS = "changes nothing"
    DENY = "answers no"
    NO_DRY_RUN = "answers no to dry-runs, and labels otherwise"
    FAIL = "answers 500"
    STALL = "never answers"


class WebhookServer:
    """Serves `/mutate` and `/convert`; set `mood` for the one and `converts` for the other at any time."""

    def __init__(self, folder: Path) -> None:
        self.mood = Mood.LABEL
        self.converts = True
        self._calls: list[str] = []
        self._guard = threading.Lock()
        self._authority = Authority.create(folder)
        self._thread = LoopThread("webhooks")
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_post("/mutate", self._mutate)
        app.router.add_post("/convert", self._convert)
        self._runner, self.port = self._thread.run(serve(app, tls=self._tls_context()))

    @property
    def calls(self) -> list[str]:
        """What was asked so far: "mutate CREATE Deployment web", "convert v1 v2"."""
        with self._guard:
            return list(self._calls)

    def client_config(self, path: str) -> dict[str, str]:
        """How an API server reaches a path of this server."""
        bundle = base64.b64encode(self._authority.ca_pem).decode()
        return {"url": f"https://127.0.0.1:{self.port}{path}", "caBundle": bundle}

    def close(self) -> None:
        self._thread.run(self._runner.cleanup())
        self._thread.close()

    def _tls_context(self) -> ssl.SSLContext:
        certificate, key = self._authority.issue_server("127.0.0.1", "localhost")
        path = self._authority.folder / "server.pem"
        path.write_bytes(certificate + key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _note(self, call: str) -> None:
        with self._guard:
            self._calls.append(call)

    async def _mutate(self, request: web.Request) -> web.Response:
        review = await request.json()
        asked = review["request"]
        self._note(f"mutate {asked['operation']} {asked['kind']['kind']} {asked.get('name', '')}")
        answer: dict[str, Any] = {"uid": asked["uid"], "allowed": True}
        match self.mood:
            case Mood.NO_DRY_RUN if asked.get("dryRun"):
                # v1 no longer lets a configuration declare side effects: a webhook that has some must refuse itself.
                answer |= {"allowed": False, "status": {"code": 400, "message": NO_DRY_RUN}}
            case Mood.FAIL:
                return web.Response(status=500, text="the webhook is broken")
            case Mood.STALL:
                await asyncio.Event().wait()
            case Mood.DENY:
                answer |= {"allowed": False, "status": {"code": 403, "message": DENIAL}}
            case Mood.LABEL | Mood.SIDECAR | Mood.NO_DRY_RUN:
                patch = json.dumps(_injection(asked["object"], sidecar=self.mood is Mood.SIDECAR))
                answer |= {"patchType": "JSONPatch", "patch": base64.b64encode(patch.encode()).decode()}
            case Mood.PASS:
                pass
        return web.json_response({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": answer})

    async def _convert(self, request: web.Request) -> web.Response:
        review = await request.json()
        asked = review["request"]
        wanted = asked["desiredAPIVersion"]
        if not self.converts:
            return web.Response(status=500, text="the conversion webhook is broken")
        converted = []
        for document in asked["objects"]:
            self._note(f"convert {document['apiVersion'].split('/')[1]} {wanted.split('/')[1]}")
            converted.append(_converted(document, wanted))
        answer = {"uid": asked["uid"], "convertedObjects": converted, "result": {"status": "Success"}}
        return web.json_response({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": answer})


def install_mutating(
    plane: ControlPlane,
    server: WebhookServer,
    namespace: str,
    *,
    failure_policy: str = "Fail",
    timeout_seconds: int = 5,
) -> str:
    """Let the webhook see the Deployments of one namespace, wait until it does; the configuration's name."""
    name = f"testbed-{namespace}"
    operations = ["CREATE", "UPDATE"]
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": operations, "resources": ["deployments"]}
    hook = {
        "name": "inject.testbed.example.org",
        "clientConfig": server.client_config("/mutate"),
        "admissionReviewVersions": ["v1"],
        "sideEffects": "NoneOnDryRun",
        "failurePolicy": failure_policy,
        "timeoutSeconds": timeout_seconds,
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "rules": [rule],
    }
    kind = {"apiVersion": _ADMISSION, "kind": "MutatingWebhookConfiguration"}
    plane.client().apply({**kind, "metadata": {"name": name}, "webhooks": [hook]})
    _wait_until_in_force(plane, server, namespace)
    return name


def uninstall_mutating(plane: ControlPlane, name: str) -> None:
    plane.client().delete(f"/apis/{_ADMISSION}/mutatingwebhookconfigurations/{name}")


def install_gadgets(plane: ControlPlane, server: WebhookServer, group: str) -> str:
    """Define the kind Gadget in a group, v1 and v2 by the conversion webhook; returns the definition's name.

    v1 spells `spec.size` as text ("3Gi"), v2 as `{amount: 3, unit: Gi}`; `spec.color` is red by default; v2 is stored.
    """
    text = {"type": "string"}
    amount = {"type": "object", "properties": {"amount": {"type": "integer"}, "unit": text}}
    conversion = {
        "strategy": "Webhook",
        "webhook": {"clientConfig": server.client_config("/convert"), "conversionReviewVersions": ["v1"]},
    }
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"gadgets.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": "Gadget", "plural": "gadgets", "singular": "gadget"},
            "versions": [_gadget_version("v1", text, storage=False), _gadget_version("v2", amount, storage=True)],
            "conversion": conversion,
        },
    }
    admin = plane.client()
    admin.apply(definition)
    for version in ("v1", "v2"):
        admin.wait(f"/apis/{group}/{version}/gadgets", lambda seen: seen.get("kind") == "GadgetList")
    return f"gadgets.{group}"


def gadget(group: str, namespace: str, name: str, *, size: Any = "3Gi", version: str = "v1") -> dict[str, Any]:
    return {
        "apiVersion": f"{group}/{version}",
        "kind": "Gadget",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"size": size},
    }


def _gadget_version(name: str, size: Mapping[str, Any], *, storage: bool) -> dict[str, Any]:
    color = {"type": "string", "default": "red"}
    spec = {"type": "object", "properties": {"size": size, "color": color}}
    schema = {"type": "object", "properties": {"spec": spec}}
    return {"name": name, "served": True, "storage": storage, "schema": {"openAPIV3Schema": schema}}


def _converted(document: dict[str, Any], wanted: str) -> dict[str, Any]:
    result = copy.deepcopy(document)
    result["apiVersion"] = wanted
    size = document.get("spec", {}).get("size")
    if size is not None and document["apiVersion"] != wanted:
        result["spec"]["size"] = _size_in(wanted.split("/")[1], size)
    return result


def _size_in(version: str, size: Any) -> Any:
    if version == "v1":
        return f"{size['amount']}{size['unit']}" if isinstance(size, dict) else size
    if isinstance(size, dict):
        return size
    digits = size.rstrip("KMGTi")
    return {"amount": int(digits), "unit": size[len(digits) :]}


def _injection(document: dict[str, Any], *, sidecar: bool) -> list[dict[str, Any]]:
    escaped = INJECTED_LABEL.replace("/", "~1")
    patch: list[dict[str, Any]] = []
    for path, metadata in (
        ("/metadata", document["metadata"]),
        ("/spec/template/metadata", document["spec"]["template"]["metadata"]),
    ):
        if "labels" not in metadata:
            patch.append({"op": "add", "path": f"{path}/labels", "value": {}})
        patch.append({"op": "add", "path": f"{path}/labels/{escaped}", "value": "testbed"})
    containers = document["spec"]["template"]["spec"]["containers"]
    if sidecar and all(container["name"] != "sidecar" for container in containers):
        value = {"name": "sidecar", "image": "registry.example/sidecar:1"}
        patch.append({"op": "add", "path": "/spec/template/spec/containers/-", "value": value})
    return patch


def _wait_until_in_force(plane: ControlPlane, server: WebhookServer, namespace: str) -> None:
    """The API server reads configurations from a watch: make dry-runs until it asks the webhook about one."""
    admin = plane.client()
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    mood, server.mood = server.mood, Mood.PASS
    before = len(server.calls)
    deadline = time.monotonic() + _IN_FORCE_SECONDS
    try:
        while len(server.calls) == before:
            admin.request("POST", path, deployment("probe", namespace), query={"dryRun": "All"})
            if time.monotonic() > deadline:
                raise TimedOut("the webhook is never asked")
            time.sleep(0.02)
    finally:
        server.mood = mood
