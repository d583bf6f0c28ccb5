"""The audit log on disk: what an upgrade makes of it, and how it is found out when somebody changed it."""

from __future__ import annotations

import asyncio
import io
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from fleet.cli.audit import export, verify
from fleet.core.audit import AuditEntry, Head, hold_text, rollback_text, verify_chain
from fleet.core.ids import ClusterName, Digest, ObjectRef, OverlayName, Revision, UnitName
from fleet.core.status import HoldRequest, PendingDeletion
from fleet.errors import KeyMissing, StateDamaged
from fleet.ports.state import HoldRow, ReleasedBundle
from fleet.store import schema
from fleet.store.audit import read_log
from fleet.store.crypto import Cipher, audit_key
from fleet.store.memory import MemoryState
from fleet.store.sealed import KEY_CHECK
from fleet.store.sql import open_state

KEY = b"k" * 32


def entry(number: int) -> AuditEntry:
    return AuditEntry(float(number), "jo", "delete", "eu-1", object=f"/ConfigMap/shop/c-{number}", outcome="done")


async def write(directory: Path, count: int) -> list[Head]:
    state = await open_state(directory, KEY)
    heads = [await state.write(entry(number)) for number in range(count)]
    await state.close()
    return heads


def make_schema_0001(directory: Path) -> None:
    """A data directory as the first version left it: three entries, the second of five deleted by hand long ago."""
    engine = create_engine(f"sqlite:///{directory / 'state.db'}")
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for number in (1, 3, 4):
            connection.exec_driver_sql(
                "INSERT INTO audit (id, at, actor, action, cluster, identity, unit, object, uid, revision, reason,"
                f" outcome) VALUES ({number}, {number}.5, 'jo', 'delete', '', '', '', '', '', '', 'why', 'done')"
            )
        connection.exec_driver_sql(
            f"INSERT INTO value (name, text) VALUES ('{KEY_CHECK}', '{bound_before_the_chain()}')"
        )
    engine.dispose()


def bound_before_the_chain() -> str:
    """The key check as versions without a chain sealed it."""
    return Cipher(KEY).seal(KEY_CHECK, b"fleet").hex()


def change(directory: Path, *statements: str) -> None:
    with closing(sqlite3.connect(directory / "state.db")) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def check(directory: Path, *heads: Path) -> tuple[int, str]:
    out = io.StringIO()
    return verify(directory, heads, None, out), out.getvalue()


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLEET_KEY", KEY.hex())
    return tmp_path


async def test_a_log_from_before_the_chain_is_sealed_by_the_upgrade_and_goes_on(data: Path) -> None:
    make_schema_0001(data)
    await write(data, 1)
    links, stored = read_log(data)
    found = list(links)
    assert [(link.number, link.entry.at, link.entry.reason) for link in found[:3]] == [
        (1, 1.5, "why"),
        (2, 3.5, "why"),
        (3, 4.5, "why"),
    ]
    assert found[3].entry == entry(0)
    assert verify_chain(audit_key(KEY), found, stored=stored).faults == ()


async def test_an_upgrade_is_not_taken_for_an_excuse_later(data: Path) -> None:
    """Seals taken off by hand do not make a log from before the chain, also where its head was taken away with them."""
    await write(data, 3)
    change(data, "UPDATE audit SET seal = '', reason = 'nothing'")
    for statement in ("UPDATE audit SET seal = ''", "DELETE FROM value WHERE name = 'audit-head'"):
        change(data, statement)
        with pytest.raises(StateDamaged):
            await open_state(data, KEY)
        assert check(data)[0] == 1


async def test_a_chain_of_an_earlier_version_is_no_log_from_before_it_either(data: Path) -> None:
    await write(data, 3)
    change(data, f"UPDATE value SET text = '{bound_before_the_chain()}' WHERE name = '{KEY_CHECK}'")
    await write(data, 1)  # an upgrade: from here on it is said, by who has the key, that there is a chain
    assert check(data)[0] == 0
    change(data, "UPDATE audit SET seal = '', reason = 'nothing'", "DELETE FROM value WHERE name = 'audit-head'")
    with pytest.raises(StateDamaged):
        await open_state(data, KEY)


@pytest.mark.parametrize("used", [True, False])
async def test_a_database_in_use_that_does_not_say_its_key_is_not_bound_anew(data: Path, used: bool) -> None:
    await write(data, 3 if used else 0)
    change(data, f"DELETE FROM value WHERE name IN ('{KEY_CHECK}', 'audit-head')", "UPDATE audit SET seal = ''")
    if not used:
        await write(data, 1)
        assert check(data)[0] == 0
        return
    with pytest.raises(StateDamaged, match="key"):
        await open_state(data, KEY)
    assert check(data)[0] == 1


