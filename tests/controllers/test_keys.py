"""An exchange of keys is carried out, audited and shown; what cannot be taken is said once, and stops nothing."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from structlog.testing import capture_logs

from fleet import telemetry
from fleet.controllers.keys import KeyKeeper
from fleet.core.refusal_log import Refusal
from fleet.errors import KeyMissing
from fleet.ports.state import KeyStanding
from fleet.store.sql import SqlState, open_state

ALERTS = Path(__file__).parents[2] / "docs" / "alerts.yaml"
DUE = KeyStanding("aaaa", "/etc/fleet/key", needed=("bbbb",), is_due=True)
DONE = KeyStanding("aaaa", "/etc/fleet/key", free=("bbbb",), count=3)


class Lock:
    """Keys as a test says: standings one after another, or the refusal of one."""

    def __init__(self, *looks: KeyStanding | KeyMissing, turned: KeyStanding = DONE) -> None:
        self.looks, self.turned, self.turns = list(looks), turned, 0

    async def look(self) -> KeyStanding:
        found = self.looks.pop(0)
        if isinstance(found, KeyMissing):
            raise found
        return found

    async def turn(self) -> KeyStanding:
        self.turns += 1
        return self.turned


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[SqlState]:
    state = await open_state(tmp_path, b"k" * 32)
    yield state
    await state.close()


async def looked(state: SqlState, lock: Lock) -> tuple[list[Refusal], list[dict[str, object]]]:
    """All looks there are; what was refused, and what was logged."""
    refused: list[Refusal] = []
    keeper = KeyKeeper(lock, state, refused.append, lambda: 5.0)
    with capture_logs() as logs:
        while lock.looks:
            await keeper.look()
    return refused, list(map(dict, logs))


async def told(state: SqlState) -> list[tuple[str, str, str, str]]:
    links = await state.audit_entries()
    return [(link.entry.action, link.entry.object, link.entry.outcome, link.entry.reason) for link in links]


async def test_an_exchange_is_audited_before_and_after_and_the_old_key_is_said_to_be_free(state: SqlState) -> None:
    lock = Lock(DUE, replace(DONE, count=0), replace(DONE, count=0))
    refused, logs = await looked(state, lock)
    assert (refused, lock.turns) == ([], 1)
    before, after = await told(state)
    assert before[:3] == ("turn-key", "key aaaa", "")
    assert after == ("turn-key", "key aaaa", "done", "3 entries sealed anew, 0 open with no key")
    assert [(log["needed_no_more"], log["sealed_anew"]) for log in logs] == [("bbbb", 3)]
    assert telemetry.OLD_KEYS.labels("no")._value.get() == 1
    assert telemetry.OLD_KEYS.labels("yes")._value.get() == 0


async def test_keys_that_stay_are_not_spoken_of(state: SqlState) -> None:
    lock = Lock(*[KeyStanding("aaaa", "/etc/fleet/key")] * 3)
    assert await looked(state, lock) == ([], [])
    assert (await told(state), lock.turns) == ([], 0)


async def test_keys_that_cannot_be_taken_are_refused_each_time_and_logged_once(state: SqlState) -> None:
    missing = KeyMissing("a key is missing", where="/etc/fleet/key", why="it is needed", next_step="put it back")
    lock = Lock(missing, missing, KeyStanding("aaaa", "/etc/fleet/key"), missing)
    refused, logs = await looked(state, lock)
    assert [(one.boundary, one.reason, one.object) for one in refused] == [("hub", "KeyMissing", "/etc/fleet/key")] * 3
    assert [(log["event"], log["next_step"]) for log in logs] == [("a key is missing", "put it back")] * 2
    assert lock.turns == 0


async def test_an_alert_pages_while_the_next_start_would_be_refused(state: SqlState) -> None:
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    expr = next(rule["expr"] for rule in rules if rule["alert"] == "FleetKeyRefused")
    (boundary,) = re.findall(r'boundary="(\w+)"', expr)
    missing = KeyMissing("a key is missing", where="/etc/fleet/key", why="it is needed", next_step="put it back")
    refused, _ = await looked(state, Lock(missing, missing))
    assert [one.boundary for one in refused] == [boundary] * 2
    assert telemetry.UNREADABLE_ENTRIES._name in expr


async def test_entries_that_open_with_no_key_are_refused_by_name(state: SqlState) -> None:
    lost = replace(DONE, unreadable=("credential eu-7",))
    refused, logs = await looked(state, Lock(DUE, replace(lost, count=0), turned=lost))
    assert [(one.reason, one.object) for one in refused] == [("KeyMissing", "credential eu-7")]
    assert "fleet credential add" in str(logs[-1]["next_step"])
    assert telemetry.UNREADABLE_ENTRIES._value.get() == 1
