"""Rollouts over the API: what is shown, and orders that are kept for the loop that carries them out."""

from __future__ import annotations

from api.conftest import HEAD, Api

from fleet.core.advance import Advance, StepState, StepView
from fleet.core.ids import ClusterName, OverlayName, UnitName
from fleet.core.passage import Passage, Passages, Row, Stop
from fleet.core.status import Blocker, Standing

WEB = OverlayName("web")
NAME = f"/api/v1/rollouts/{HEAD[:7]}"


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
