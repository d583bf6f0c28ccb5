"""A gate's Job on a real control plane with its Job controller: one that completes lets on, one that fails halts."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

from hubworld import HubWorld, cluster_file, config_map, make_world, overlay
from testbed.controlplane import ControlPlane
from testbed.fates import fate
from testbed.workloads import job

SMOKE = "{name: smoke, job: {path: gates/smoke.yaml}, interval: 1s, retries: 0, timeout: 90s}"
STEPS = f"[{{name: dev, environments: [dev], gates: [{SMOKE}]}}, {{name: prod, rest: true}}]"


def value_on(world: HubWorld, name: str) -> str:
    found: Any = world.sim.cluster("prod-1").get("", "ConfigMap", "default", name)
    return found["data"]["a"] if found else ""


async def gate_of(world: HubWorld, commit: str) -> Any:
    """The gate as `fleet describe rollout` is told."""
    _, answer = await world.call("GET", f"/api/v1/rollouts/{commit}")
    (reading,) = answer["readings"]
    return answer, reading


async def test_a_real_job_that_completes_lets_the_step_pass_and_one_that_fails_halts_it(
    tmp_path: Path, real_cluster: ControlPlane
) -> None:
    name, smoke = (f"{word}-{uuid.uuid4().hex[:8]}" for word in ("web", "smoke"))
    client = real_cluster.client()

    def change(value: str, notes: dict[str, str] | None = None) -> dict[str, str]:
        manifest = json.dumps(job(smoke, "default", notes=notes))
        return {f"overlays/{name}/cm.yaml": config_map(name, value), "gates/smoke.yaml": manifest}

    def value_on_dev() -> str:
        return client.get(f"/api/v1/namespaces/default/configmaps/{name}")["data"]["a"]

    def jobs() -> list[Any]:
        found = client.get("/apis/batch/v1/namespaces/default/jobs")["items"]
        return [one for one in found if one["metadata"]["name"].startswith(smoke)]

    async with make_world(tmp_path, ["prod-1"]) as world:
        world.write_credentials()
        real_cluster.write_kubeconfig(world.root / "credentials" / "dev-1.kubeconfig")
        fleet = (
            f"apiVersion: fleet.internal/v1\nkind: Fleet\nmetadata: {{name: {name}}}\n"
            f"spec:\n  environments: [dev, prod]\n  rollout: {{steps: {STEPS}}}\n"
        )
        files = {f"clusters/{each}.yaml": cluster_file(each, each[:-2]) for each in ("dev-1", "prod-1")}
        first = world.commit(files | overlay(f"overlays/{name}", {"cm": ""}) | change("1") | {"fleet.yaml": fleet})
        async with world.run():
            await world.until_everywhere(first)

            good = world.commit(change("2"))
            await world.until(lambda: value_on(world, name) == "2", "it passes", 90)
            await world.until(lambda: world.opened.view.passages.all[-1].outcome, "over")
            answer, reading = await gate_of(world, good)
            assert (answer["state"], reading["state"]) == ("done", "passed")
            assert reading["reading"].startswith(f"Job default/{smoke}-")
            assert reading["reading"].endswith(" completed")
            await world.until(lambda: not jobs(), "deleted once that is durable")

            bad = world.commit(change("3", fate("fail", exit_code=3, message="checkout is broken")))
            await world.until(lambda: world.opened.view.passages.all[-1].halted, "halted", 90)
            assert (value_on_dev(), value_on(world, name)) == ("3", "2")
            answer, reading = await gate_of(world, bad)
            assert (answer["state"], reading["state"]) == ("halted", "failed")
            assert "gate smoke of step dev: Job default/" in answer["why"]
            assert " failed: BackoffLimitExceeded" in reading["reading"]
            assert reading["reading"].endswith("; pod failed, exit 3: checkout is broken"), reading["reading"]
            await world.until(lambda: not jobs(), "deleted as well")
