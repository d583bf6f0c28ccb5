"""Actions: who may, what is written down, and that each happens once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from api.conftest import HEAD, Api

from fleet.api.app import ROUTES
from fleet.core.audit import AuditEntry
from fleet.core.fleet import Unknown
from fleet.core.ids import ClusterName, Digest, Identity, ObjectRef, UnitName
from fleet.core.leaving import Leave, Leaving, encode_leaving
from fleet.core.problems import Origin, Problem, Severity
from fleet.core.recovery import words_of
from fleet.core.status import ASKS_RECOVERY, Blocker, HoldRequest, PendingDeletion, Standing
from fleet.core.sync_policy import Suspension
from fleet.errors import FetchFailed, Withdrawn
from fleet.ports.state import LEAVING, RECOVERED, HoldRow

LIST = Digest("abcdef" + "0" * 58)


async def actions_of(api: Api) -> list[str]:
    return [link.entry.action for link in await api.state.audit_entries()]


async def with_hold(api: Api) -> str:
    deletion = PendingDeletion(ObjectRef("", "Namespace", "", "shop"), "uid", Digest("d"), 0.0, ("31 objects",))
    request = HoldRequest(UnitName.parse("web@eu-1"), HEAD, "precious-kind", "would delete Namespace shop", (deletion,))
    row = await api.state.put_hold(HoldRow("", "web", HEAD, api.now, LIST, (request,), api.now + 3600))
    return row.id


# Access


async def test_missing_unknown_expired_and_revoked_tokens_get_the_same_answer(api: Api) -> None:
    _, row = await api.tokens.create("old", "viewer", 1)
    expired = api.keys["expired"] = (await api.tokens.create("short", "viewer", 1))[0]
    api.keys["revoked"], _ = await api.tokens.create("gone", "viewer", 3600)
    await api.state.revoke_token("gone", api.now)
    api.keys["unknown"], api.keys["garbage"] = expired[:-4] + "AAAA", "\t" + "x" * 500
    api.now += 2
    answers = [await api.call("GET", "/api/v1/status", role=role) for role in ("none", "expired", "revoked", "unknown")]
    assert all(answer == answers[0] for answer in answers)
    assert answers[0][0] == 401
    assert row.digest not in str(answers)
    assert (await api.call("GET", "/api/v1/status", role="none", Authorization="Basic eDp4"))[0] == 401


async def test_every_route_refuses_who_is_nobody_and_who_is_too_small(api: Api) -> None:
    for route in ROUTES:
        path = route.path.replace("{kind:clusters|overlays|units}", "clusters").replace("{name}", "eu-1")
        if route.role is None:
            continue
        status, problem = await api.call(route.method, path, {} if route.body else None, role="nobody")
        assert (status, problem["type"]) == (401, "urn:fleet:NotAuthenticated"), route
        if route.role != "viewer":
            status, problem = await api.call(route.method, path, {} if route.body else None, role="viewer")
            assert (status, problem["type"]) == (403, "urn:fleet:NotAllowed"), route
        if route.role == "admin":
            status, _ = await api.call(route.method, path, {} if route.body else None, role="operator")
            assert status == 403, route
    assert await actions_of(api) == []


# Sync, suspend, resume


async def test_a_sync_is_written_down_and_rings_and_a_repeated_key_is_the_same_operation(api: Api) -> None:
    headers = {"Idempotency-Key": "k-1"}
    status, first = await api.call("POST", "/api/v1/units/web@eu-1:sync", {}, role="operator", **headers)
    assert status == 202
    assert api.bells.fetch.is_set()
    assert api.bells.orders.is_set()
    _, again = await api.call("POST", "/api/v1/units/web@eu-1:sync", {}, role="operator", **headers)
    assert again["id"] == first["id"]
    _, other = await api.call("POST", "/api/v1/units/web@eu-1:sync", {}, role="operator")
    assert other["id"] != first["id"]
    _, listed = await api.call("GET", "/api/v1/operations?openOnly=true")
    assert {item["id"] for item in listed["items"]} == {first["id"], other["id"]}


async def test_a_key_that_stands_for_another_unit_is_refused_and_the_same_request_is_one_operation(api: Api) -> None:
    headers = {"Idempotency-Key": "k-1"}
    _, first = await api.call("POST", "/api/v1/units/web@eu-1:sync", {}, **headers)
    status, problem = await api.call("POST", "/api/v1/units/web@eu-2:sync", {}, **headers)
    assert (status, problem["type"]) == (422, "urn:fleet:RequestInvalid")
    assert first["id"] in problem["detail"]
    assert (await api.call("POST", "/api/v1/units/web@eu-1:sync", {}, **headers))[1]["id"] == first["id"]
    assert [row.id for row in await api.state.operations()] == [first["id"]]


async def test_an_override_needs_a_reason_and_is_audited(api: Api) -> None:
    path = "/api/v1/units/web@eu-1:sync"
    assert (await api.call("POST", path, {"override": True}))[0] == 422
    assert (await api.call("POST", path, {"override": True, "reason": "incident"}))[0] == 202
    assert await actions_of(api) == ["sync-override"]


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        ("fleet", "fleet"),
        ("clusters/eu-1", "cluster eu-1"),
        ("overlays/web", "overlay web"),
        ("units/web@eu-1", "unit web@eu-1"),
    ],
)
async def test_each_scope_is_suspended_and_resumed(api: Api, path: str, scope: str) -> None:
    body = {"reason": "disk swap", "until": "2030-01-01T00:00:00Z"}
    status, answer = await api.call("POST", f"/api/v1/{path}:suspend", body, role="operator")
    assert (status, answer["scope"], answer["owner"]) == (200, scope, "t-operator")
    assert [each.scope for each in await api.state.suspensions()] == [scope]
    assert (await api.call("POST", f"/api/v1/{path}:resume", {}, role="operator"))[0] == 200
    assert await api.state.suspensions() == ()
    assert (await api.call("POST", f"/api/v1/{path}:resume", {}, role="operator"))[0] == 404
    assert await actions_of(api) == ["suspend", "suspend", "resume", "resume"]


async def test_nobody_replaces_or_lifts_the_suspension_of_another_unseen(api: Api) -> None:
    """An incident is not over because somebody's nightly job is (R17)."""
    path, until = "/api/v1/fleet:", "2027-01-16T00:00:00Z"
    await api.call("POST", path + "suspend", {"reason": "etcd incident"}, role="operator")
    await api.call("POST", path + "suspend", {"reason": "nightly job", "until": until}, role="admin")
    assert [(each.owner, each.reason) for each in await api.state.suspensions()] == [
        ("t-admin", "nightly job"), ("t-operator", "etcd incident"),
    ]  # fmt: skip
    said = "fleet stays suspended by t-operator: etcd incident; fleet resume fleet --owner t-operator"
    assert await api.call("POST", path + "resume", {"reason": "job over"}) == (200, {"message": said})
    assert [each.reason for each in await api.state.suspensions()] == ["etcd incident"]
    status, problem = await api.call("POST", path + "resume", {})
    assert (status, problem["detail"]) == (409, "suspended by t-operator: etcd incident")
    assert problem["next"] == "ask; then fleet resume fleet --owner t-operator, or --all"
    assert (await api.call("POST", path + "resume", {"owner": "t-nobody"}))[0] == 409
    assert (await api.call("POST", path + "resume", {"owner": "t-operator", "all": True}))[0] == 422
    assert [each.reason for each in await api.state.suspensions()] == ["etcd incident"]
    assert [link.entry.reason for link in await api.state.audit_entries() if link.entry.outcome == "done"] == [
        "etcd incident", f"nightly job (until {until})", "was suspended by t-admin: nightly job; job over",
    ]  # fmt: skip


