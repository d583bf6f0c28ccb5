from __future__ import annotations

import asyncio
import base64
import json
import sys
from pathlib import Path

from pydantic import TypeAdapter
from rig import Hub, config_map
from testbed.controlplane import ControlPlane

from fleet.core.objects import Bundle
from fleet.core.rollout import Desired
from fleet.core.status import Health, Report, Sync

PROGRAM = Path(__file__).with_name("remote_worker.py")


async def test_the_worker_runs_in_another_process_on_serialised_orders(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    unit = hub.want("web", [config_map("a", shop)])
    config = base64.b64encode(json.dumps(api_server.kubeconfig()).encode()).decode()
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(sys.executable, str(PROGRAM), config, stdin=pipe, stdout=pipe)
    try:
        for bundle in hub.bundles.values():
            child.stdin.write(b"bundle " + TypeAdapter(Bundle).dump_json(bundle) + b"\n")
        child.stdin.write(b"desired " + TypeAdapter(Desired).dump_json(hub.desired) + b"\n")
        async with asyncio.timeout(40):
            while True:
                report = TypeAdapter(Report).validate_json(await child.stdout.readline())
                found = [item for item in report.units if item.unit == unit]
                if found and (found[0].sync, found[0].health) == (Sync.SYNCED, Health.HEALTHY):
                    break
        assert (found[0].commit, report.desired_sequence) == ("a" * 40, 1)
        assert api_server.client().get(f"/api/v1/namespaces/{shop}/configmaps/a")["data"] == {"a": "1"}
    finally:
        child.stdin.close()
        await child.wait()
