"""`fleet sim drift`: change an object by hand on a simulated cluster of the running demo."""

from __future__ import annotations

import http.client
import json
import sys
from typing import Any
from urllib.parse import urlsplit

from fleet.cli.client import Client, demo_note
from fleet.cli.output import clean
from fleet.errors import UsageInvalid

START = "./try demo, in another terminal"
# What somebody takes away by hand, by kind: fields that Git does say.
CHANGES: dict[str, dict[str, Any]] = {"Service": {"spec": {"selector": None}}, "ConfigMap": {"data": None}}


def drift(unit: str, cluster: str) -> int:
    """Drift an object of a unit (default: Service shop/web) on a cluster (default: the first)."""
    overlay, _, place = unit.partition("@")
    name = cluster or place or str(_control("GET", "/clusters")["clusters"][0]["name"])
    kind, namespace, thing = _object_of(f"{overlay}@{name}") if overlay else ("Service", "shop", "web")
    body = {"cluster": name, "kind": kind, "namespace": namespace, "name": thing, "changes": CHANGES[kind]}
    _control("POST", "/drift", body)
    sys.stdout.write(
        clean(f"{kind} {namespace}/{thing} changed on {name}; fleet history shows what comes of it") + "\n"
    )
    return 0


def _object_of(unit: str) -> tuple[str, str, str]:
    objects: list[dict[str, str]] = Client().get(f"/api/v1/units/{unit}")["status"].get("objects") or []
    for item in objects:
        if item["kind"] in CHANGES and item["group"] == "":
            return item["kind"], item["namespace"], item["name"]
    raise UsageInvalid(f"{unit} has no Service and no ConfigMap to change", next_step="fleet sim drift")


def _control(method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    note = demo_note()
    try:
        _, url, token = note.read_text(encoding="utf-8").split("\n")[:3]
    except (OSError, ValueError) as error:
        raise UsageInvalid("no demo is running here", where=str(note), next_step=START) from error
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection.request(method, path, json.dumps(body).encode() if body is not None else None, headers)
        response = connection.getresponse()
        answer = json.loads(response.read(1 << 20) or b"{}")
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise UsageInvalid("the demo does not answer", where=url, next_step=START) from error
    finally:
        connection.close()
    if response.status >= 400:
        raise UsageInvalid(
            str(answer.get("detail", f"HTTP {response.status}")), where=url, next_step="fleet sim --help"
        )
    return answer