@pytest.mark.parametrize("body", [{"owner": "t-operator"}, {"all": True}])
async def test_the_suspension_of_another_is_lifted_once_that_is_said(api: Api, body: dict) -> None:
    await api.call("POST", "/api/v1/fleet:suspend", {"reason": "etcd incident"}, role="operator")
    assert await api.call("POST", "/api/v1/fleet:resume", body) == (200, {"message": "fleet goes on"})
    assert await api.state.suspensions() == ()


async def test_all_suspensions_of_a_scope_are_lifted_at_once_and_no_other(api: Api) -> None:
    for path in ("fleet", "clusters/eu-1"):
        for role in ("operator", "admin"):
            await api.call("POST", f"/api/v1/{path}:suspend", {"reason": role}, role=role)
    assert (await api.call("POST", "/api/v1/clusters/eu-1:resume", {"all": True}))[0] == 200
    assert [(each.scope, each.owner) for each in await api.state.suspensions()] == [
        ("fleet", "t-admin"), ("fleet", "t-operator"),
    ]  # fmt: skip


async def test_a_suspension_that_is_said_again_is_the_newer_one(api: Api) -> None:
    for reason in ("disk swap", "longer"):
        assert (await api.call("POST", "/api/v1/fleet:suspend", {"reason": reason}))[0] == 200
    assert [each.reason for each in await api.state.suspensions()] == ["longer"]