@pytest.mark.parametrize(
    ("statement", "said", "starts"),
    [
        ("UPDATE audit SET uid = 'other' WHERE id = 2", "entry 2 is not what was written", True),
        ("DELETE FROM audit WHERE id = 2", "entry 2 is missing", True),
        ("UPDATE audit SET id = 9 - id WHERE id IN (4, 5)", "entry 4 is not what was written", False),
        ("DELETE FROM audit WHERE id > 3", "entries 4 to 5 are missing", False),
        ("DELETE FROM audit", "entries 1 to 5 are missing", False),
        ("DELETE FROM value WHERE name = 'audit-head'", "the head of the chain is missing", False),
        ("UPDATE value SET text = 'none' WHERE name = 'audit-head'", "the head in the store", False),
    ],
)
async def test_what_was_done_to_the_table_is_found(data: Path, statement: str, said: str, starts: bool) -> None:
    await write(data, 5)
    assert check(data)[0] == 0
    if "9 - id" in statement:  # the two last change places
        change(data, "UPDATE audit SET id = -id WHERE id > 3", "UPDATE audit SET id = 9 + id WHERE id < 0")
    else:
        change(data, statement)
    code, text = check(data)
    assert code == 1
    assert said in text
    # What the hub would go on from must be whole; what lies further back is for verify to find.
    if starts:
        await (await open_state(data, KEY)).close()
    else:
        with pytest.raises(StateDamaged):
            await open_state(data, KEY)


async def test_an_end_cut_off_with_its_head_is_found_by_the_log(data: Path, tmp_path: Path) -> None:
    heads = await write(data, 5)
    log = tmp_path / "hub.log"
    log.write_text(f'{{"event": "audited", "head": "{heads[3]}"}}\n')
    code, text = check(data, log)
    assert (code, "proven up to entry 4" in text) == (0, True)
    change(data, "DELETE FROM audit WHERE id > 2", f"UPDATE value SET text = '{heads[1]}' WHERE name = 'audit-head'")
    assert check(data)[0] == 0  # by itself the store cannot know
    code, text = check(data, log)
    assert (code, "entries 3 to 4 are missing" in text) == (1, True)


async def test_what_a_killed_hub_had_begun_gets_its_last_word_once(data: Path) -> None:
    state = await open_state(data, KEY)
    begun = [replace(entry(1), uid="u1", action=action, outcome="") for action in ("delete", "adopt", "force")]
    ended = replace(begun[0], outcome="done")
    begun.append(replace(entry(1), object="credential eu-1", action="renew-credential", outcome=""))
    single = replace(entry(2), action="first-contact", outcome="")  # one entry is all there is of it
    for one in (*begun, ended, single):
        await state.write(one)
    await state.close()
    for _ in range(2):
        state = await open_state(data, KEY)
        last = [(link.entry.action, link.entry.outcome) for link in (await state.audit_entries())[6:]]
        await state.close()
        assert last == [(action, "unknown: HubEnded") for action in ("adopt", "force", "renew-credential")]
    assert check(data)[0] == 0


async def test_what_people_had_asked_for_as_the_hub_was_killed_gets_its_last_word_once(data: Path) -> None:
    state = await open_state(data, KEY)
    actions = ("suspend", "resume", "accept-identity", "recover", "approve-override", "plan-approved", "create-token",
               "revoke-token", "put-credential", "remove-credential")  # fmt: skip
    begun = [replace(entry(1), actor="al", action=action, outcome="") for action in actions]
    ended = [replace(one, cluster="eu-9") for one in begun]
    for one in (*begun, *ended, *(replace(one, outcome="done") for one in ended)):
        await state.write(one)
    await state.close()
    for _ in range(2):
        state = await open_state(data, KEY)
        last = [link.entry for link in (await state.audit_entries(after=3 * len(actions), limit=100))]
        await state.close()
        assert [(one.action, one.cluster, one.outcome) for one in last] == [
            (action, entry(1).cluster, "unknown: HubEnded") for action in actions
        ]
    assert check(data)[0] == 0


