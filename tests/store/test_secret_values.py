"""Secret values stay as long as something in use has them, and an hour longer; then they go, and are missed whole."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.core.ids import Digest
from fleet.errors import StateNotWritable
from fleet.store.crypto import FoundKey
from fleet.store.secret_values import KEEP_SECONDS
from fleet.store.sql import SqlState, open_state

KEY = b"k" * 32
A, B, C = Digest("a" * 64), Digest("b" * 64), Digest("c" * 64)
ONE, TWO, THREE = ({f"fleet-sealed:{name}": name.encode()} for name in ("one", "two", "three"))
MANY = {f"fleet-sealed:{number}": b"x" for number in range(200)}  # of more than one transaction


class Clock:
    """Run time that a test moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def state(tmp_path: Path, clock: Clock) -> AsyncIterator[SqlState]:
    state = await opened(tmp_path, clock)
    yield state
    await state.close()


async def opened(folder: Path, clock: Clock) -> SqlState:
    state = await open_state(folder, KEY)
    state.vault._run_time = clock
    return state


async def there(state: SqlState) -> set[str]:
    return {name.removeprefix("fleet-sealed:") for name in await state.vault.get([*ONE, *TWO, *THREE])}


def rows(folder: Path) -> list[int]:
    with closing(sqlite3.connect(folder / "state.db")) as connection:
        tables = ("vault", "vault_use", "vault_result")
        return [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]


async def test_what_nothing_in_use_has_goes_after_an_hour(state: SqlState, clock: Clock, tmp_path: Path) -> None:
    await state.vault.put(A, {**ONE, **TWO})
    await state.vault.put(B, {**TWO, **THREE})
    clock.now += KEEP_SECONDS
    assert await state.vault.sweep([B]) == 0, "not for longer than an hour yet"
    clock.now += 1
    assert await state.vault.sweep([B]) == 1
    assert await there(state) == {"two", "three"}
    assert not await state.vault.use(A, [*ONE, *TWO]), "a half of it is a miss"
    assert rows(tmp_path) == [2, 2, 1]


async def test_twin_what_is_in_use_stays_however_old_and_an_hour_longer(state: SqlState, clock: Clock) -> None:
    await state.vault.put(A, ONE)
    for _ in range(5):
        clock.now += 10 * KEEP_SECONDS
        assert await state.vault.sweep([A]) == 0
    clock.now += KEEP_SECONDS
    assert await state.vault.sweep(()) == 0
    assert await there(state) == {"one"}
    clock.now += 1
    assert await state.vault.sweep(()) == 1
    assert await there(state) == set()


@pytest.mark.parametrize("again", ["put", "use"])
async def test_what_is_taken_up_again_stays(state: SqlState, clock: Clock, again: str) -> None:
    await state.vault.put(A, ONE)
    await state.vault.put(B, TWO)
    clock.now += 3 * KEEP_SECONDS
    if again == "put":
        await state.vault.put(A, ONE)
    else:
        assert await state.vault.use(A, ONE)
    assert await state.vault.sweep(()) == 1
    assert await there(state) == {"one"}
    assert await state.vault.use(A, ONE)


async def swept_with(state: SqlState, act: Callable[[], Awaitable[object]], before: int) -> object:
    """What `act` says that comes before one of the writes of a sweep, or after them all."""
    database, write, count, answers = state.vault._database, state.vault._database.write, 0, []

    async def watched(change):
        nonlocal count
        if count == before:
            database.write = write
            answers.append(await act())
            database.write = watched
        count += 1
        return await write(change)

    database.write = watched
    await state.vault.sweep(())
    database.write = write
    assert answers or before == count == 4
    return answers[0] if answers else await act()


@pytest.mark.parametrize("before", range(5))
async def test_who_asks_beside_a_sweep_has_all_and_keeps_it_or_is_told_that_it_has_not(
    state: SqlState, clock: Clock, before: int
) -> None:
    await state.vault.put(A, MANY)
    clock.now += 3 * KEEP_SECONDS
    has_all = await swept_with(state, lambda: state.vault.use(A, MANY), before)
    assert has_all == (before == 0)
    assert (dict(await state.vault.get(MANY)) == MANY) == has_all
    assert await state.vault.use(A, MANY) == has_all


@pytest.mark.parametrize("result", [A, B])
@pytest.mark.parametrize("before", range(5))
async def test_a_build_beside_a_sweep_keeps_what_it_made(
    state: SqlState, clock: Clock, before: int, result: Digest
) -> None:
    await state.vault.put(A, MANY)
    clock.now += 3 * KEEP_SECONDS
    await swept_with(state, lambda: state.vault.put(result, MANY), before)
    assert dict(await state.vault.get(MANY)) == MANY
    assert await state.vault.use(result, MANY)