async def test_what_git_suspends_as_well_is_named_when_a_command_is_lifted(api: Api) -> None:
    assert api.view.fleet is not None
    freeze = Suspension("freeze", "t-admin", "", "fleet", Origin("fleet.yaml", 9))
    api.view.fleet = replace(api.view.fleet, suspend=freeze)
    for path in ("fleet", "clusters/eu-1"):
        await api.call("POST", f"/api/v1/{path}:suspend", {"reason": "x"})
    said = "fleet stays suspended by t-admin: freeze; edit fleet.yaml:9"
    assert (await api.call("POST", "/api/v1/fleet:resume", {}))[1] == {"message": said}
    assert (await api.call("POST", "/api/v1/clusters/eu-1:resume", {}))[1] == {"message": "cluster eu-1 goes on"}


BROKEN = Problem(Severity.ERROR, "FieldUnknown", "spec.bogus", Origin("overlays/web/overlay.yaml", 3))
OLD = UnitName.parse("old@eu-9")


async def leads(api: Api, how: str) -> None:
    """The hub leads old@eu-9, which the commit in force does not say."""
    assert api.view.fleet is not None
    match how:
        case "leaves":
            await api.state.set_value(LEAVING, encode_leaving(Leaving({OLD: Leave(HEAD)})))
        case "kept":
            unit = next(iter(api.view.fleet.units.values()))
            api.view.kept = {OLD: replace(unit, name=OLD)}
        case "hidden":
            api.view.fleet = replace(api.view.fleet, unknown=Unknown(units={OLD: BROKEN}))
        case "its files":
            unknown = Unknown(clusters={OLD.cluster: BROKEN}, overlays={OLD.overlay: BROKEN})
            api.view.fleet = replace(api.view.fleet, unknown=unknown)
        case _:
            api.put(str(OLD))


@pytest.mark.parametrize("how", ["leaves", "kept", "hidden", "its files", "seen"])
async def test_what_the_hub_leads_is_suspended_and_resumed_though_git_does_not_say_it(api: Api, how: str) -> None:
    """It may be amid a wipe, or be healed as it was before its file broke (R5, R17)."""
    paths = ["clusters/eu-9", "overlays/old", *(["units/old@eu-9"] if how != "its files" else [])]
    for path in paths:
        assert (await api.call("POST", f"/api/v1/{path}:suspend", {"reason": "x"}))[0] == 404
    await leads(api, how)
    for path in paths:
        status, answer = await api.call("POST", f"/api/v1/{path}:suspend", {"reason": "wrong cluster"})
        assert (status, answer.get("scope")) == (200, path.replace("s/", " "))
        assert (await api.call("POST", f"/api/v1/{path}:resume", {}))[0] == 200
    for path in ("clusters/old", "overlays/eu-9", "units/old@eu-1", "units/old", "clusters/eu-90"):
        assert (await api.call("POST", f"/api/v1/{path}:suspend", {"reason": "x"}))[0] == 404


