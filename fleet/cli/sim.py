"""`fleet sim drift`: change an object by hand on a simulated cluster of the running demo."""

from __future__ import annotations

import http.client
import json
import sys
from typing import Any
from urllib.parse import urlsplit

from fleet.cli.client import demo_note
from fleet.cli.output import clean
from fleet.errors import UsageInvalid

START = "./try demo, in another terminal"


def drift(unit: str, cluster: str) -> int:
    """Drift an object of a unit (default: Service shop/web) on a cluster (default: the first)."""
    body: dict[str, Any] = {}
    overlay, _, place = unit.partition("@")
    if cluster or place:
        body["cluster"] = cluster or place
    if overlay:
        body["overlay"] = overlay
    answer = _control("POST", "/drift", body)
    sys.stdout.write(clean(f"{answer['what']} on {answer['cluster']}; fleet history shows what comes of it") + "\n")
    return 0


def _control(method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    note = demo_note()
    try:
        _, url, token = note.read_text(encoding="utf-8").split("\n")[:3]
    except (OSError, ValueError) as error:
        raise UsageInvalid(
            "no demo is running here", where=str(note), next_step="./try demo, in another terminal"
        ) from error
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection.request(method, path, json.dumps(body).encode(), headers)
        response = connection.getresponse()
        answer = json.loads(response.read(1 << 20) or b"{}")
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise UsageInvalid(
            "the demo does not answer", where=url, next_step="./try demo, in another terminal"
        ) from error
    finally:
        connection.close()
    if response.status >= 400:
        raise UsageInvalid(str(answer.get("error", f"HTTP {response.status}")), where=url)
    return answer
