"""Gates of rollouts through a whole hub: what is measured decides, and what is not known never lets anything on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from badserver import BadServer, bad_server, vector
from hubworld import HubWorld, cluster_file, config_map, make_world, overlay

from fleet.core.gates import Verdict
from fleet.sim.workloads import KUBELET

CLUSTERS = ("dev-1", "prod-1")


def fleet_file(gate: str, **rollout: str) -> str:
    more = "".join(f", {key}: {value}" for key, value in rollout.items())
    steps = f"[{{name: dev, environments: [dev], gates: [{gate}]}}, {{name: prod, rest: true}}]"
    return (
        "apiVersion: fleet.internal/v1\nkind: Fleet\nmetadata: {name: default}\n"
        f"spec:\n  environments: [dev, prod]\n  rollout: {{steps: {steps}{more}}}\n"
    )


def errors(server: BadServer, **more: str) -> str:
    given = "".join(f", {key}: {value}" for key, value in {"interval": "1s", **more}.items())
    return f"{{name: errors, prometheus: {{url: '{server.url}', query: 'rate(errors[1m])', below: 0.01}}{given}}}"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with make_world(tmp_path, CLUSTERS) as made:
        yield made


@pytest.fixture
async def server() -> AsyncIterator[BadServer]:
    async with bad_server() as made:
        made.say(vector("0.5"))
        yield made


async def begin(world: HubWorld, gate: str, **rollout: str) -> None:
    """All clusters hold web 1; the gate is not asked for what is new everywhere."""
    files = {f"clusters/{name}.yaml": cluster_file(name, name.split("-")[0]) for name in CLUSTERS}
    world.commit(
        files | overlay("overlays/web", {"web": config_map("web", "1")}) | {"fleet.yaml": fleet_file(gate, **rollout)}
    )


def value_on(world: HubWorld, cluster: str) -> str:
    found: Any = world.sim.cluster(cluster).get("", "ConfigMap", "default", "web")
    return found["data"]["a"] if found else ""


def state_of(world: HubWorld, gate: str = "errors") -> Any:
    passages = world.opened.view.passages.all
    row = passages[-1].rows.get("web") if passages else None
    return row.gates.get(f"dev/{gate}") if row is not None else None


async def release(world: HubWorld, value: str) -> str:
    commit = world.commit({"overlays/web/web.yaml": config_map("web", value)})
    await world.until(lambda: value_on(world, "dev-1") == value, f"dev-1 at {value}")
    return commit


async def shown(world: HubWorld, commit: str) -> Any:
    _, answer = await world.call("GET", f"/api/v1/rollouts/{commit}")
    return answer


async def test_a_rollout_goes_on_by_a_good_reading_and_never_without_one(world: HubWorld, server: BadServer) -> None:
    await begin(world, errors(server))
    async with world.run():
        await world.until_everywhere(world.repo.head())
        for nonsense in ("", "<html>login</html>", vector(), vector("NaN"), "x" * (10 << 20)):
            server.say(nonsense)
            if nonsense == "":
                commit = await release(world, "2")
            seen = len(server.asked)
            await world.until(lambda seen=seen: len(server.asked) > seen + 1, "asked again")
            assert value_on(world, "prod-1") == "1"
            assert state_of(world).last.word == "none"
        (step, *_) = (await shown(world, commit))["steps"]
        (gate,) = step["gates"]
        assert (gate["state"], gate["wants"]) == ("waits", "below 0.01")
        assert "larger than 1 MiB" in gate["reading"]
        assert "gate errors wants below 0.01" in step["why"]
        server.say(vector("0.002", "0.001"))
        await world.until_everywhere(commit)
        _, events = await world.call("GET", "/api/v1/events?limit=1000")
        told = [entry["message"] for entry in events["items"]]
        assert f"web {commit[:7]}: gate errors of step dev passed: 0.002, the worst of 2" in told
        await world.until(lambda: world.opened.view.passages.all[-1].outcome, "over")
        (read,) = (await shown(world, commit))["readings"]
        assert (read["overlay"], read["step"], read["gate"], read["state"]) == ("web", "dev", "errors", "passed")
        assert (read["reading"], read["readAt"][:2]) == ("0.002, the worst of 2", "20")


async def test_bad_readings_halt_it_and_a_person_lets_it_be_asked_again(world: HubWorld, server: BadServer) -> None:
    await begin(world, errors(server, retries="1"))
    async with world.run():
        await world.until_everywhere(world.repo.head())
        commit = await release(world, "2")
        await world.until(lambda: world.opened.view.passages.all[-1].halted, "halted")
        assert value_on(world, "prod-1") == "1"
        one = await shown(world, commit)
        assert one["state"] == "halted"
        assert one["why"] == "web: gate errors of step dev: 0.5, not below 0.01"
        server.say(vector("0"))
        await world.call("POST", f"/api/v1/rollouts/{commit}:resume", {"reason": "the errors were another's"})
        await world.until_everywhere(commit)


async def test_bad_readings_take_it_back_where_asked_but_a_silent_server_does_not(
    world: HubWorld, server: BadServer
) -> None:
    await begin(world, errors(server, retries="0", timeout="3s"), onFailure="rollback")
    async with world.run():
        await world.until_everywhere(world.repo.head())
        server.mute = True
        await release(world, "2")
        await world.until(lambda: world.opened.view.passages.all[-1].halted, "halted")
        assert "no reading within 3s" in world.opened.view.passages.all[-1].halted.reason
        assert (value_on(world, "dev-1"), value_on(world, "prod-1")) == ("2", "1")
        server.say(vector("0.5"))
        await release(world, "3")
        await world.until(lambda: world.opened.view.passages.all[-1].outcome == "rolled back", "back")
        await world.until(lambda: value_on(world, "dev-1") in ("1", "2"), "dev-1 is back")
        assert value_on(world, "prod-1") == "1"


async def test_a_killed_hub_neither_asks_a_passed_gate_again_nor_shortens_a_window(
    world: HubWorld, server: BadServer
) -> None:
    server.say(vector("0"))
    await begin(world, f"{errors(server)}, {errors(server, window='4s').replace('errors,', 'calm,')}")
    async with world.run(kill=True):
        await world.until_everywhere(world.repo.head())
        commit = await release(world, "2")
        await world.until(lambda: state_of(world) and state_of(world).verdict is Verdict.PASSED, "errors passed")
        before = world.opened.view.passages.all[-1].rows["web"].gates
    assert before["dev/calm"].verdict is Verdict.WAITS
    async with world.run():
        await world.until(lambda: world.opened.view.fleet, "up")
        assert state_of(world) == before["dev/errors"]
        await world.until_everywhere(commit)
        calm = world.opened.view.passages.all[-1].rows["web"].gates["dev/calm"]
        assert calm.opened == before["dev/calm"].opened
        assert calm.last.asked_at - calm.good_since >= 4.0


def job(tag: str) -> str:
    return (
        "apiVersion: batch/v1\nkind: Job\nmetadata: {name: smoke, namespace: default}\nspec:\n  backoffLimit: 0\n"
        "  template:\n    spec:\n      restartPolicy: Never\n"
        f"      containers: [{{name: c, image: 'reg/smoke:{tag}'}}]\n"
    )


def verbs_on(world: HubWorld, cluster: str) -> list[str]:
    return [entry.verb for entry in world.sim.cluster(cluster).ledger.writes(0) if entry.resource == "jobs"]


SMOKE = "{name: smoke, job: {path: gates/smoke.yaml}, interval: 1s, retries: 0}"


async def test_a_job_that_completes_lets_it_on_and_is_gone_afterwards(world: HubWorld) -> None:
    await begin(world, SMOKE)
    world.commit({"gates/smoke.yaml": job("1")})
    async with world.run():
        await world.until_everywhere(world.repo.head())
        commit = await release(world, "2")
        await world.until_everywhere(commit)
        row = world.opened.view.passages.all[-1].rows["web"]
        assert row.gates["dev/smoke"].last.text.endswith(" completed")
        await world.until(lambda: verbs_on(world, "dev-1") == ["patch", "delete"], "gone")
        told: list[tuple[str, str]] = []
        while ("gate-job-delete", "done") not in told:
            _, audit = await world.call("GET", "/api/v1/audit?limit=1000")
            jobs = [each for each in audit["items"] if each["object"].startswith("batch/Job/default/smoke-")]
            told = [(each["action"], each["outcome"]) for each in jobs]
        ended = [("gate-job-delete", ""), ("gate-job-delete", "done")]
        assert told == [("gate-job", ""), ("gate-job", "done"), *ended]


async def test_the_end_of_a_job_is_no_deletion_of_the_step_that_proved_one(world: HubWorld) -> None:
    """The next step is judged by what its guide lost: the Job, gone before that, is none of it."""
    await begin(world, SMOKE)
    old = {"gates/smoke.yaml": job("1"), "fleet.yaml": fleet_file(SMOKE).replace("gates:", "soak: 3s, gates:")}
    two = {"web": config_map("web", "1"), "old": config_map("old", "1")}
    world.commit(old | overlay("overlays/web", two))
    async with world.run():
        await world.until_everywhere(world.repo.head())
        commit = world.commit(overlay("overlays/web", {"web": config_map("web", "2")}))
        await world.until(lambda: verbs_on(world, "dev-1") == ["patch", "delete"], "gone")
        assert value_on(world, "prod-1") == "1"
        await world.until_everywhere(commit)
        assert world.sim.cluster("prod-1").get("", "ConfigMap", "default", "old") is None
        later = await release(world, "3")
        await world.until_everywhere(later)


async def test_a_job_that_fails_halts_it_and_is_gone_afterwards(world: HubWorld) -> None:
    await begin(world, SMOKE.replace("interval", "timeout: 5s, interval"))
    world.commit({"gates/smoke.yaml": job("crash")})
    async with world.run():
        await world.until_everywhere(world.repo.head())
        await release(world, "2")
        halted = await world.until(lambda: world.opened.view.passages.all[-1].halted, "halted")
        assert "gate smoke of step dev: Job default/smoke-" in halted.reason
        assert value_on(world, "prod-1") == "1"
        await world.until(lambda: verbs_on(world, "dev-1") == ["patch", "delete"], "gone")


async def test_a_killed_hub_finds_its_job_again_and_starts_no_second_one(world: HubWorld) -> None:
    await begin(world, SMOKE.replace("interval", "timeout: 60s, interval"))
    world.commit({"gates/smoke.yaml": job("slow")})
    async with world.run(kill=True):
        await world.until_everywhere(world.repo.head())
        await release(world, "2")
        await world.until(lambda: verbs_on(world, "dev-1") == ["patch"], "started")
    mark = world.marks()["dev-1"]
    async with world.run(kill=True):
        ledger = world.sim.cluster("dev-1").ledger
        await world.until(
            lambda: [e for e in ledger.since(mark) if (e.verb, e.resource) == ("get", "jobs")][2:], "read"
        )
        assert verbs_on(world, "dev-1") == ["patch"]


@pytest.mark.parametrize("own", [False, True], ids=["the gate's time", "twin: its own deadline"])
async def test_a_job_that_was_ended_by_its_time_while_no_hub_ran_is_run_anew(world: HubWorld, own: bool) -> None:
    await begin(world, SMOKE.replace("interval", "timeout: 60s, interval"))
    slow = job("slow")
    world.commit({"gates/smoke.yaml": slow.replace("backoff", "activeDeadlineSeconds: 30\n  backoff") if own else slow})
    async with world.run(kill=True):
        await world.until_everywhere(world.repo.head())
        await release(world, "2")
        await world.until(lambda: verbs_on(world, "dev-1") == ["patch"], "started")
    cluster = world.sim.cluster("dev-1")
    (ran,) = cluster.list("batch", "Job", "default")
    ended = {"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]}
    kind, name = cluster.kind("batch", "Job"), ran["metadata"]["name"]
    cluster.objects.change(kind, "default", name, lambda old: {**old, "status": ended}, KUBELET, "status")
    async with world.run():
        if own:
            halted = await world.until(lambda: world.opened.view.passages.all[-1].halted, "halted")
            assert "failed: DeadlineExceeded" in halted.reason
            return
        await world.until(lambda: verbs_on(world, "dev-1") == ["patch", "delete", "patch"], "run anew")
        (again,) = cluster.list("batch", "Job", "default")
        assert again["metadata"]["name"] == name
        assert not world.opened.view.passages.all[-1].halted


@pytest.mark.parametrize("name", ["smoke", "other"])
async def test_a_job_that_is_mended_while_the_old_one_runs_is_asked_at_once(world: HubWorld, name: str) -> None:
    """The overlay stays at its commit, which has the old manifest, or none of that name."""
    smoke = SMOKE.replace("interval", "timeout: 300s, interval")
    await begin(world, smoke)
    world.commit({"gates/smoke.yaml": job("slow")})
    async with world.run():
        await world.until_everywhere(world.repo.head())
        commit = await release(world, "2")
        await world.until(lambda: verbs_on(world, "dev-1") == ["patch"], "started")
        mended = {f"gates/{name}.yaml": job("1"), "fleet.yaml": fleet_file(smoke.replace("smoke.yaml", f"{name}.yaml"))}
        world.commit(mended)
        await world.until(lambda: value_on(world, "prod-1") == "2", "went on by what is asked now")
        assert world.opened.view.passages.all[-1].commit == commit
        await world.until(lambda: verbs_on(world, "dev-1").count("delete") == 2, "both Jobs gone")


async def test_a_commit_that_leaves_a_job_as_it_is_lets_it_run_on(world: HubWorld) -> None:
    await begin(world, SMOKE.replace("interval", "timeout: 300s, interval"))
    world.commit({"gates/smoke.yaml": job("slow")})
    async with world.run():
        await world.until_everywhere(world.repo.head())
        await release(world, "2")
        await world.until(lambda: verbs_on(world, "dev-1") == ["patch"], "started")
        mark = world.marks()["dev-1"]
        later = world.commit({"notes.txt": "nothing of a gate"})
        await world.until(lambda: world.opened.view.fleet.commit == later, "in force")
        ledger = world.sim.cluster("dev-1").ledger
        await world.until(lambda: [e for e in ledger.since(mark) if e.resource == "jobs"][3:], "read on")
        assert verbs_on(world, "dev-1") == ["patch"]


async def audited(world: HubWorld) -> list[tuple[str, str]]:
    _, audit = await world.call("GET", "/api/v1/audit?limit=1000")
    return [(each["action"], each["outcome"]) for each in audit["items"] if each["action"].startswith("gate-job")]


async def test_a_suspend_reaches_a_job_that_is_about_to_be_created(world: HubWorld) -> None:
    """It was free when the gate was asked for; the cluster takes its time to say that there is no such Job yet."""
    await begin(world, SMOKE.replace("smoke.yaml}", "smoke.yaml, cluster: prod-1}"))
    world.commit({"gates/smoke.yaml": job("1")})
    slow = world.sim.cluster("prod-1").faults.add("slow", verbs={"get"}, resource="jobs", seconds=2.0)
    async with world.run():
        await world.until_everywhere(world.repo.head())
        await release(world, "2")
        await world.until(lambda: slow.hits, "asked for")
        await world.call("POST", "/api/v1/clusters/prod-1:suspend", {"reason": "disk swap"})
        last = await world.until(lambda: (state := state_of(world, "smoke")) and state.last, "read")
        assert (last.word, last.text) == ("none", "prod-1 is suspended, and gets no Job: disk swap")
        assert verbs_on(world, "prod-1") == []
        assert await audited(world) == [("gate-job", ""), ("gate-job", "failed: Withdrawn")]
        await world.call("POST", "/api/v1/clusters/prod-1:resume", {"reason": "done"})
        await world.until_everywhere(world.repo.head())
        assert verbs_on(world, "prod-1")[0] == "patch"


async def test_a_suspend_reaches_a_job_that_is_about_to_be_deleted(world: HubWorld) -> None:
    await begin(world, SMOKE)
    world.commit({"gates/smoke.yaml": job("1")})
    dev = world.sim.cluster("dev-1")
    async with world.run():
        await world.until_everywhere(world.repo.head())
        await release(world, "2")
        await world.until(lambda: verbs_on(world, "dev-1") == ["patch"], "started")
        slow = dev.faults.add("slow", verbs={"get"}, resource="jobs", seconds=2.0)
        await world.until(lambda: (state := state_of(world, "smoke")) and state.verdict is Verdict.PASSED, "passed")
        before = slow.hits
        await world.call("POST", "/api/v1/clusters/dev-1:suspend", {"reason": "disk swap"})
        while ("gate-job-delete", "failed: Withdrawn") not in await audited(world):
            await world.until(lambda before=before: slow.hits >= before, "asked for")
        assert verbs_on(world, "dev-1") == ["patch"], "it goes by its own ttl"


async def test_a_job_that_could_not_be_deleted_has_a_last_word_in_the_audit_log(world: HubWorld) -> None:
    await begin(world, SMOKE)
    world.commit({"gates/smoke.yaml": job("1")})
    world.sim.cluster("dev-1").faults.add("forbidden", verbs={"delete"}, resource="jobs")
    async with world.run():
        await world.until_everywhere(world.repo.head())
        await world.until_everywhere(await release(world, "2"))
        while len(told := await audited(world)) < 4:
            pass
        ended = [("gate-job-delete", ""), ("gate-job-delete", "failed: AdmissionDenied")]
        assert told == [("gate-job", ""), ("gate-job", "done"), *ended]


async def test_no_job_is_run_where_nothing_may_be_written(world: HubWorld) -> None:
    await begin(world, SMOKE.replace("smoke.yaml}", "smoke.yaml, cluster: prod-1}"))
    world.commit({"gates/smoke.yaml": job("1")})
    async with world.run():
        await world.until_everywhere(world.repo.head())
        await world.call("POST", "/api/v1/clusters/prod-1:suspend", {"reason": "disk swap"})
        await release(world, "2")
        last = await world.until(lambda: (state := state_of(world, "smoke")) and state.last, "read")
        assert (last.word, last.text) == ("none", "prod-1 is suspended, and gets no Job: disk swap")
        assert verbs_on(world, "prod-1") == []
        await world.call("POST", "/api/v1/clusters/prod-1:resume", {"reason": "done"})
        await world.until_everywhere(world.repo.head())