async def test_what_leaves_and_cannot_be_read_keeps_nobody_from_stopping_the_rest(api: Api) -> None:
    await api.state.set_value(LEAVING, "{")
    assert (await api.call("POST", "/api/v1/clusters/eu-1:suspend", {"reason": "x"}))[0] == 200


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("clusters/nope", {"reason": "x"}, 404),
        ("overlays/nope", {"reason": "x"}, 404),
        ("units/nope", {"reason": "x"}, 404),
        ("clusters/eu-1", {}, 422),
        ("clusters/eu-1", {"reason": ""}, 422),
        ("clusters/eu-1", {"reason": "x", "until": "tomorrow"}, 422),
        ("clusters/eu-1", {"reason": "x", "until": "2030-01-01T00:00:00"}, 422),
        ("clusters/eu-1", {"reason": "x", "more": 1}, 422),
    ],
)
async def test_a_suspension_that_says_too_little_is_refused(api: Api, path: str, body: dict, status: int) -> None:
    assert (await api.call("POST", f"/api/v1/{path}:suspend", body))[0] == status
    assert await api.state.suspensions() == ()


# Holds


async def test_a_hold_is_approved_by_its_list_once(api: Api) -> None:
    hold = await with_hold(api)
    _, shown = await api.call("GET", f"/api/v1/holds/{hold}", role="viewer")
    assert shown["deletions"][0]["goesWith"] == ["31 objects"]
    path = f"/api/v1/holds/{hold}:approve"
    assert (await api.call("POST", path, {"listDigest": "fedcba"}, role="operator"))[0] == 409
    answers = await asyncio.gather(
        *(api.call("POST", path, {"listDigest": LIST[:6]}, role="operator") for _ in range(5))
    )
    assert sorted(status for status, _ in answers) == [200, 409, 409, 409, 409]
    _, shown = await api.call("GET", f"/api/v1/holds/{hold}")
    assert (shown["decision"], shown["decidedBy"]) == ("approved", "t-operator")
    outcomes = [link.entry.outcome for link in await api.state.audit_entries() if link.entry.action == "hold-approved"]
    assert sorted(outcomes) == ["", "", "", "", "", "done", *["refused: PreconditionFailed"] * 4]


async def test_a_rejection_needs_a_reason_and_shuts_the_door_for_an_approval(api: Api) -> None:
    hold = await with_hold(api)
    assert (await api.call("POST", f"/api/v1/holds/{hold}:reject", {}))[0] == 422
    assert (await api.call("POST", f"/api/v1/holds/{hold}:reject", {"reason": "keep"}))[0] == 200
    assert (await api.call("POST", f"/api/v1/holds/{hold}:approve", {"listDigest": LIST}))[0] == 409


async def with_approved(api: Api) -> tuple[str, list[AuditEntry]]:
    """A hold on three clusters that a person approved; what their workers write as they begin."""
    ref = ObjectRef("", "Namespace", "", "shop")
    units = [UnitName.parse(f"web@eu-{number}") for number in (1, 2, 3)]
    requests = tuple(
        HoldRequest(
            unit, HEAD, "precious-kind", "would delete", (PendingDeletion(ref, str(unit), Digest("d"), 0.0, ()),)
        )
        for unit in units
    )
    row = await api.state.put_hold(HoldRow("", "web", HEAD, api.now, LIST, requests, api.now + 3600))
    assert (await api.call("POST", f"/api/v1/holds/{row.id}:approve", {"listDigest": LIST}, role="operator"))[0] == 200
    begun = [AuditEntry(api.now, "w", "delete", unit=str(u), object=ref.key, uid=str(u), commit=HEAD) for u in units]
    return row.id, begun


