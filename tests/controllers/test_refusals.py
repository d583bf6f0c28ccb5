"""Each boundary counts what it refuses, once, and the audit log holds it with its rule."""

from __future__ import annotations

from dataclasses import replace

import pytest
from controllers.rig import Brain
from hubworld import AT_ONCE, cluster_file, config_map, overlay

from fleet import telemetry
from fleet.controllers.refusals import WAITING, Refusals
from fleet.core.audit import AuditEntry
from fleet.core.ids import ClusterName, Digest, Identity, ObjectRef, Revision, UnitName
from fleet.core.refusal_log import Boundary, Refusal
from fleet.core.status import Health, HoldRequest, PendingDeletion, Report, Sync, UnitReport
from fleet.errors import StateNotWritable

UNIT = UnitName.parse("web@eu-1")


def counted(boundary: str, rule: str, reason: str) -> float:
    labels = {"boundary": boundary, "rule": rule, "reason": reason}
    return telemetry.REGISTRY.get_sample_value("fleet_refusals_total", labels) or 0.0


async def refused(brain: Brain) -> list[AuditEntry]:
    await brain.refusals.flush()
    links = await brain.state.audit_entries(after=0, limit=1000)
    return [link.entry for link in links if link.entry.action == "refuse"]


def repo(**more: str) -> dict[str, str]:
    return {
        "fleet.yaml": AT_ONCE,
        "clusters/eu-1.yaml": cluster_file("eu-1"),
        **overlay("overlays/web", {"a": config_map("a", "1")}),
        **more,
    }


async def test_a_rewritten_branch_is_counted_at_each_fetch_and_written_once(brain: Brain) -> None:
    await brain.commit(repo())
    before = counted("git", "R7", "HistoryRewritten")
    brain.repo.rewrite({"README.md": "nothing"})
    for _ in range(3):
        await brain.commits.fetch_once()
    assert counted("git", "R7", "HistoryRewritten") == before + 3
    (entry,) = await refused(brain)
    assert entry.reason.startswith("HistoryRewritten (R7): ")


async def test_a_bad_file_is_counted_once_while_it_stays_bad(brain: Brain) -> None:
    twice = {"clusters/also.yaml": cluster_file("eu-1")}
    await brain.commit(repo())
    before = counted("repo", "R2", "DuplicateName")
    await brain.commit(twice)
    await brain.commit({"overlays/web/a.yaml": config_map("a", "2")})
    assert counted("repo", "R2", "DuplicateName") == before + 1
    (entry,) = await refused(brain)
    assert entry.object.startswith("clusters/")
    assert entry.commit


async def test_a_build_that_is_refused_is_written_with_its_overlay_and_commit(brain: Brain) -> None:
    before = counted("render", "R27", "PathEscapes")
    commit = await brain.commit(repo(**{"overlays/web/kustomization.yaml": "resources: [/etc/passwd]\n"}))
    (entry,) = await refused(brain)
    assert (entry.unit, entry.commit) == ("web", commit)
    assert entry.reason.startswith("PathEscapes (R27): ")
    assert counted("render", "R27", "PathEscapes") == before + 1


async def test_a_teams_object_outside_its_rights_is_written(brain: Brain) -> None:
    teams = AT_ONCE.replace("spec: {", "spec: {teams: {t: {dirs: [overlays/*], allow: {kinds: [Service]}}}, ")
    await brain.commit(repo(**{"fleet.yaml": teams}))
    assert [entry.reason.partition(":")[0] for entry in await refused(brain)] == ["NotAllowedForTeam (R29)"]


def report(sequence: int, **changes) -> Report:
    made = Report(ClusterName("eu-1"), 1, sequence, 1_800_000_000.0 + sequence, identity=Identity("uid-eu-1"))
    return replace(made, **changes)


def unit_report(**changes) -> UnitReport:
    made = UnitReport(UNIT, Revision("a" * 40), Digest("b"), Sync.SYNCED, Health.HEALTHY, 1_800_000_000.0)
    return replace(made, **changes)


async def test_what_a_cluster_refuses_is_counted_when_it_begins_and_not_with_each_heartbeat(brain: Brain) -> None:
    await brain.commit(repo())
    before = counted("cluster", "R1", "IdentityMismatch")
    for sequence in range(2_000_000, 2_000_005):
        await brain.intake.send(report(sequence, reason="IdentityMismatch", message="identity 2, expected 1 (R1)"))
    await brain.intake.send(report(2_000_005, reachable=True))
    await brain.intake.send(report(2_000_006, reason="ClusterUnreachable", message="refuses connections"))
    assert counted("cluster", "R1", "IdentityMismatch") == before + 1
    (entry,) = await refused(brain)
    assert (entry.cluster, entry.outcome) == ("eu-1", "refused")


async def test_what_a_unit_refuses_is_counted_when_it_begins(brain: Brain) -> None:
    await brain.commit(repo())
    before = counted("unit", "R4", "ObjectForeign")
    bad = unit_report(reason="ObjectForeign", message="ConfigMap default/a is helm's")
    for sequence in range(2_000_000, 2_000_003):
        await brain.intake.send(report(sequence, reachable=True, units=(bad,)))
    assert counted("unit", "R4", "ObjectForeign") == before + 1
    (entry,) = await refused(brain)
    assert entry.unit == "web@eu-1"


async def test_a_hold_is_written_when_its_list_is_new(brain: Brain) -> None:
    await brain.commit(repo())
    before = counted("deletion", "R10", "precious-kind")

    def asks(*names: str) -> UnitReport:
        gone = tuple(PendingDeletion(ObjectRef("", "Namespace", "", name), name, Digest("c")) for name in names)
        hold = HoldRequest(UNIT, Revision("a" * 40), "precious-kind", f"would delete {names}", gone)
        return unit_report(holds=(hold,))

    for sequence, names in ((2_000_000, ("a",)), (2_000_001, ("a",)), (2_000_002, ("a", "b"))):
        await brain.intake.send(report(sequence, reachable=True, units=(asks(*names),)))
        await brain.orders.look()
        await brain.orders.look()
    assert counted("deletion", "R10", "precious-kind") == before + 2
    assert [entry.unit for entry in await refused(brain)] == ["web"]  # the longer list within the same minute


# The log itself


async def test_entries_wait_through_a_full_disk_and_only_so_many(brain: Brain) -> None:
    class Full:
        full, written = True, 0

        async def write(self, entry: AuditEntry):
            if self.full:
                raise StateNotWritable("no space")
            self.written += 1

    audit, now = Full(), [0.0]
    refusals = Refusals(audit, lambda: now[0])
    for number in range(3 * WAITING):
        now[0] += 10.0
        refusals.note(Refusal(Boundary.API, "NotAllowed", "x", object=str(number)))
    with pytest.raises(StateNotWritable):
        await refusals.flush()
    audit.full = False
    await refusals.flush()
    assert 0 < audit.written <= WAITING
    await refusals.flush()
    assert audit.written <= WAITING