async def test_a_sweep_that_broke_off_is_ended_by_the_next(tmp_path: Path, clock: Clock) -> None:
    state = await opened(tmp_path, clock)
    await state.vault.put(A, MANY)
    await state.vault.put(B, ONE)
    clock.now += 3 * KEEP_SECONDS
    write, left = state.vault._database.write, 2

    async def breaks(change):
        nonlocal left
        left -= 1
        if left < 0:
            raise StateNotWritable("the disk is full")
        return await write(change)

    state.vault._database.write = breaks
    with pytest.raises(StateNotWritable):
        await state.vault.sweep([B])
    assert 0 < rows(tmp_path)[0] < 201
    await state.close()
    state = await opened(tmp_path, clock)
    assert not await state.vault.use(A, MANY)
    await state.vault.sweep([B])
    assert rows(tmp_path) == [1, 1, 1]
    assert await there(state) == {"one"}
    await state.close()


async def test_keys_are_exchanged_beside_a_sweep(state: SqlState, clock: Clock) -> None:
    old = {f"fleet-sealed:{number}": b"old" for number in range(200)}
    kept = {f"fleet-sealed:kept-{number}": b"kept" for number in range(200)}
    await state.vault.put(A, old)
    await state.vault.put(B, kept)
    clock.now += 3 * KEEP_SECONDS
    turner = state.keys(lambda: FoundKey(b"n" * 32, "/etc/fleet/key", (KEY,)))
    await turner.look()
    _, gone = await asyncio.gather(turner.turn(), state.vault.sweep([B]))
    assert gone == 200
    assert dict(await state.vault.get([*old, *kept])) == kept
    standing = await turner.look()
    assert (standing.needed, standing.unreadable) == ((), ())


async def test_time_in_which_no_hub_ran_does_not_count(tmp_path: Path) -> None:
    state = await open_state(tmp_path, KEY)
    await state.vault.put(A, ONE)
    await state.close()
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection, connection:
        (kept,) = connection.execute("SELECT text FROM value WHERE name = 'hub/run-time'").fetchone()
    state = await open_state(tmp_path, KEY)
    assert state.run_time() - float(kept) < KEEP_SECONDS
    assert await state.vault.sweep(()) == 0
    await state.close()


async def test_of_what_nobody_noted_it_is_asked(state: SqlState) -> None:
    await state.vault.put(A, ONE)
    assert await state.vault.use(B, ())
    assert await state.vault.unknown([A, B, C]) == [C]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abc"), st.sets(st.sampled_from("1234"), min_size=1)),
        st.tuples(st.just("hold"), st.sampled_from("abc"), st.booleans()),
        st.tuples(st.just("pass"), st.sampled_from([1.0, KEEP_SECONDS / 2, KEEP_SECONDS, 2 * KEEP_SECONDS]), st.none()),
        st.tuples(st.just("sweep"), st.none(), st.none()),
    ),
    max_size=12,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
async def test_nothing_that_is_in_use_or_was_just_now_ever_lacks_a_value(
    steps: list[tuple[str, object, object]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    clock = Clock()
    state = await opened(tmp_path_factory.mktemp("state"), clock)
    made: dict[str, set[str]] = {}
    at: dict[str, float] = {}
    held = set[str]()
    for what, which, more in steps:
        match what, which, more:
            case "put", str(result), set(names):
                made.setdefault(result, {str(name) for name in names})  # a result is named by what it is made of
                at[result] = clock.now
                await state.vault.put(Digest(result), {name: name.encode() for name in made[result]})
            case "hold", str(result), bool(is_held):
                if not is_held:
                    held.discard(result)
                elif result in made and await state.vault.use(Digest(result), made[result]):
                    held.add(result)
                    at[result] = clock.now
            case "pass", float(seconds), _:
                clock.now += seconds
            case _:
                at.update(dict.fromkeys(held, clock.now))
                await state.vault.sweep([Digest(result) for result in held])
        for result, names in made.items():
            if result in held or clock.now - at[result] <= KEEP_SECONDS:
                assert (await state.vault.get(names)).keys() == names, (result, what)
    clock.now += 2 * KEEP_SECONDS
    await state.vault.sweep([Digest(result) for result in held])
    wanted = set[str]().union(*(made[result] for result in held))
    assert (await state.vault.get("1234")).keys() == wanted
    await state.close()