async def test_a_rejection_takes_an_approval_back_and_says_what_had_gone_and_what_stays(api: Api) -> None:
    hold, begun = await with_approved(api)
    await api.state.write(begun[0])
    path = f"/api/v1/holds/{hold}:reject"
    assert (await api.call("POST", path, {"reason": "the wrong list"}, role="viewer"))[0] == 403
    api.parts.bells.orders.clear()
    status, answer = await api.call("POST", path, {"reason": "the wrong list"}, role="operator")
    assert (status, answer["decision"], answer["decidedBy"]) == (200, "rejected", "t-operator")
    assert [one["unit"] for one in answer["gone"]] == ["web@eu-1"]
    assert [one["unit"] for one in answer["deletions"]] == ["web@eu-2", "web@eu-3"]
    assert api.parts.bells.orders.is_set()
    entries = [link.entry for link in await api.state.audit_entries() if link.entry.action == "hold-rejected"]
    assert [(one.actor, one.reason, one.outcome) for one in entries] == [
        ("t-operator", "the wrong list", ""),
        ("t-operator", "the wrong list", "done"),
    ]
    for entry in begun[1:]:
        with pytest.raises(Withdrawn):
            await api.state.write(entry)
    _, seen = await api.call("GET", f"/api/v1/holds/{hold}")
    assert (seen["deletions"], seen["gone"]) == (answer["deletions"], [])
    for again in (("reject", {"reason": "x"}), ("approve", {"listDigest": answer["listDigest"]})):
        assert (await api.call("POST", f"/api/v1/holds/{hold}:{again[0]}", again[1]))[0] == 409


async def test_a_rejection_after_all_has_gone_is_refused_and_says_so(api: Api) -> None:
    hold, begun = await with_approved(api)
    for entry in begun:
        await api.state.write(entry)
    status, problem = await api.call("POST", f"/api/v1/holds/{hold}:reject", {"reason": "x"}, role="operator")
    assert (status, problem["type"]) == (409, "urn:fleet:PreconditionFailed")
    assert "has gone or is on its way" in str(problem)
    entries = [link.entry for link in await api.state.audit_entries() if link.entry.action == "hold-rejected"]
    assert [one.outcome for one in entries] == ["", "refused: PreconditionFailed"]
    assert (await api.call("GET", f"/api/v1/holds/{hold}"))[1]["decision"] == "approved"


# Recoveries


async def test_a_recovery_is_confirmed_for_the_list_that_was_seen(api: Api) -> None:
    asks = Blocker(Standing.HELD, "cluster eu-1", "its record was rebuilt", api.now, "", ASKS_RECOVERY)
    api.put("web@eu-1", blocked_by=(asks,))
    _, seen = await api.call("GET", "/api/v1/recovery")
    api.put("web@eu-2", blocked_by=(asks,))  # a cluster that begins to ask meanwhile
    confirm = {"listDigest": seen["listDigest"][:6]}
    status, problem = await api.call("POST", "/api/v1/fleet:recover", confirm)
    assert (status, problem["type"]) == (409, "urn:fleet:PreconditionFailed")
    assert not await api.state.get_value(RECOVERED)
    api.put("web@eu-2")
    status, done = await api.call("POST", "/api/v1/fleet:recover", confirm)
    assert (status, done["message"]) == (200, "the hub writes to eu-1 again")
    assert list(words_of(await api.state.get_value(RECOVERED) or "")) == ["eu-1"]
    assert [link.entry.outcome for link in await api.state.audit_entries()] == ["", "done"]


