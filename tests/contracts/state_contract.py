"""What every State, Journal, Audit and Vault must do; each store runs this whole class under its own opener."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import pytest

from fleet.core.asked import Asked
from fleet.core.audit import AuditEntry
from fleet.core.field_diff import FieldDrift
from fleet.core.ids import ClusterName, Digest, Identity, ObjectRef, OverlayName, Revision, UnitName
from fleet.core.record import Row, RowState
from fleet.core.release import list_digest_of
from fleet.core.results import Rendered, Shown
from fleet.core.status import (
    Blocker,
    Event,
    EventKind,
    Health,
    HoldRequest,
    ObjectStatus,
    PendingDeletion,
    Report,
    Standing,
    Sync,
    UnitReport,
)
from fleet.core.sync_policy import Suspension
from fleet.errors import NotKnown, PreconditionFailed, RequestInvalid, Withdrawn
from fleet.ports.render import Vault
from fleet.ports.state import OPEN, HoldRow, OperationRow, ReleasedBundle, State, TokenRow
from fleet.ports.worker import Deletion, JournalEntry, UnitMemory


class StateWithVault(State, Protocol):
    @property
    def vault(self) -> Vault: ...


EU1 = ClusterName("eu-1")
US1 = ClusterName("us-1")
COMMIT = Revision("3f9c1ab" + "0" * 33)
DIGEST = Digest("a" * 64)


def unit(overlay: str, cluster: ClusterName = EU1) -> UnitName:
    return UnitName(OverlayName(overlay), cluster)


def ref(name: str) -> ObjectRef:
    return ObjectRef("apps", "Deployment", "shop", name)


def row(name: str, *, overlay: str = "web", cluster: ClusterName = EU1, state: RowState = RowState.APPLIED) -> Row:
    return Row(
        unit(overlay, cluster), ref(name), state, "uid-1", "v1", DIGEST, Digest("b" * 64), b'{"f:x":{}}', "7", 12.5
    )


def hold_request(overlay: str = "web") -> HoldRequest:
    pending = PendingDeletion(
        ObjectRef("", "Namespace", "", "shop"), "uid-9", DIGEST, 3.0, ("12 objects", "volume data-0")
    )
    return HoldRequest(unit(overlay), COMMIT, "precious-kind", "would delete Namespace shop", (pending,))


def unit_report(overlay: str = "web", cluster: ClusterName = EU1, **changes: object) -> UnitReport:
    drift = FieldDrift("spec.replicas", {"a": [1, None, True, 1.5]}, "x", "kubectl", 4.0, masked=True)
    status = ObjectStatus(
        ref("web"), Sync.OUT_OF_SYNC, Health.DEGRADED, "crashes, exit 1", "HealthTimeout", 5.0, (drift,), "uid-1"
    )
    whole = UnitReport(
        unit=unit(overlay, cluster),
        commit=COMMIT,
        bundle=DIGEST,
        sync=Sync.OUT_OF_SYNC,
        health=Health.DEGRADED,
        observed_at=100.25,
        reason="HealthTimeout",
        message="ünïcode \u2028 and \x1b",
        next_step="fleet describe web@eu-1",
        observed_commit=None,
        applied_at=90.0,
        changed=2,
        objects=(status,),
        blocked_by=(Blocker(Standing.HELD, "overlay web", "hold h-1", 1.0, "2026-01-01T00:00:00Z", "fleet get holds"),),
        holds=(hold_request(overlay),),
        warnings=("old API",),
    )
    return replace(whole, **changes)


def event(message: str, cluster: ClusterName = EU1, overlay: str = "web") -> Event:
    return Event(1.5, EventKind.HEALED, cluster, unit(overlay, cluster) if overlay else None, message, COMMIT, ref("a"))


def report(cluster: ClusterName = EU1, sequence: int = 1, **changes: object) -> Report:
    whole = Report(
        cluster=cluster,
        epoch=3,
        sequence=sequence,
        at=50.0,
        began_at=40.5,
        known_at=45.5,
        desired_sequence=8,
        identity=Identity("uid-cluster"),
        reachable=True,
        version="v1.36.3",
        reason="Forbidden",
        message="no list on Secrets",
        next_step="fleet cluster grant eu-1",
    )
    return replace(whole, **changes)


def hold(overlay: str = "web", *, digest: str = "d1", at: float = 10.0, expires: float = 1000.0) -> HoldRow:
    return HoldRow("", overlay, COMMIT, at, Digest(digest), (hold_request(overlay),), expires)


def begun(number: int) -> AuditEntry:
    """A worker begins to delete its part of what `approved_of_five` lists."""
    ref = ObjectRef("", "Namespace", "", "shop")
    return AuditEntry(
        12.0, "worker", "delete", unit=f"web@eu-{number}", object=ref.key, uid=f"uid-{number}", commit=COMMIT
    )


async def approved_of_five(state: StateWithVault) -> HoldRow:
    (item,) = hold_request().deletions
    requests = tuple(
        replace(
            hold_request(), unit=UnitName.parse(f"web@eu-{number}"), deletions=(replace(item, uid=f"uid-{number}"),)
        )
        for number in range(1, 6)
    )
    opened = await state.put_hold(replace(hold(), requests=requests, list_digest=list_digest_of(requests)))
    return await state.decide_hold(
        opened.id, list_digest=opened.list_digest, decision="approved", actor="jo", reason="", at=11.0
    )


async def decided(state: StateWithVault, row: HoldRow, word: str, *, at: float) -> HoldRow:
    return await state.decide_hold(row.id, list_digest=row.list_digest, decision=word, actor="al", reason="", at=at)


def operation(name: str, *, key: str = "", actor: str = "jo") -> OperationRow:
    return OperationRow(name, "sync", "web@eu-1", actor, 5.0, "why", idempotency_key=key)


class StateContract:
    """Inherit and give a fixture `state`."""

    # Journal

    async def test_a_new_cluster_has_an_empty_journal(self, state: StateWithVault) -> None:
        found = await state.journal(EU1).load()
        assert (found.rows, found.units, found.deletions, found.identity, found.epoch) == ((), (), (), None, 0)
        assert (found.resume, found.verdicts) == ({}, {})

    async def test_the_journal_gives_back_every_field_that_was_committed(self, state: StateWithVault) -> None:
        hooks, asked = (
            (f"{DIGEST}/batch/Job/shop/x",),
            (Asked(ref("gone"), "prune-budget"), Asked(ref("x"), "sharp-fall")),
        )
        memory = UnitMemory(
            unit("web"), DIGEST, COMMIT, 4, Digest("p" * 64), hooks, False, told=(ref("x"),), asked=asked
        )
        entry = JournalEntry(
            put=(row("a"), row("b", state=RowState.INTENDED)),
            units=(memory,),
            resume={"apps/Deployment": "812"},
            deletions=(Deletion(unit("web"), ref("old"), time.time()),),
            identity=Identity("uid-cluster"),
            verdicts={"a/b": True, "a/c": False},
        )
        epoch = await state.next_epoch(EU1)
        await state.journal(EU1).commit(entry)
        found = await state.journal(EU1).load()
        assert set(found.rows) == set(entry.put)
        assert (found.units, dict(found.resume), dict(found.verdicts)) == ((memory,), entry.resume, entry.verdicts)
        assert (found.deletions, found.identity, found.epoch) == (entry.deletions, entry.identity, epoch)

    async def test_a_row_that_is_put_again_replaces_the_old_and_a_dropped_one_is_gone(
        self, state: StateWithVault
    ) -> None:
        journal = state.journal(EU1)
        await journal.commit(JournalEntry(put=(row("a"), row("b"), row("a", overlay="api"))))
        deleting = row("b", state=RowState.DELETING)
        await journal.commit(JournalEntry(put=(deleting,), drop=((unit("web"), ref("a")),)))
        assert set((await journal.load()).rows) == {deleting, row("a", overlay="api")}

    async def test_a_dropped_unit_is_forgotten_and_an_empty_resume_point_too(self, state: StateWithVault) -> None:
        journal = state.journal(EU1)
        await journal.commit(
            JournalEntry(units=(UnitMemory(unit("web")), UnitMemory(unit("api"))), resume={"/Pod": "1", "/Node": "2"})
        )
        await journal.commit(JournalEntry(drop_units=(unit("web"),), resume={"/Pod": ""}))
        found = await journal.load()
        assert (found.units, dict(found.resume)) == ((UnitMemory(unit("api")),), {"/Node": "2"})

    @pytest.mark.parametrize("step", [-7200.0, 7200.0])
    async def test_no_step_of_the_wall_clock_moves_the_hour_of_deletions(
        self, state: StateWithVault, monkeypatch: pytest.MonkeyPatch, step: float
    ) -> None:
        journal, wall = state.journal(EU1), time.time
        gone = Deletion(unit("web"), ref("old"), journal.run_time())
        await journal.commit(JournalEntry(deletions=(gone,)))
        monkeypatch.setattr(time, "time", lambda: wall() + step)
        assert (await state.journal(EU1).load()).deletions == (gone,)
        assert 0 <= state.run_time() - gone.at < 60

    async def test_a_dropped_deletion_counts_no_more_and_all_others_do(self, state: StateWithVault) -> None:
        journal, now = state.journal(EU1), state.run_time()
        first, again = Deletion(unit("web"), ref("a"), now - 9), Deletion(unit("web"), ref("a"), now - 8)
        others = (Deletion(unit("web"), ref("b"), now - 7), Deletion(unit("api"), ref("a"), now - 6))
        await state.journal(US1).commit(JournalEntry(deletions=(replace(first, unit=unit("web", US1)),)))
        await journal.commit(JournalEntry(deletions=(first, again, *others)))
        drop = JournalEntry(drop_deletions=((unit("web"), ref("a")),))
        await journal.commit(drop)
        assert (await journal.load()).deletions == others
        assert len((await state.journal(US1).load()).deletions) == 1
        later = Deletion(unit("web"), ref("a"), now)
        await asyncio.gather(  # in one write, in this order
            journal.commit(JournalEntry(deletions=(again,))),
            journal.commit(replace(drop, deletions=(later,))),
        )
        assert (await journal.load()).deletions == (*others, later)

    async def test_deletions_count_for_an_hour_and_no_longer(self, state: StateWithVault) -> None:
        now = state.run_time()
        young, old = (Deletion(unit("web"), ref(name), now - age) for name, age in (("y", 3500), ("o", 3700)))
        await state.journal(EU1).commit(JournalEntry(deletions=(young, old)))
        assert (await state.journal(EU1).load()).deletions == (young,)
        assert (await state.journal(EU1).load()).deletions == (young,)

    async def test_journals_of_two_clusters_never_mix(self, state: StateWithVault) -> None:
        await state.journal(EU1).commit(JournalEntry(put=(row("a"),), identity=Identity("one")))
        await state.journal(US1).commit(JournalEntry(put=(row("a", cluster=US1),)))
        assert (await state.journal(EU1).load()).rows == (row("a"),)
        assert (await state.journal(US1).load()).identity is None

    async def test_a_jotted_row_is_seen_by_the_next_load(self, state: StateWithVault) -> None:
        state.journal(EU1).jot(JournalEntry(put=(row("a"),), resume={"/Pod": "5"}))
        found = await state.journal(EU1).load()
        assert (found.rows, dict(found.resume)) == ((row("a"),), {"/Pod": "5"})

    async def test_a_commit_after_a_jot_of_the_same_row_wins(self, state: StateWithVault) -> None:
        journal = state.journal(EU1)
        journal.jot(JournalEntry(put=(row("a", state=RowState.INTENDED), row("b"))))
        await journal.commit(JournalEntry(put=(row("a"),)))
        await state.flush()
        assert set((await journal.load()).rows) == {row("a"), row("b")}

    async def test_concurrent_commits_all_land(self, state: StateWithVault) -> None:
        clusters = [ClusterName(f"c-{number}") for number in range(16)]
        commits = [
            state.journal(cluster).commit(JournalEntry(put=(row(f"o-{turn}", cluster=cluster),)))
            for cluster in clusters
            for turn in range(10)
        ]
        await asyncio.gather(*commits)
        for cluster in clusters:
            assert len((await state.journal(cluster).load()).rows) == 10

    # Values, numbers, identities

    async def test_values_are_kept_by_name(self, state: StateWithVault) -> None:
        assert await state.get_value("commit") is None
        await state.set_value("commit", "one")
        await state.set_value("commit", "two")
        assert (await state.get_value("commit"), await state.get_value("other")) == ("two", None)

    async def test_changes_of_one_value_at_once_are_all_kept(self, state: StateWithVault) -> None:
        def adding(word: str) -> Callable[[str | None], str]:
            return lambda known: f"{known or ''}{word}"

        await asyncio.gather(*(state.change_value("words", adding(word)) for word in "abcdefgh"))
        assert sorted(await state.get_value("words") or "") == list("abcdefgh")

    async def test_sequences_rise_without_overlap_also_when_asked_at_once(self, state: StateWithVault) -> None:
        firsts = await asyncio.gather(*(state.next_sequence(3) for _ in range(20)))
        assert len({first + offset for first in firsts for offset in range(3)}) == 60
        assert await state.next_sequence() > max(firsts) + 2

    async def test_epochs_rise_per_cluster_and_survive_forgetting_it(self, state: StateWithVault) -> None:
        first = await state.next_epoch(EU1)
        await state.forget_cluster(EU1)
        assert await state.next_epoch(EU1) > first > 0
        assert await state.next_epoch(US1) == first

    async def test_a_forgotten_cluster_leaves_nothing_and_touches_no_other(self, state: StateWithVault) -> None:
        for cluster in (EU1, US1):
            await state.record_identity(cluster, Identity(f"id-{cluster}"))
            await state.journal(cluster).commit(JournalEntry(put=(row("a", cluster=cluster),)))
            state.put_reports([report(cluster, units=(unit_report(cluster=cluster),))])
        await state.forget_cluster(EU1)
        await state.flush()
        assert dict(await state.identities()) == {US1: "id-us-1"}
        assert [one.cluster for one in await state.cluster_reports()] == [US1]
        assert [one.unit.cluster for one in await state.unit_reports()] == [US1]
        assert (await state.journal(EU1).load()).rows == ()
        assert len((await state.journal(US1).load()).rows) == 1

    async def test_a_renamed_cluster_has_its_record_under_the_new_name_alone(self, state: StateWithVault) -> None:
        old, new = EU1, ClusterName("eu-9")
        held = ReleasedBundle(unit("web"), COMMIT, DIGEST)
        memory = UnitMemory(unit("web"), DIGEST, COMMIT)
        entry = JournalEntry(put=(row("a"),), units=(memory,), resume={"/ConfigMap": "7"}, identity=Identity("id"))
        for cluster in (old, US1):
            await state.record_identity(cluster, Identity(f"id-{cluster}"))
        await state.journal(old).commit(entry)
        await state.journal(US1).commit(JournalEntry(put=(row("a", cluster=US1),)))
        await state.put_released([held, replace(held, unit=replace(held.unit, cluster=new), bundle=Digest("c" * 64))])
        state.journal(old).jot(JournalEntry(put=(row("b"),)))
        state.put_reports([report(old, units=(unit_report(cluster=old),)), report(new), report(US1)])
        for scope in (f"cluster {old}", f"unit web@{old}", "unit web@deu-1", "fleet"):
            await state.put_suspension(Suspension("why", "jo", "", scope))
        await state.put_suspension(Suspension("mine", "al", "", f"cluster {old}"))
        await state.put_suspension(Suspension("said of the new name", "jo", "", f"cluster {new}"))
        await state.rename_cluster(old, new, {"leaving": "nobody"})
        await state.flush()

        assert dict(await state.identities()) == {new: "id-eu-1", US1: "id-us-1"}
        carried = await state.journal(new).load()
        assert {one.ref.name: one.unit.cluster for one in carried.rows} == {"a": new, "b": new}
        assert carried.units == (replace(memory, unit=replace(memory.unit, cluster=new)),)
        assert (dict(carried.resume), carried.identity) == ({"/ConfigMap": "7"}, "id")
        left = await state.journal(old).load()
        assert (left.rows, left.units, left.identity) == ((), (), None)
        assert len((await state.journal(US1).load()).rows) == 1
        assert await state.released() == (replace(held, unit=replace(held.unit, cluster=new)),)
        assert [one.cluster for one in await state.cluster_reports()] == [US1]
        assert {(one.scope, one.owner, one.reason) for one in await state.suspensions()} == {
            (f"cluster {new}", "al", "mine"), (f"cluster {new}", "jo", "said of the new name"),
            (f"unit web@{new}", "jo", "why"), ("unit web@deu-1", "jo", "why"), ("fleet", "jo", "why"),
        }  # fmt: skip
        assert await state.get_value("leaving") == "nobody"

    # Reports

    async def test_reports_come_back_whole(self, state: StateWithVault) -> None:
        state.put_reports([report(units=(unit_report(),), events=(event("healed"),))])
        await state.flush()
        assert await state.cluster_reports() == (report(),)
        assert await state.unit_reports() == (unit_report(),)
        assert [one.event for one in await state.events()] == [event("healed")]

    async def test_a_delta_keeps_other_units_a_full_report_replaces_them(self, state: StateWithVault) -> None:
        state.put_reports([report(units=(unit_report("web"), unit_report("api")))])
        await state.flush()
        state.put_reports([report(sequence=2, units=(unit_report("web", message="new"),))])
        await state.flush()
        assert {one.unit.overlay: one.message for one in await state.unit_reports()} == {
            "web": "new",
            "api": unit_report().message,
        }
        state.put_reports([report(sequence=3, full=True, units=(unit_report("db"),))])
        await state.flush()
        assert [one.unit.overlay for one in await state.unit_reports()] == ["db"]

    async def test_a_detached_unit_leaves_the_statuses(self, state: StateWithVault) -> None:
        state.put_reports([report(units=(unit_report("web"), unit_report("api")))])
        state.put_reports([report(sequence=2, units=(unit_report("web", detached=True),))])
        await state.flush()
        assert [one.unit.overlay for one in await state.unit_reports()] == ["api"]

    async def test_released_bundles_are_replaced_and_removed_by_unit(self, state: StateWithVault) -> None:
        one, two = (ReleasedBundle(unit(name), COMMIT, DIGEST) for name in ("web", "api"))
        await state.put_released([one, two])
        newer = replace(one, bundle=Digest("c" * 64))
        await state.put_released([newer], gone=[two.unit], values={"with": "them"})
        assert await state.get_value("with") == "them"
        assert await state.released() == (newer,)

    async def test_what_was_shown_is_kept_until_its_unit_holds_something_else(self, state: StateWithVault) -> None:
        web, api, db = unit("web"), unit("api"), unit("db")
        shown = {name: Shown(Rendered(DIGEST, COMMIT), f"op-{name}") for name in (web, api, db)}
        await state.put_released([], shown=shown)
        assert await state.shown() == shown
        over = Shown(Rendered(Digest("c" * 64), COMMIT), is_over=True, is_begun=True, is_back=True)
        held = ReleasedBundle(web, COMMIT, DIGEST)
        await state.put_released([held], gone=[api], shown={api: over})
        assert await state.shown() == {api: over, db: shown[db]}
        new = ClusterName("eu-9")
        await state.rename_cluster(web.cluster, new, {})
        assert await state.shown() == {replace(name, cluster=new): one for name, one in ((api, over), (db, shown[db]))}

    # Timeline, audit

    async def test_the_timeline_pages_both_ways_and_filters(self, state: StateWithVault) -> None:
        rows = await state.add_events([event(f"e{number}") for number in range(5)])
        await state.add_events([event("us", US1), event("api", overlay="api"), event("cluster", overlay="")])
        assert [one.id for one in rows] == sorted(one.id for one in rows)
        first = await state.events(limit=2)
        then = await state.events(after=first[-1].id, limit=2)
        assert [one.event.message for one in first + then] == ["e0", "e1", "e2", "e3"]
        newest = await state.events(limit=2, newest_first=True)
        older = await state.events(after=newest[-1].id, limit=1, newest_first=True)
        assert [one.event.message for one in newest + older] == ["cluster", "api", "us"]
        assert [one.event.message for one in await state.events(cluster="us-1")] == ["us"]
        assert [one.event.message for one in await state.events(overlay="api")] == ["api"]
        assert len(await state.events(unit="web@eu-1")) == 5

    async def test_audit_entries_keep_order_and_every_field_and_are_chained(self, state: StateWithVault) -> None:
        full = AuditEntry(
            1.0, "jo", "delete", "eu-1", "id", "web@eu-1", "/Pod/a/b", "uid", COMMIT, "drop", "done", "after", "mara"
        )
        heads = [await state.write(entry) for entry in (full, AuditEntry(2.0, "fleet", "adopt"))]
        links = await state.audit_entries()
        assert [link.entry for link in links] == [full, AuditEntry(2.0, "fleet", "adopt")]
        assert [link.head for link in links] == heads
        assert [head.number for head in heads] == [1, 2]
        assert heads[0].seal != heads[1].seal
        assert await state.audit_entries(after=1) == links[1:]

    async def test_what_was_deleted_on_behalf_of_a_commit_is_told_by_unit(self, state: StateWithVault) -> None:
        def deletion(name: str, outcome: str = "done", **more: str) -> AuditEntry:
            said = {"cluster": "eu-1", "unit": "web@eu-1", "commit": COMMIT, "action": "delete", **more}
            return AuditEntry(1.0, "worker", object=f"/ConfigMap/shop/{name}", uid="u", outcome=outcome, **said)

        for entry in (
            deletion("begun", ""),
            deletion("done"),
            deletion("gone", "gone"),
            deletion("refused", "failed: Forbidden"),
            deletion("lost", "unknown: HubEnded"),
            deletion("adopted", action="adopt"),
            deletion("older", commit="a" * 40),
            deletion("theirs", unit="web-2@eu-1"),
            deletion("there", unit="web@us-1"),
            deletion("smoke", action="gate-job-delete"),
            replace(deletion("smoke"), object="Job shop/smoke"),  # as earlier versions wrote the end of a gate's Job
            replace(deletion("smoke"), object="Job shop/smoke", unit="web@ap-1"),
        ):
            await state.write(entry)
        refs = {name: ObjectRef("", "ConfigMap", "shop", name) for name in ("done", "gone", "older", "there")}
        web, there = UnitName.parse("web@eu-1"), UnitName.parse("web@us-1")
        assert await state.deleted(OverlayName("web"), {COMMIT}) == {
            web: {refs["done"], refs["gone"]},
            there: {refs["there"]},
        }
        assert await state.deleted(OverlayName("web"), {COMMIT, Revision("a" * 40)}) == {
            web: {refs["done"], refs["gone"], refs["older"]},
            there: {refs["there"]},
        }
        assert await state.deleted(OverlayName("w_b"), [COMMIT]) == {}
        assert await state.deleted(OverlayName("web"), ()) == {}
        assert await state.deleted(OverlayName("other"), {COMMIT}) == {}

    async def test_a_deletion_names_who_approved_exactly_it(self, state: StateWithVault) -> None:
        asked = await state.put_hold(hold())
        await state.decide_hold(
            asked.id, list_digest=asked.list_digest, decision="approved", actor="mara", reason="", at=asked.created_at
        )
        request = asked.requests[0]
        listed = request.deletions[0]

        def deletion(uid: str, outcome: str) -> AuditEntry:
            unit = str(request.unit)
            return AuditEntry(1.0, "worker", "delete", unit=unit, object=listed.ref.key, uid=uid, outcome=outcome)

        for entry in (deletion(listed.uid, ""), deletion("another", "")):
            await state.write(entry)
        await state.close_hold(asked.id, 2.0)
        links = await state.audit_entries()
        assert [link.entry.approver for link in links] == ["mara", ""]

    # Operations, suspensions

    async def test_an_operation_with_a_known_key_is_the_earlier_one(self, state: StateWithVault) -> None:
        first = await state.add_operation(operation("op-1", key="k"))
        assert await state.add_operation(operation("op-2", key="k")) == first
        assert (await state.add_operation(operation("op-3", key="k", actor="al"))).id == "op-3"
        assert (await state.add_operation(operation("op-4"))).id == "op-4"
        assert (await state.add_operation(operation("op-5"))).id == "op-5"
        assert [one.id for one in await state.operations()] == ["op-5", "op-4", "op-3", "op-1"]

    @pytest.mark.parametrize("other", [{"kind": "wipe"}, {"target": "web@us-1"}, {"override": True}])
    async def test_a_known_key_for_another_operation_is_refused_and_drops_nothing(
        self, state: StateWithVault, other: dict[str, Any]
    ) -> None:
        first = await state.add_operation(operation("op-1", key="k"))
        with pytest.raises(RequestInvalid):
            await state.add_operation(replace(operation("op-2", key="k"), **other))
        assert await state.operations() == (first,)
        assert (await state.add_operation(replace(operation("op-3", key="k2"), **other))).id == "op-3"

    async def test_an_operation_ends_exactly_once_also_when_raced(self, state: StateWithVault) -> None:
        await state.add_operation(operation("op-1"))
        wins = await asyncio.gather(*(state.end_operation("op-1", f"done{n}", "m", 9.0) for n in range(5)))
        assert sum(wins) == 1
        ended = await state.operation("op-1")
        assert ended is not None
        assert ended.outcome == f"done{wins.index(True)}"
        assert await state.operations(open_only=True) == ()
        assert not await state.end_operation("op-9", "done", "", 9.0)
        assert await state.operation("op-9") is None

    async def test_operations_before_one_are_the_older_ones(self, state: StateWithVault) -> None:
        for number in range(1, 6):
            await state.add_operation(operation(f"op-{number}"))
        await state.end_operation("op-2", "done", "", 9.0)
        assert [one.id for one in await state.operations(limit=2, before="op-4")] == ["op-3", "op-2"]
        assert [one.id for one in await state.operations(open_only=True, before="op-4")] == ["op-3", "op-1"]
        assert [one.id for one in await state.operations(open_only=True, before="op-2")] == ["op-1"]
        assert await state.operations(before="op-1") == ()
        assert await state.operations(before="op-9") == ()

    async def test_suspensions_are_set_replaced_and_lifted(self, state: StateWithVault) -> None:
        await state.put_suspension(Suspension("disk swap", "jo", "", "cluster eu-1"))
        await state.put_suspension(Suspension("longer", "jo", "", "cluster eu-1"))
        await state.put_suspension(Suspension("freeze", "al", "2026-12-31T00:00:00Z", "fleet"))
        await state.put_suspension(Suspension("a look", "al", "", "cluster eu-1"))
        assert [one.reason for one in await state.suspensions()] == ["a look", "longer", "freeze"]
        await state.lift_suspensions("cluster eu-1", ["al", "nobody"])
        assert [one.reason for one in await state.suspensions()] == ["longer", "freeze"]
        await state.lift_suspensions("cluster eu-1", ["jo"])
        await state.lift_suspensions("cluster eu-1", ["jo"])
        assert [one.scope for one in await state.suspensions()] == ["fleet"]

    # Holds

    async def test_a_hold_is_one_per_overlay_and_commit(self, state: StateWithVault) -> None:
        first = await state.put_hold(hold())
        again = await state.put_hold(hold(at=20.0, expires=2000.0))
        other = await state.put_hold(hold("api"))
        assert (again.id, again.created_at, again.expires_at) == (first.id, first.created_at, 2000.0)
        assert (first.id, other.id) == ("h-1", "h-2")
        assert first.requests == (hold_request(),)
        assert [one.id for one in await state.holds()] == ["h-2", "h-1"]
        assert (await state.hold("h-1"), await state.hold("h-3")) == (again, None)

    async def test_holds_are_found_by_how_they_were_decided(self, state: StateWithVault) -> None:
        for overlay, decision in (("a", ""), ("b", "approved"), ("c", "rejected"), ("d", "")):
            row = await state.put_hold(hold(overlay))
            if decision:
                await state.decide_hold(
                    row.id, list_digest=Digest("d1"), decision=decision, actor="jo", reason="", at=11.0
                )
        await state.close_hold("h-4", 12.0)
        for decisions, found in (
            (OPEN, ["h-2", "h-1"]),
            ({"rejected"}, ["h-3"]),
            ({"rejected", "void"}, ["h-4", "h-3"]),
            ((), []),
            (None, ["h-4", "h-3", "h-2", "h-1"]),
        ):
            assert [row.id for row in await state.holds(decisions=decisions)] == found

    async def test_an_approval_survives_asking_again_and_is_void_for_another_list(self, state: StateWithVault) -> None:
        opened = await state.put_hold(hold())
        decided = await state.decide_hold(
            opened.id, list_digest=Digest("d1"), decision="approved", actor="jo", reason="ok", at=11.0
        )
        assert (decided.decision, decided.decided_by, decided.decided_at, decided.reason) == (
            "approved",
            "jo",
            11.0,
            "ok",
        )
        same = await state.put_hold(hold(at=20.0, expires=2000.0))
        assert (same.decision, same.expires_at) == ("approved", 1000.0)
        changed = await state.put_hold(hold(digest="d2", at=30.0, expires=3000.0))
        assert (changed.id, changed.decision, changed.decided_by) == (opened.id, "", "")
        assert await state.holds(decisions=OPEN) == (changed,)

    async def test_an_approval_that_expired_asks_anew(self, state: StateWithVault) -> None:
        opened = await state.put_hold(hold())
        await state.decide_hold(opened.id, list_digest=Digest("d1"), decision="approved", actor="jo", reason="", at=11)
        late = await state.put_hold(hold(at=1000.0, expires=2000.0))
        assert (late.decision, late.expires_at) == ("", 2000.0)

    async def test_a_decision_on_another_list_or_after_the_end_is_refused(self, state: StateWithVault) -> None:
        opened = await state.put_hold(hold())
        for digest, at in (("d2", 11.0), ("d1", 1000.0)):
            with pytest.raises(PreconditionFailed):
                await state.decide_hold(
                    opened.id, list_digest=Digest(digest), decision="approved", actor="jo", reason="", at=at
                )
        with pytest.raises(NotKnown):
            await state.decide_hold(
                "h-99", list_digest=Digest("d1"), decision="approved", actor="jo", reason="", at=11.0
            )
        assert (await state.holds())[0].decision == ""

    @pytest.mark.parametrize("words", [("approved",) * 3, ("rejected",) * 3, ("approved", "rejected", "approved")])
    async def test_of_decisions_at_once_one_wins_and_it_is_the_rejection(
        self, state: StateWithVault, words: tuple[str, ...]
    ) -> None:
        opened = await state.put_hold(hold())
        answers = await asyncio.gather(
            *(
                state.decide_hold(opened.id, list_digest=Digest("d1"), decision=word, actor="jo", reason="", at=11.0)
                for word in words
            ),
            return_exceptions=True,
        )
        made = [answer.decision for answer in answers if isinstance(answer, HoldRow)]
        assert sorted(set(made)) == sorted(made), "no word counts twice"
        assert sum(isinstance(answer, PreconditionFailed) for answer in answers) == 3 - len(made)
        assert ("rejected" in made) == ("rejected" in words)
        assert (await state.holds())[0].decision == max(words)

    async def test_a_closed_hold_is_no_longer_open_and_opens_again_when_asked(self, state: StateWithVault) -> None:
        opened = await state.put_hold(hold())
        await state.close_hold(opened.id, 12.0)
        assert await state.holds(decisions=OPEN) == ()
        assert (await state.holds())[0].decision == "void"
        assert (await state.put_hold(hold(at=20.0))).decision == ""
        with pytest.raises(NotKnown):
            await state.close_hold("h-99", 12.0)

    async def test_a_rejected_list_stays_rejected(self, state: StateWithVault) -> None:
        opened = await state.put_hold(hold())
        await state.decide_hold(opened.id, list_digest=Digest("d1"), decision="rejected", actor="jo", reason="", at=11)
        assert (await state.put_hold(hold(at=20.0))).decision == "rejected"
        assert await state.holds(decisions=OPEN) == ()

    async def test_a_rejection_stays_known_whatever_is_asked_later_until_a_person_approves(
        self, state: StateWithVault
    ) -> None:
        opened = await state.put_hold(hold())
        await state.decide_hold(opened.id, list_digest=Digest("d1"), decision="rejected", actor="jo", reason="", at=11)
        changed = await state.put_hold(hold(digest="d2", at=20.0))
        assert (changed.decision, changed.decided_by, changed.rejected_at) == ("", "", 11.0)
        await state.close_hold(opened.id, 12.0)
        assert (await state.put_hold(hold(digest="d3", at=20.0))).rejected_at == 11.0
        approved = await state.decide_hold(
            opened.id, list_digest=Digest("d3"), decision="approved", actor="al", reason="", at=21.0
        )
        assert (approved.rejected_at, (await state.put_hold(hold(digest="d4", at=30.0))).rejected_at) == (0.0, 0.0)

    async def test_a_rejection_overrules_an_approval_for_what_is_not_deleted_yet(self, state: StateWithVault) -> None:
        approved = await approved_of_five(state)
        assert [(await state.write(begun(number))).number for number in (1, 2, 3)] == [1, 2, 3]
        await state.write(replace(begun(1), outcome="done"))
        await state.write(replace(begun(3), outcome="failed: Forbidden"))
        said = await decided(state, approved, "rejected", at=13.0)
        assert [str(one.unit) for one in said.requests] == ["web@eu-3", "web@eu-4", "web@eu-5"]
        assert (said.decision, said.decided_by, said.rejected_at) == ("rejected", "al", 13.0)
        assert said.list_digest == list_digest_of(said.requests)
        again = await state.put_hold(replace(said, created_at=20.0))  # as its workers ask once they are told
        assert (again, await state.holds(decisions=OPEN)) == (said, ())

    async def test_an_approval_overrules_no_rejection_and_no_word_is_said_twice(self, state: StateWithVault) -> None:
        approved = await approved_of_five(state)
        with pytest.raises(PreconditionFailed, match="decided already"):
            await decided(state, approved, "approved", at=12.0)
        said = await decided(state, approved, "rejected", at=13.0)
        for word in ("approved", "rejected"):
            with pytest.raises(PreconditionFailed, match="decided already"):
                await decided(state, said, word, at=14.0)
        assert await state.hold(said.id) == said
        await state.close_hold((await state.put_hold(hold("api"))).id, 12.0)
        with pytest.raises(PreconditionFailed, match="decided already"):
            await state.decide_hold(
                "h-2", list_digest=Digest("d1"), decision="rejected", actor="al", reason="", at=13.0
            )

    async def test_a_rejection_of_another_list_or_of_what_has_all_gone_overrules_nothing(
        self, state: StateWithVault
    ) -> None:
        approved = await approved_of_five(state)
        with pytest.raises(PreconditionFailed, match="another list"):
            await decided(state, replace(approved, list_digest=Digest("d9")), "rejected", at=13.0)
        for number in range(1, 6):
            await state.write(begun(number))
        with pytest.raises(PreconditionFailed, match="nothing is left"):
            await decided(state, approved, "rejected", at=13.0)
        assert await state.hold(approved.id) == approved

    async def test_what_was_rejected_does_not_begin_to_be_deleted(self, state: StateWithVault) -> None:
        approved = await approved_of_five(state)
        await state.write(begun(1))
        await decided(state, approved, "rejected", at=13.0)
        with pytest.raises(Withdrawn, match="is not deleted"):
            await state.write(begun(2))
        await state.write(replace(begun(1), outcome="done"))  # it began before
        last = (await state.audit_entries())[-1].entry
        assert (last.uid, last.outcome, last.approver) == ("uid-1", "done", "jo" if last.approver else "")
        for harmless in (
            replace(begun(2), uid="uid-x"),  # made anew since
            replace(begun(2), commit="b" * 40),  # asked about anew
            replace(begun(2), unit="web@eu-9"),
            replace(begun(2), action="adopt"),
        ):
            await state.write(harmless)
        assert len(await state.audit_entries()) == 6

    async def test_a_deletion_and_a_rejection_at_once_are_each_before_or_after_the_other(
        self, state: StateWithVault
    ) -> None:
        approved = await approved_of_five(state)
        wishes = [state.write(begun(number)) for number in range(1, 6)]
        answers = await asyncio.gather(
            *wishes[:2], decided(state, approved, "rejected", at=13.0), *wishes[2:], return_exceptions=True
        )
        said = answers.pop(2)
        assert isinstance(said, HoldRow)
        stay = {deletion.uid for request in said.requests for deletion in request.deletions}
        gone = {link.entry.uid for link in await state.audit_entries()}
        assert (stay | gone, stay & gone) == ({f"uid-{number}" for number in range(1, 6)}, set())
        assert sum(isinstance(answer, Withdrawn) for answer in answers) == len(stay)

    async def test_a_rejection_is_of_what_its_list_showed_and_an_approval_takes_back_no_more(
        self, state: StateWithVault
    ) -> None:
        one, two = hold_request(), replace(hold_request(), unit=unit("web", ClusterName("eu-2")))
        both = replace(hold(digest="d2", at=20.0), requests=(one, two))
        opened = await state.put_hold(hold())
        await state.decide_hold(opened.id, list_digest=Digest("d1"), decision="rejected", actor="jo", reason="", at=11)
        assert (await state.put_hold(both)).rejected == (one,)
        await state.decide_hold(opened.id, list_digest=Digest("d2"), decision="rejected", actor="jo", reason="", at=21)
        (row,) = await state.holds()
        assert (row.rejected, row.rejected_at) == ((one, two), 21.0)
        await state.put_hold(replace(both, requests=(two,), list_digest=Digest("d3")))
        await state.decide_hold(opened.id, list_digest=Digest("d3"), decision="approved", actor="al", reason="", at=31)
        (row,) = await state.holds()
        assert (row.decision, row.rejected, row.rejected_at) == ("approved", (one,), 21.0)

    # Tokens, credentials, vault

    async def test_tokens_are_found_by_digest_and_revoked_once(self, state: StateWithVault) -> None:
        ci = TokenRow("t-1", "ci", "viewer", DIGEST, 1.0, 99.0)
        assert await state.add_token(ci)
        assert await state.add_token(TokenRow("t-2", "jo", "admin", Digest("c" * 64), 2.0, 99.0))
        assert await state.token(DIGEST) == ci
        assert await state.token(Digest("f" * 64)) is None
        assert await state.revoke_token("ci", 5.0)
        assert not await state.revoke_token("t-1", 6.0)
        assert not await state.revoke_token("nobody", 6.0)
        assert await state.token(DIGEST) == replace(ci, revoked_at=5.0)
        assert [one.id for one in await state.tokens()] == ["t-1", "t-2"]

    async def test_a_name_has_one_token_in_force_however_many_ask_at_once(self, state: StateWithVault) -> None:
        def named(number: int, at: float) -> TokenRow:
            return TokenRow(f"t-{number}", "ci", "viewer", Digest(f"{number}" * 64), at, at + 60)

        made = await asyncio.gather(*(state.add_token(named(number, 1.0)) for number in range(4)))
        assert sorted(made) == [False, False, False, True]
        assert len(await state.tokens()) == 1
        assert not await state.add_token(named(5, 60.9))
        assert await state.add_token(named(6, 61.0))  # the one before is over
        assert await state.revoke_token("ci", 62.0)
        assert await state.add_token(named(7, 63.0))

    async def test_credentials_are_kept_replaced_and_removed(self, state: StateWithVault) -> None:
        await state.put_credential("eu-1", b"one", 1.0)
        await state.put_credential("eu-1", b"two\x00\xff", 2.0)
        assert (await state.credential("eu-1"), await state.credential("us-1")) == (b"two\x00\xff", None)
        assert dict(await state.credentials()) == {"eu-1": 2.0}
        assert await state.remove_credential("eu-1")
        assert not await state.remove_credential("eu-1")
        assert dict(await state.credentials()) == {}

    async def test_a_renewed_credential_takes_the_place_of_the_one_it_was_made_from_alone(
        self, state: StateWithVault
    ) -> None:
        assert not await state.renew_credential("eu-1", b"one", b"two", 1.0)
        await state.put_credential("eu-1", b"one", 1.0)
        assert await state.renew_credential("eu-1", b"one", b"two", 2.0)
        assert (await state.credential("eu-1"), dict(await state.credentials())) == (b"two", {"eu-1": 2.0})
        await state.put_credential("eu-1", b"by a person", 3.0)
        assert not await state.renew_credential("eu-1", b"two", b"three", 4.0)
        assert await state.credential("eu-1") == b"by a person"
        await state.remove_credential("eu-1")
        assert not await state.renew_credential("eu-1", b"by a person", b"three", 5.0)
        assert await state.credential("eu-1") is None

    async def test_the_vault_returns_what_it_knows_of_many_names(self, state: StateWithVault) -> None:
        values = {f"fleet-sealed:{number}": bytes([number % 256]) * 3 for number in range(1200)}
        await state.vault.put(DIGEST, values)
        assert dict(await state.vault.get([*values, "fleet-sealed:none"])) == values
        assert dict(await state.vault.get([])) == {}
