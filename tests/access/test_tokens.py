"""Tokens: what is kept, how long they live, what a role covers."""

from __future__ import annotations

import pytest

from fleet.access.policy import Caller, Role, demand
from fleet.access.tokens import LONGEST_SECONDS, PREFIX, Tokens, digest_of_token
from fleet.errors import NotAllowed, NotAuthenticated, RequestInvalid
from fleet.store.memory import MemoryState


@pytest.fixture
def now() -> list[float]:
    return [1000.0]


@pytest.fixture
def tokens(now: list[float]) -> Tokens:
    return Tokens(MemoryState(), lambda: now[0])


async def test_only_the_digest_is_kept(tokens: Tokens) -> None:
    token, row = await tokens.create("ci", Role.VIEWER, 60)
    assert token.startswith(PREFIX)
    assert row.digest == digest_of_token(token)
    assert token not in str(await tokens.state.tokens())


async def test_a_token_works_until_the_second_it_expires(tokens: Tokens, now: list[float]) -> None:
    token, _ = await tokens.create("ci", Role.OPERATOR, 60)
    assert (await tokens.caller_of(f"bearer {token}")).role is Role.OPERATOR
    now[0] += 60
    with pytest.raises(NotAuthenticated):
        await tokens.caller_of(f"Bearer {token}")
    await tokens.create("ci", Role.VIEWER, 60)  # the name is free again


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic x", "Bearer fleet_", "Bearer fleet_" + "x" * 400])
async def test_anything_else_is_no_caller(tokens: Tokens, header: str) -> None:
    await tokens.create("ci", Role.ADMIN, 60)
    with pytest.raises(NotAuthenticated):
        await tokens.caller_of(header)


@pytest.mark.parametrize("seconds", [0, -1, LONGEST_SECONDS + 1, float("nan")])
async def test_a_life_without_end_or_beginning_is_refused(tokens: Tokens, seconds: float) -> None:
    with pytest.raises(RequestInvalid):
        await tokens.create("ci", Role.VIEWER, seconds)


def test_each_role_covers_those_below_it_and_none_above() -> None:
    order = [Role.VIEWER, Role.OPERATOR, Role.ADMIN]
    for has in order:
        for needs in order:
            if order.index(has) >= order.index(needs):
                demand(Caller("ci", has, "1"), needs, "this")
            else:
                with pytest.raises(NotAllowed, match=f"needs the role {needs}"):
                    demand(Caller("ci", has, "1"), needs, "this")