@pytest.mark.parametrize("error", [None, FetchFailed("the repo was not fetched", why="no answer")])
async def test_no_recovery_is_confirmed_before_git_was_read(api: Api, error: FetchFailed | None) -> None:
    """Nobody has compared what is shown: neither what is gone from Git, nor what would be written."""
    asks = Blocker(Standing.HELD, "cluster eu-1", "its record was rebuilt", api.now, "", ASKS_RECOVERY)
    api.put("web@eu-1", blocked_by=(asks,))
    api.view.head.is_taken, api.view.head.error = False, error
    _, seen = await api.call("GET", "/api/v1/recovery")
    for body in ({}, {"listDigest": seen["listDigest"], "unheard": True}):
        status, problem = await api.call("POST", "/api/v1/fleet:recover", body)
        assert (status, problem["type"]) == (409, "urn:fleet:PreconditionFailed")
        assert problem["title"] == "nothing is confirmed: Git was not read yet"
        assert ("no answer" in str(problem)) == (error is not None)
        assert "then fleet recover" in str(problem)
    assert not await api.state.get_value(RECOVERED)
    assert not await api.state.audit_entries()
    api.view.head.is_taken = True  # a later fetch that fails takes nothing from what was compared
    assert (await api.call("POST", "/api/v1/fleet:recover", {}))[0] == 200


@pytest.mark.parametrize("silent", ["not in this process", "never", "by the backup alone"])
async def test_no_recovery_is_confirmed_before_all_clusters_of_its_overlays_were_heard_but_by_a_further_word(
    api: Api, silent: str
) -> None:
    """What a rollback took back may stand on their parent objects alone."""
    asks = Blocker(Standing.HELD, "cluster eu-1", "its record was rebuilt", api.now, "", ASKS_RECOVERY)
    api.put("web@eu-1", blocked_by=(asks,))
    name = UnitName.parse("web@eu-2")
    if silent == "never":
        del api.view.units[name]
    elif silent == "by the backup alone":  # it waits for its step by what is known, which is of an earlier time
        del api.view.units[name]
        api.view.waits = {name: Blocker(Standing.WAITS, "rollout", "waits for step prod", api.now, "", "")}
        api.view.heard.clear()
        api.view.restore([replace(api.view.clusters[name.cluster], at=1.0)], [])
    else:
        api.view.unspoken[name] = 0.0
    _, seen = await api.call("GET", "/api/v1/recovery")
    assert seen["unheard"] == ["eu-2"]
    for body in ({}, {"listDigest": seen["listDigest"]}):
        status, problem = await api.call("POST", "/api/v1/fleet:recover", body)
        assert (status, problem["type"]) == (409, "urn:fleet:PreconditionFailed")
        assert "eu-2 was not heard yet" in str(problem)
    assert not await api.state.get_value(RECOVERED)
    body = {"listDigest": seen["listDigest"], "unheard": True}
    assert (await api.call("POST", "/api/v1/fleet:recover", body))[0] == 200
    reasons = {link.entry.reason for link in await api.state.audit_entries()}
    assert reasons == {"record rebuilt from the cluster; eu-2 was not heard yet"}


@pytest.mark.parametrize("why", ["it asks itself", "another overlay", "it waits for its step"])
async def test_twin_a_recovery_waits_for_no_cluster_that_was_heard_or_has_nothing_to_say(api: Api, why: str) -> None:
    asks = Blocker(Standing.HELD, "cluster eu-1", "its record was rebuilt", api.now, "", ASKS_RECOVERY)
    name = UnitName.parse("web@eu-2")
    api.put("edge@eu-1" if why == "another overlay" else "web@eu-1", blocked_by=(asks,))
    if why == "it asks itself":
        api.put("web@eu-2", blocked_by=(asks,))
    if why == "it waits for its step":
        del api.view.units[name]
        api.view.waits = {name: Blocker(Standing.WAITS, "rollout", "waits for step prod", api.now, "", "")}
    else:
        api.view.unspoken[name] = 0.0
    assert (await api.call("GET", "/api/v1/recovery"))[1]["unheard"] == []
    assert (await api.call("POST", "/api/v1/fleet:recover", {}))[0] == 200