async def test_what_a_killed_hub_had_begun_of_gates_gets_its_last_word_and_what_had_ended_gets_none(data: Path) -> None:
    state = await open_state(data, KEY)
    made, gone = (replace(entry(1), action=action, outcome="") for action in ("gate-job", "gate-job-delete"))
    ended = [
        replace(made, outcome="done", uid_after="u1"),
        replace(gone, uid="u1"),
        replace(gone, uid="u1", outcome="done"),
    ]
    other = replace(made, object="batch/Job/ops/earlier")
    earlier = replace(other, uid="u2", outcome="done")  # as earlier versions ended it
    open_ones = [replace(made, object="batch/Job/ops/y"), replace(gone, object="batch/Job/ops/z", uid="u3")]
    for one in (made, *ended, other, earlier, *open_ones):
        await state.write(one)
    await state.close()
    for _ in range(2):
        state = await open_state(data, KEY)
        last = [link.entry for link in (await state.audit_entries())[8:]]
        await state.close()
        assert [(one.object, one.outcome) for one in last] == [(one.object, "unknown: HubEnded") for one in open_ones]
    assert check(data)[0] == 0


@pytest.mark.parametrize("decision", ["approved", "rejected"])
async def test_a_decision_that_a_killed_hub_had_begun_was_made_or_not(data: Path, decision: str) -> None:
    state = await open_state(data, KEY)
    rows = [
        await state.put_hold(HoldRow("", OverlayName(name), Revision("c" * 40), 1.0, Digest("list"), (), 9e9))
        for name in ("web", "shop")
    ]
    for row in rows:
        begun = replace(entry(1), at=2.0, actor="jo", action=f"hold-{decision}", outcome="", unit="", uid="")
        await state.write(replace(begun, object=hold_text(row.id, row.list_digest)))
    made = rows[0]
    await state.decide_hold(made.id, list_digest=made.list_digest, decision=decision, actor="jo", reason="", at=2.0)
    await state.close()
    for _ in range(2):
        state = await open_state(data, KEY)
        last = [(link.entry.object, link.entry.outcome) for link in (await state.audit_entries())[2:]]
        await state.close()
        texts = [hold_text(row.id, row.list_digest) for row in rows]
        assert last == [(texts[0], "done"), (texts[1], "failed: HubEnded")]


@pytest.mark.parametrize("made", ["approved", "never approved", "approved, then by another word"])
@pytest.mark.parametrize("kind", ["sql", "memory"])
async def test_each_word_of_a_deletion_names_who_approved_it_however_late_it_comes(
    data: Path, kind: str, made: str
) -> None:
    """That the object is gone is seen by its worker beside the answer, once its hold is closed."""
    state = await open_state(data, KEY) if kind == "sql" else MemoryState()
    unit, ref, commit = UnitName.parse("web@eu-1"), ObjectRef("", "Namespace", "", "shop"), Revision("c" * 40)
    request = HoldRequest(unit, commit, "precious-kind", "m", (PendingDeletion(ref, "u1", Digest("d"), 0.0, ()),))
    row = await state.put_hold(HoldRow("", "web", commit, 1.0, Digest("list"), (request,), 9e9))
    if made != "never approved":
        await state.decide_hold(row.id, list_digest=row.list_digest, decision="approved", actor="jo", reason="", at=2.0)
    begun = replace(entry(1), action="delete", outcome="", unit=str(unit), object=ref.key, uid="u1", commit=commit)
    for outcome in ("", "failed: Conflict", "", "done"):
        await state.write(replace(begun, outcome=outcome))
    await state.close_hold(row.id, 3.0)
    if made == "approved, then by another word":  # the same object by a permit of a later commit
        await state.write(replace(begun, commit=Revision("d" * 40)))
    await state.write(replace(begun, outcome="gone"))
    named = [link.entry.approver for link in await state.audit_entries() if link.entry.action == "delete"]
    await state.close()
    words = {
        "approved": ["jo"] * 5,
        "never approved": [""] * 5,
        "approved, then by another word": ["jo"] * 4 + ["", ""],
    }
    assert named == words[made]


