"""Rollouts over the API: what is shown, and orders that are kept for the loop that carries them out."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

from api.conftest import HEAD, Api

from fleet.core.advance import Advance, StepState, StepView
from fleet.core.fleet import Unknown
from fleet.core.forecast import Course, Leg, encode_courses
from fleet.core.ids import ClusterName, Digest, OverlayName, Revision, UnitName
from fleet.core.passage import Last, Passage, Passages, Row, Stop
from fleet.core.problems import Origin, Problem, Severity
from fleet.core.results import Rendered
from fleet.core.rollout_facts import Condition, RowFacts, UnitFact
from fleet.core.rollout_policy import Step
from fleet.core.status import Blocker, Standing
from fleet.core.steps import Stage
from fleet.core.view import Outlook

WEB = OverlayName("web")
NAME = f"/api/v1/rollouts/{HEAD[:7]}"
BROKEN = Problem(Severity.ERROR, "FieldUnknown", "spec.bogus", Origin("overlays/web/overlay.yaml", 3))
ONCE = {"eu-1": "1", "eu-2": "2", "eu-3": "2"}  # clusters, and the digit of the commit that each held before


def give(api: Api, **more: object) -> None:
    passage = Passage(HEAD, api.now - 60, {WEB: Row({ClusterName("eu-1"): "b"})}, overlays=(WEB,), **more)
    step = StepView(WEB, "prod", 1, 2, StepState.RUNS, "waits for eu-2", ((ClusterName("eu-2"), "starts"),))
    unit = UnitName(WEB, ClusterName("eu-2"))
    api.view.passages = Passages((passage,))
    api.view.advances = {HEAD: Advance(passage, steps=(step,))}
    api.view.waits = {unit: Blocker(Standing.WAITS, "rollout", "waits for step prod", api.now - 30)}


async def test_a_rollout_says_what_it_waits_for_which_cluster_holds_it_up_and_since_when(api: Api) -> None:
    give(api)
    status, listed = await api.call("GET", "/api/v1/rollouts", role="viewer")
    assert (status, [item["commit"] for item in listed["items"]]) == (200, [HEAD])
    _, one = await api.call("GET", NAME, role="viewer")
    assert (one["state"], one["why"]) == ("runs", "step prod: waits for eu-2")
    (step,) = one["steps"]
    assert (step["done"], step["total"]) == (1, 2)
    assert step["heldUpBy"][0] | {"since": ""} == {"cluster": "eu-2", "why": "starts", "since": "", "ageSeconds": 30.0}
    _, unit = await api.call("GET", "/api/v1/units/web@eu-2", role="viewer")
    assert unit["status"]["blockedBy"][0]["reason"] == "waits for step prod"


async def test_a_halted_rollout_names_its_unit(api: Api) -> None:
    give(api, halted=Stop("new pod crashes, exit 1", "hub", 1.0, UnitName(WEB, ClusterName("eu-1"))))
    _, one = await api.call("GET", NAME)
    assert (one["state"], one["why"]) == ("halted", "web@eu-1: new pod crashes, exit 1")
    assert one["failed"] == "web"


async def test_a_rollout_that_is_halted_and_paused_says_both(api: Api) -> None:
    halt = Stop("new pod crashes, exit 1", "hub", 1.0, UnitName(WEB, ClusterName("eu-1")))
    give(api, halted=halt, paused=Stop("wait for the fair", "mara", 0.5))
    _, one = await api.call("GET", NAME)
    why = "web@eu-1: new pod crashes, exit 1; paused by mara: wait for the fair"
    assert (one["state"], one["why"]) == ("halted", why)
    give(api, paused=Stop("wait for the fair", "mara", 0.5))
    _, one = await api.call("GET", NAME)
    assert (one["state"], one["why"]) == ("paused", "mara: wait for the fair")


async def test_what_went_back_is_told_with_the_commits_that_clusters_hold_again_and_counts_no_more(api: Api) -> None:
    held = {ClusterName(name): Rendered(Digest("a"), Revision(letter * 40)) for name, letter in ONCE.items()}
    row = Row(dict.fromkeys(held, "b"), before=held, done=True, back=True)
    api.view.passages = Passages((Passage(HEAD, api.now - 60, {WEB: row}, overlays=(WEB,), outcome="rolled back"),))
    _, one = await api.call("GET", NAME)
    told = [{"overlay": "web", "to": ["2" * 40, "1" * 40], "clusters": 3}]
    assert (one["reverts"], one["units"], one["there"]) == (told, 0, 0)
    line = Passage(HEAD, api.now - 60, overlays=(WEB,), outcome="rolled back")
    api.view.passages = Passages((line,), last={WEB: Last(HEAD, api.now - 60, row)})
    assert (await api.call("GET", NAME))[1]["reverts"] == told
    give(api)
    assert (await api.call("GET", NAME))[1]["reverts"] == []


async def test_an_aborted_overlay_counts_as_nowhere_through_and_one_that_was_done_as_it_is(api: Api) -> None:
    rows = {
        WEB: Row({ClusterName("eu-1"): "b"}, done=True, cut=True),
        OverlayName("api"): Row({ClusterName("eu-1"): "b", ClusterName("eu-2"): "b"}, done=True),
    }
    api.view.passages = Passages((Passage(HEAD, api.now - 60, rows, overlays=tuple(rows), outcome="aborted"),))
    _, one = await api.call("GET", NAME)
    assert (one["units"], one["there"]) == (3, 2)


async def test_a_rollback_is_bound_to_the_rollout_that_is_the_latest_when_it_is_asked_for(api: Api) -> None:
    held = {ClusterName("eu-1"): Rendered(Digest("a"), Revision("1" * 40))}
    row = Row(dict.fromkeys(held, "b"), before=held)
    api.view.passages = Passages((Passage(HEAD, api.now - 60, {WEB: row}, overlays=(WEB,)),))
    status, asked = await api.call("POST", "/api/v1/overlays/web:rollback", {"reason": "r"}, role="operator")
    assert (status, asked["target"]) == (202, f"web - {HEAD}")


async def test_an_overlay_whose_file_broke_goes_back_where_a_rollout_of_it_is_known(api: Api) -> None:
    assert api.view.fleet is not None
    api.view.fleet = replace(api.view.fleet, overlays={}, units={})
    assert (await api.call("POST", "/api/v1/overlays/web:rollback", {"reason": "r"}))[0] == 404
    held = {ClusterName("eu-1"): Rendered(Digest("a"), Revision("1" * 40))}
    row = Row(dict.fromkeys(held, "b"), before=held)
    api.view.passages = Passages((Passage(HEAD, api.now - 60, {WEB: row}, overlays=(WEB,)),))
    status, problem = await api.call("POST", "/api/v1/overlays/web:rollback", {"reason": "r"})
    assert (status, "left Git" in problem["detail"]) == (404, True), "it was dropped on purpose"
    hides = (
        Unknown(overlays={WEB: BROKEN}),
        Unknown(incomplete={ClusterName("eu-1"): BROKEN}),
        Unknown(unnamed=(BROKEN,)),
    )
    for unknown in hides:
        api.view.fleet = replace(api.view.fleet, unknown=unknown)
        assert (await api.call("POST", "/api/v1/overlays/web:rollback", {"reason": "r"}))[0] == 202, unknown
        assert (await api.call("POST", "/api/v1/overlays/nope:rollback", {"reason": "r"}))[0] == 404
    for elsewhere in (Unknown(overlays={OverlayName("ui"): BROKEN}), Unknown(incomplete={ClusterName("us-1"): BROKEN})):
        api.view.fleet = replace(api.view.fleet, unknown=elsewhere)
        assert (await api.call("POST", "/api/v1/overlays/web:rollback", {"reason": "r"}))[0] == 404, elsewhere


async def test_an_order_names_its_rollout_by_seven_digits_or_more(api: Api) -> None:
    give(api)
    for digits in (1, 6):
        for path in (NAME[: -7 + digits], f"{NAME[: -7 + digits]}:approve", f"{NAME[: -7 + digits]}:abort"):
            body = {"reason": "r", "step": "prod"} if path.endswith("approve") else {"reason": "r"}
            status, problem = await api.call("POST" if ":" in path else "GET", path, body if ":" in path else None)
            assert status == 404
            assert "7 digits" in problem["detail"]


def give_history(api: Api, rollouts: int) -> None:
    """Of one cluster that took 40, 41, ... s; the look was 10 s ago."""
    cluster = ClusterName("eu-1")
    stage = Stage(Step("prod", Origin("fleet.yaml", 1), rest=True), (cluster,))
    facts = RowFacts((stage,), {cluster: UnitFact("b", released=True, condition=Condition.BUSY)}, 600.0)
    courses = tuple(Course({"prod": Leg(1, 40.0 + n, (40.0 + n,))}) for n in range(rollouts))
    api.view.outlook = Outlook({WEB: facts}, {WEB: courses}, clock=100.0, wall=api.now - 10)


async def test_a_rollout_says_when_it_ends_and_on_what_that_rests(api: Api) -> None:
    give(api)
    give_history(api, 9)
    _, one = await api.call("GET", NAME, role="viewer")
    found = one["forecast"]
    assert (found["afterSeconds"], found["beforeSeconds"]) == (40.0, 48.0)
    assert found["basis"] == "from 9 earlier rollouts of web"
    assert found["endsAfter"] < found["endsBefore"]
    give_history(api, 0)
    _, one = await api.call("GET", NAME, role="viewer")
    assert "endsAfter" not in one["forecast"]
    assert one["forecast"]["basis"] == "no forecast for web: no history"


async def test_the_stream_tells_each_rollout_whole_when_what_it_waits_for_changes(api: Api) -> None:
    give(api)
    give_history(api, 9)
    headers = {"Authorization": f"Bearer {api.keys['viewer']}", "Last-Event-ID": "0"}
    async with api.session.get(api.url + "/api/v1/stream", headers=headers) as answer:

        async def told() -> dict:
            async with asyncio.timeout(20):
                async for line in answer.content:
                    if line.startswith(b"data:") and (found := json.loads(line[5:])).get("kind") == "Rollout":
                        return found
            raise AssertionError("the stream ended")

        first = await told()
        assert (first["commit"], first["why"]) == (HEAD, "step prod: waits for eu-2")
        assert first["steps"][0]["heldUpBy"][0]["cluster"] == "eu-2"
        assert first["forecast"]["basis"] == "from 9 earlier rollouts of web"
        api.view.version += 1  # nothing that matters
        give(api, halted=Stop("new pod crashes", "hub", 1.0))
        api.view.version += 1
        assert (await told())["state"] == "halted"


async def test_orders_are_kept_and_audited_and_need_a_reason_and_the_right_role(api: Api) -> None:
    give(api)
    assert (await api.call("POST", f"{NAME}:pause", {"reason": "x"}, role="viewer"))[0] == 403
    assert (await api.call("POST", f"{NAME}:pause", {}))[0] == 422
    assert (await api.call("POST", "/api/v1/rollouts/0000000:pause", {"reason": "x"}))[0] == 404
    for kind in ("pause", "resume", "promote", "abort"):
        status, row = await api.call("POST", f"{NAME}:{kind}", {"reason": "disk swap"}, role="operator")
        assert (status, row["kind"], row["target"]) == (202, f"rollout-{kind}", HEAD)
    status, row = await api.call("POST", f"{NAME}:approve", {"step": "prod"}, role="operator")
    assert (status, row["target"]) == (202, f"{HEAD} prod")
    body = {"reason": "r", "to": "abc1"}
    status, row = await api.call("POST", "/api/v1/overlays/web:rollback", body, role="operator")
    assert (status, row["kind"], row["target"]) == (202, "rollout-rollback", "web abc1")
    assert (await api.call("POST", "/api/v1/overlays/nope:rollback", {"reason": "r"}))[0] == 404
    assert api.bells.rollouts.is_set()
    _, audit = await api.call("GET", "/api/v1/audit?limit=100")
    assert [entry["action"] for entry in audit["items"]].count("rollout-pause") == 1


async def test_the_history_of_an_overlay_is_for_whoever_plans_and_damage_is_no_history(api: Api) -> None:
    path = "/api/v1/overlays/web/courses"
    assert await api.call("GET", path, role="viewer") == (200, {"items": [], "total": 0})
    kept = [Course({"prod": Leg(2, 41.5, (20.0, 41.5))})]
    await api.state.set_value("courses/web", encode_courses(kept))
    _, found = await api.call("GET", path, role="viewer")
    assert found == {"items": [{"legs": {"prod": {"waves": 2, "seconds": 41.5, "landed": [20.0, 41.5]}}}], "total": 1}
    await api.state.set_value("courses/web", "[{")
    assert (await api.call("GET", path))[1]["items"] == []
    assert (await api.call("GET", "/api/v1/overlays/other/courses"))[0] == 404


async def test_a_promotion_is_bound_to_the_step_where_its_rollout_stands_when_it_is_asked_for(api: Api) -> None:
    give(api)
    give_history(api, 0)

    async def target(**step: str) -> str:
        status, row = await api.call("POST", f"{NAME}:promote", {"reason": "r", **step}, role="operator")
        assert status == 202
        return row["target"]

    assert (await target(), await target(step="prod")) == (f"{HEAD} web/prod", f"{HEAD} web/prod")
    assert await target(step="canary") == f"{HEAD} canary", "past another one than was shown it does not go"
    api.view.outlook = Outlook()
    assert (await target(), await target(step="prod")) == (HEAD, f"{HEAD} prod"), "twin: nobody knows yet"
    assert (await api.call("POST", f"{NAME}:promote", {"reason": "r", "step": "a b"}))[0] == 422
    assert (await api.call("POST", f"{NAME}:promote", {"step": "prod"}))[0] == 422