# Identities, tokens, credentials


async def test_an_identity_is_accepted_for_one_entry_only(api: Api) -> None:
    status, problem = await api.call("POST", "/api/v1/clusters/eu-1:acceptIdentity", {"identity": "uid-eu-2"})
    assert status == 422
    assert "eu-2" in problem["title"]
    for _ in range(2):
        assert (await api.call("POST", "/api/v1/clusters/eu-1:acceptIdentity", {"identity": "new"}))[0] == 200
    assert (await api.state.identities())["eu-1"] == "new"


async def test_an_identity_that_git_gives_to_another_entry_is_not_accepted_and_one_that_it_took_away_is(
    api: Api,
) -> None:
    fleet = api.view.fleet
    assert fleet is not None
    moved = replace(fleet.clusters[ClusterName("eu-2")], identity=Identity("uid-new"))
    api.view.fleet = replace(fleet, clusters={**fleet.clusters, moved.name: moved})
    status, problem = await api.call("POST", "/api/v1/clusters/eu-1:acceptIdentity", {"identity": "uid-new"})
    assert (status, problem["title"]) == (422, "this identity belongs to eu-2")
    assert (await api.call("POST", "/api/v1/clusters/eu-1:acceptIdentity", {"identity": "uid-eu-2"}))[0] == 200


async def test_a_token_is_shown_once_and_works_until_it_is_revoked(api: Api) -> None:
    status, made = await api.call("POST", "/api/v1/tokens", {"name": "ci", "role": "viewer"})
    assert status == 201
    api.keys["ci"] = made["token"]
    assert (await api.call("GET", "/api/v1/status", role="ci"))[0] == 200
    _, listed = await api.call("GET", "/api/v1/tokens")
    assert made["token"] not in str(listed)
    assert (await api.call("POST", "/api/v1/tokens", {"name": "ci", "role": "admin"}))[0] == 422
    assert (await api.call("DELETE", "/api/v1/tokens/ci"))[0] == 200
    assert (await api.call("GET", "/api/v1/status", role="ci"))[0] == 401
    assert (await api.call("DELETE", "/api/v1/tokens/ci"))[0] == 404


KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: c
clusters: [{name: c, cluster: {server: "https://10.0.0.1:6443"}}]
users: [{name: u, user: {token: TOP-SECRET}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
"""


async def test_a_credential_goes_in_and_never_out(api: Api) -> None:
    status, answer = await api.call("PUT", "/api/v1/credentials/eu-1", {"kubeconfig": KUBECONFIG})
    assert status == 200, answer
    _, listed = await api.call("GET", "/api/v1/credentials")
    assert [item["name"] for item in listed["items"]] == ["eu-1"]
    assert "TOP-SECRET" not in str((answer, listed))
    assert (await api.call("DELETE", "/api/v1/credentials/eu-1"))[0] == 200
    assert (await api.call("DELETE", "/api/v1/credentials/eu-1"))[0] == 404


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("eu-1", KUBECONFIG.replace("token: TOP-SECRET", "exec: {command: TOP-SECRET, apiVersion: v1}")),
        ("eu-1", KUBECONFIG.replace("https", "http")),
        ("eu-1", "TOP-SECRET: ["),
        ("Not_A_Name", KUBECONFIG),
    ],
)
async def test_a_credential_that_the_hub_would_not_use_is_refused_without_a_word_of_it(
    api: Api, name: str, text: str
) -> None:
    status, problem = await api.call("PUT", f"/api/v1/credentials/{name}", {"kubeconfig": text})
    assert 400 <= status < 500 or status == 502
    assert "TOP-SECRET" not in str(problem)
    assert await api.state.credentials() == {}