async def test_a_rejection_of_what_was_approved_was_made_though_the_hub_was_killed_right_after(data: Path) -> None:
    """It leaves the hold with another list than the one that was rejected."""
    state = await open_state(data, KEY)
    ref, units = ObjectRef("", "ConfigMap", "shop", "c"), [UnitName.parse("web@eu-1"), UnitName.parse("web@eu-2")]
    commit = Revision("c" * 40)
    requests = tuple(
        HoldRequest(unit, commit, "prune-budget", "m", (PendingDeletion(ref, str(unit), Digest("d"), 0.0, ()),))
        for unit in units
    )
    row = await state.put_hold(HoldRow("", "web", commit, 1.0, Digest("list"), requests, 9e9))
    for word, at in (("approved", 2.0), ("rejected", 4.0)):
        begun = replace(entry(1), at=at, actor="jo", action=f"hold-{word}", outcome="", unit="", uid="")
        await state.write(replace(begun, object=hold_text(row.id, row.list_digest)))
        made = await state.decide_hold(row.id, list_digest=row.list_digest, decision=word, actor="jo", reason="", at=at)
        if word == "approved":
            await state.write(replace(begun, outcome="done", object=hold_text(row.id, row.list_digest)))
            one = replace(begun, action="delete", unit=str(units[0]), object=ref.key, uid=str(units[0]), commit=commit)
            await state.write(one)
            assert (await state.audit_entries())[-1].entry.approver == "jo"
    assert made.list_digest != row.list_digest
    await state.close()
    state = await open_state(data, KEY)
    last = [(link.entry.action, link.entry.outcome) for link in (await state.audit_entries())[4:]]
    await state.close()
    assert sorted(last) == [("delete", "unknown: HubEnded"), ("hold-rejected", "done")]


async def test_a_rollback_that_a_killed_hub_had_begun_went_back_or_not(data: Path) -> None:
    state = await open_state(data, KEY)
    units = [UnitName(OverlayName("web"), ClusterName(name)) for name in ("eu-1", "eu-2")]
    for unit in units:
        begun = replace(entry(1), action="rollback", outcome="", unit=str(unit), uid="")
        await state.write(replace(begun, object=rollback_text("bad", "good")))
    held = zip(units, ("good", "bad"), strict=True)
    rows = [ReleasedBundle(unit, Revision("c" * 40), Digest(bundle)) for unit, bundle in held]
    await state.put_released(rows)
    await state.close()
    for _ in range(2):
        state = await open_state(data, KEY)
        last = [(link.entry.unit, link.entry.outcome) for link in (await state.audit_entries())[2:]]
        await state.close()
        assert last == [(str(units[0]), "done"), (str(units[1]), "failed: HubEnded")]
    assert check(data)[0] == 0


async def test_each_unit_of_a_rollback_gets_its_last_word_however_many_a_killed_hub_had_begun(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet.store.audit._LOOK_BACK", 20)
    state = await open_state(data, KEY)
    units = [UnitName(OverlayName("web"), ClusterName(f"eu-{number}")) for number in range(60)]
    begun = [replace(entry(1), action="rollback", outcome="", unit=str(unit), uid="") for unit in units]
    begun = [replace(one, object=rollback_text("bad", "good")) for one in begun]
    ended = [replace(one, outcome="done") for one in begun[:10]]
    await asyncio.gather(*(state.write(one) for one in (*begun, *ended)))
    await state.put_released([ReleasedBundle(units[20], Revision("c" * 40), Digest("good"))])
    await state.close()
    for _ in range(2):
        state = await open_state(data, KEY)
        last = [link.entry for link in await state.audit_entries(after=len(begun) + len(ended))]
        await state.close()
        assert [one.unit for one in last] == list(map(str, units[10:])), "once, in their order, and no other"
        assert [one.unit for one in last if one.outcome == "done"] == [str(units[20])]
        assert {one.outcome for one in last} == {"done", "failed: HubEnded"}


async def test_what_was_deleted_for_a_commit_is_found_without_reading_the_log(data: Path) -> None:
    await write(data, 1)
    with closing(sqlite3.connect(data / "state.db")) as connection:
        query = "EXPLAIN QUERY PLAN SELECT unit FROM audit WHERE action = 'delete' AND revision IN ('a', 'b')"
        assert "audit_by_commit" in " ".join(str(row) for row in connection.execute(query))


async def test_an_export_is_checked_like_the_log(data: Path, tmp_path: Path) -> None:
    await write(data, 3)
    text = io.StringIO()
    export(data, text)
    file = tmp_path / "audit.jsonl"
    for content, code in ((text.getvalue(), 0), (text.getvalue().replace("c-1", "c-7"), 1)):
        file.write_text(content)
        assert verify(data, (), file, io.StringIO()) == code


async def test_another_key_proves_nothing(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await write(data, 2)
    monkeypatch.setenv("FLEET_KEY", "ab" * 32)
    assert check(data)[0] == 1
    monkeypatch.delenv("FLEET_KEY")
    with pytest.raises(KeyMissing):
        check(data)


async def test_a_running_hub_can_be_checked(data: Path) -> None:
    state = await open_state(data, KEY)
    await state.write(entry(1))
    assert check(data)[0] == 0
    await state.write(replace(entry(2), at=2.0))
    assert "2 entries" in check(data)[1]
    await state.close()
