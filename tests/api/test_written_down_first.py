"""What a person orders that lets something go or through is in the audit log before it counts (R43)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from api.conftest import HEAD, Api
from api.test_acting import KUBECONFIG, LIST, with_hold
from api.test_wiping import SAID, WIPE, leaves

from fleet.access.policy import Role
from fleet.core.audit import AuditEntry, Head
from fleet.core.ids import Digest
from fleet.core.results import Rendered
from fleet.errors import StateNotWritable
from fleet.ports.state import OperationRow

SYNC = "/api/v1/units/web@eu-1:sync"
Order = Callable[[Api], Awaitable[tuple[str, str, Any]]]


async def approves(api: Api) -> tuple[str, str, Any]:
    return "POST", f"/api/v1/holds/{await with_hold(api)}:approve", {"listDigest": LIST}


async def wipes(api: Api) -> tuple[str, str, Any]:
    await leaves(api)
    return "POST", WIPE, SAID


async def overrides(api: Api) -> tuple[str, str, Any]:
    return "POST", SYNC, {"override": True, "reason": "incident"}


async def syncs(api: Api) -> tuple[str, str, Any]:
    return "POST", SYNC, {}


async def approves_an_override(api: Api) -> tuple[str, str, Any]:
    row = OperationRow("op-1", "sync", "web@eu-1", "jo", api.now, "incident", override=True)
    await api.state.add_operation(row)
    api.view.passages = replace(api.view.passages, overrides={"op-1": Rendered(Digest("b"), HEAD)})
    return "POST", "/api/v1/operations/op-1:approve", {"reason": "seen"}


async def accepts_an_identity(api: Api) -> tuple[str, str, Any]:
    return "POST", "/api/v1/clusters/eu-1:acceptIdentity", {"identity": "new", "reason": "restored"}


async def suspends(api: Api) -> tuple[str, str, Any]:
    return "POST", "/api/v1/fleet:suspend", {"reason": "incident"}


async def resumes(api: Api) -> tuple[str, str, Any]:
    await api.call("POST", "/api/v1/fleet:suspend", {"reason": "incident"})
    return "POST", "/api/v1/fleet:resume", {"reason": "over"}


async def keeps_a_credential(api: Api) -> tuple[str, str, Any]:
    return "PUT", "/api/v1/credentials/eu-1", {"kubeconfig": KUBECONFIG}


async def removes_a_credential(api: Api) -> tuple[str, str, Any]:
    await api.state.put_credential("eu-1", b"{}", api.now)
    return "DELETE", "/api/v1/credentials/eu-1", None


async def makes_a_token(api: Api) -> tuple[str, str, Any]:
    return "POST", "/api/v1/tokens", {"name": "ci", "role": "admin"}


async def revokes_a_token(api: Api) -> tuple[str, str, Any]:
    await api.tokens.create("ci", Role.ADMIN, 60)
    return "DELETE", "/api/v1/tokens/ci", None


async def standing(api: Api) -> tuple[object, ...]:
    """All that these orders change."""
    state = api.state
    return (
        [(hold.id, hold.decision) for hold in await state.holds()],
        [(row.id, row.kind) for row in await state.operations(limit=100)],
        await state.identities(),
        await state.suspensions(),
        await state.credentials(),
        [(row.name, row.revoked_at) for row in await state.tokens()],
    )


@pytest.mark.parametrize(
    "order",
    [
        approves,
        wipes,
        overrides,
        approves_an_override,
        accepts_an_identity,
        resumes,
        removes_a_credential,
        makes_a_token,
        revokes_a_token,
    ],
)
async def test_an_order_that_the_log_cannot_take_changes_nothing_and_may_be_given_again(
    api: Api, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(_: AuditEntry) -> Head:
        raise StateNotWritable("the audit log cannot be written", why="the disk is full", next_step="free space")

    method, path, body = await order(api)
    before = await standing(api)
    with monkeypatch.context() as patch:
        patch.setattr(api.state, "write", full)
        status, problem = await api.call(method, path, body)
    assert (status, problem["type"]) == (503, "urn:fleet:StateNotWritable")
    assert await standing(api) == before
    assert (await api.call(method, path, body))[0] < 300
    assert await standing(api) != before


@pytest.mark.parametrize(
    ("order", "said"), [(wipes, ["asked"]), (overrides, ["asked"]), (syncs, []), (approves_an_override, ["", "done"])]
)
async def test_the_log_says_that_something_is_done_only_once_it_is(api: Api, order: Order, said: list[str]) -> None:
    method, path, body = await order(api)
    assert (await api.call(method, path, body))[0] == 202
    assert [link.entry.outcome for link in await api.state.audit_entries()] == said


@pytest.mark.parametrize(
    ("order", "deed"),
    [
        (suspends, "put_suspension"),
        (resumes, "lift_suspensions"),
        (accepts_an_identity, "record_identity"),
        (keeps_a_credential, "put_credential"),
        (removes_a_credential, "remove_credential"),
    ],
)
async def test_what_could_not_be_done_stays_an_attempt_in_the_log(
    api: Api, order: Order, deed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise StateNotWritable("it cannot be written", why="the disk is full", next_step="free space")

    method, path, body = await order(api)
    said = len(await api.state.audit_entries())
    with monkeypatch.context() as patch:
        patch.setattr(api.state, deed, full)
        assert (await api.call(method, path, body))[0] == 503
    assert [link.entry.outcome for link in await api.state.audit_entries()][said:] == [""]
    assert (await api.call(method, path, body))[0] < 300
    assert [link.entry.outcome for link in await api.state.audit_entries()][said:] == ["", "", "done"]


async def test_the_log_says_that_a_token_is_revoked_only_once_it_is(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: object) -> bool:
        return False  # somebody else was faster

    method, path, body = await revokes_a_token(api)
    with monkeypatch.context() as patch:
        patch.setattr(type(api.tokens), "revoke", unknown)
        assert (await api.call(method, path, body))[0] == 404
    assert (await api.call(method, path, body))[0] == 200
    assert [link.entry.outcome for link in await api.state.audit_entries()] == ["", "", "done"]


async def test_an_override_that_is_not_kept_is_refused_in_the_log_too(api: Api) -> None:
    headers = {"Idempotency-Key": "k-1"}
    assert (await api.call("POST", SYNC, {}, **headers))[0] == 202
    method, path, body = await overrides(api)
    assert (await api.call(method, path, body, **headers))[0] == 422
    entries = [link.entry for link in await api.state.audit_entries()]
    assert [entry.outcome for entry in entries] == ["asked", "refused: RequestInvalid"]
    assert {(entry.action, entry.unit) for entry in entries} == {("sync-override", "web@eu-1")}
