"""A cluster that loses answers, asks for patience, stays mute, or is another one: on simulated clusters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from rig import config_map, notes
from simulated import SHOP, SimHub
from testbed.workloads import job

from fleet.core.ids import Identity
from fleet.core.record import PARENT_NAMESPACE
from fleet.core.rollout import Desired, Detach
from fleet.core.status import ASKS_RECOVERY, EventKind
from fleet.core.sync_policy import Adopt, SyncPolicy, Validate
from fleet.errors import OwnedByOther
from fleet.kube.limits import KubeLimits
from fleet.ports.kube import Catalog
from fleet.reconcile.limits import WorkerLimits
from fleet.sim import Simulation
from fleet.store.memory_journal import MemoryJournal


@pytest.fixture
async def sim() -> AsyncIterator[Simulation]:
    async with Simulation(["one", "two"], seed=1, ready_seconds=0.02) as simulation:
        yield simulation


@pytest.fixture
def hub(sim: Simulation) -> SimHub:
    return SimHub(sim)  # type: ignore[arg-type]


@pytest.mark.parametrize("lost", [True, False])
async def test_a_write_whose_answer_is_lost_is_read_before_it_is_repeated(hub: SimHub, lost: bool) -> None:
    hub.kube_limits = KubeLimits(call_seconds=1.0)
    if lost:
        hub.cluster.faults.add("lost_write", verbs={"patch"}, name="a", count=1)
    unit = hub.want("web", [config_map("a", SHOP), config_map("b", SHOP)])
    async with hub.worker():
        await hub.until_well(unit)
    writes = [e for e in hub.asked("patch", "a") if not e.dry_run]
    assert len(writes) == 1
    assert bool([e for e in hub.asked("get", "a") if e.moment > writes[0].moment]) is lost


async def test_retry_after_holds_its_own_cluster_alone(sim: Simulation, hub: SimHub) -> None:
    other = SimHub(sim, at="two")  # type: ignore[arg-type]
    hub.cluster.faults.add("error", code=429, retry_after=2, verbs={"patch"}, name="c0", count=1)
    units = [each.want("web", [config_map(f"c{n}", SHOP) for n in range(40)]) for each in (hub, other)]
    async with hub.worker(), other.worker():
        await hub.until(lambda: any(e.code == 429 for e in hub.asked("patch")), "refused")
        refused = next(e.moment for e in hub.asked("patch") if e.code == 429)
        await other.until_well(units[1])
        ended = max(e.moment for e in other.asked("patch"))
        await hub.until_well(units[0])
    again = min(e.moment for e in hub.asked("patch", "c0") if e.moment > refused)
    assert again - refused >= 2
    assert ended < again


async def test_a_proof_list_finds_what_a_mute_watch_hides_and_asks_no_more_often_than_said(hub: SimHub) -> None:
    hub.limits = WorkerLimits(proof_seconds=1.0)
    unit = hub.want("web", [config_map("a", SHOP), config_map("b", SHOP)])
    async with hub.worker():
        await hub.until_well(unit)
        before = len([e for e in hub.cluster.ledger.since(0) if e.verb == "list"])
        started = asyncio.get_running_loop().time()
        hub.cluster.faults.add("silent", verbs={"watch"})
        hub.cluster.cut()
        await asyncio.sleep(0)
        hub.cluster.drift("", "ConfigMap", SHOP, "a", {"data": {"a": "x"}})
        hub.cluster.remove("", "ConfigMap", SHOP, "b")
        await hub.until(lambda: len(hub.told(EventKind.HEALED)) >= 2, "healed")
        elapsed = asyncio.get_running_loop().time() - started
        lists = len([e for e in hub.cluster.ledger.since(0) if e.verb == "list"]) - before
        assert lists <= elapsed / 0.9 + 2  # the cut watch may list once, too


@pytest.mark.parametrize("fails", [True, False])
async def test_sync_fail_hooks_run_once_when_the_bundle_fails_and_only_then(hub: SimHub, fails: bool) -> None:
    hook = job("alarm", SHOP)
    hook["metadata"].update(notes(hook="SyncFail"))
    broken = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": SHOP}}
    broken["spec"] = {"ports": [{"port": 99999 if fails else 80}]}
    unit = hub.want("web", [hook, broken, config_map("a", SHOP)])
    async with hub.worker():
        if not fails:
            await hub.until_well(unit)
            assert hub.cluster.get("batch", "Job", SHOP, "alarm") is None
            return
        await hub.until(lambda: hub.cluster.get("batch", "Job", SHOP, "alarm"), "alarmed")
        await hub.until(lambda: hub.units[unit].reason == "ObjectInvalid", "the failure is what is said")
    async with hub.worker():
        hub.want("other", [config_map("x", SHOP)])
        await hub.until_well(hub.want("other", [config_map("x", SHOP)]))
    assert len([e for e in hub.asked("patch", "alarm") if e.writes]) == 1


async def test_a_refused_deletion_waits_for_its_next_try_and_counts_as_none(hub: SimHub) -> None:
    kept = [config_map(f"c{n}", SHOP) for n in range(12)]
    refusal = hub.cluster.faults.add("error", code=403, verbs={"delete"}, name="x")
    unit = hub.want("web", [*kept, config_map("x", SHOP), config_map("y", SHOP)])
    async with hub.worker():
        await hub.until_well(unit)
        hub.want("web", kept, commit="b")
        await hub.until(lambda: hub.units[unit].reason == "AdmissionDenied", "refused")
        for commit in "cdef":  # passes over the same bundle
            hub.want("web", kept, commit=commit)
            await hub.until(lambda c=commit: hub.units[unit].observed_commit == c * 40, f"pass for {commit}")
            assert hub.units[unit].reason == "AdmissionDenied"
        assert len(hub.asked("delete", "x")) == 1
        for number in range(5):  # each new bundle is tried at once
            kept[0] = config_map("c0", SHOP, {"a": f"new {number}"})
            hub.want("web", kept, commit=str(number))
            await hub.until(lambda n=number: len(hub.asked("delete", "x")) == 2 + n, "tried")
            await hub.until(lambda n=number: hub.units[unit].observed_commit == str(n) * 40, "said")
            assert not hub.units[unit].holds
        assert hub.cluster.get("", "ConfigMap", SHOP, "y") is None
        hub.cluster.faults.remove(refusal)
    async with hub.worker():  # also as the journal has it: two deletions in all, of 14 objects
        await hub.until(lambda: hub.cluster.get("", "ConfigMap", SHOP, "x") is None, "gone")
        hub.want("web", kept[:-1], commit="9")
        await hub.until_well(unit)
        assert not hub.units[unit].holds
        hub.want("web", kept[:-2], commit="8")
        await hub.until(lambda: hub.units[unit].holds, "the fourth within the hour is held")
    assert hub.units[unit].holds[0].reason == "prune-budget"


@pytest.mark.parametrize(
    ("fault", "words"), [("error", ["", "failed: AdmissionDenied"]), ("lost_write", ["", "unknown", "gone"])]
)
async def test_what_went_after_a_refusal_was_not_our_deletion(hub: SimHub, fault: str, words: list[str]) -> None:
    hub.kube_limits = KubeLimits(call_seconds=1.0)
    kept = [config_map(f"c{n}", SHOP) for n in range(12)]
    unit = hub.want("web", [*kept, config_map("x", SHOP)])
    async with hub.worker():
        await hub.until_well(unit)
        hub.cluster.faults.add(fault, code=403, verbs={"delete"}, name="x", count=1)
        hub.want("web", kept, commit="b")
        await hub.until(lambda: len([e for e in hub.audited if e.action == "delete"]) >= 2, "tried")
        if hub.cluster.get("", "ConfigMap", SHOP, "x") is not None:
            hub.cluster.remove("", "ConfigMap", SHOP, "x")  # by a person
        await hub.until_well(unit)
        await hub.until(lambda: not hub.object(unit, "ConfigMap", "x"), "forgotten")
    outcomes = [entry.outcome for entry in hub.audited if entry.action == "delete"]
    assert [said if said in words else said.partition(":")[0] for said in outcomes] == words


class Ends:
    """A connection whose session ends, as by a lost lease, at applies that `when` picks by name and force."""

    def __init__(self, kube: Any, when: Callable[[str, bool], bool]) -> None:
        self._kube, self._when = kube, when

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kube, name)

    async def apply(self, kind: Any, namespace: str, name: str, body: bytes, **options: Any) -> Any:
        if not options.get("dry_run") and self._when(name, options.get("force", False)):
            raise OwnedByOther("another hub holds the lease")
        return await self._kube.apply(kind, namespace, name, body, **options)


@pytest.mark.parametrize(
    ("trouble", "said"), [("", "done"), ("lost_write", "unknown: ClusterTimeout"), ("lease", "failed: OwnedByOther")]
)
async def test_a_forced_apply_has_its_last_word_in_the_audit_log(hub: SimHub, trouble: str, said: str) -> None:
    hub.kube_limits = KubeLimits(call_seconds=1.0)
    hub.limits, once = WorkerLimits(reconnect_first_seconds=0.1), iter([trouble == "lease"])
    hub.between = lambda kube: Ends(kube, lambda name, force: force and name == "a" and next(once, False))
    unit = hub.want("web", [config_map("a", SHOP), config_map("b", SHOP)])
    async with hub.worker():
        await hub.until_well(unit)
        if trouble == "lost_write":
            hub.cluster.faults.add("lost_write", verbs={"patch"}, name="a", count=1)
        hub.cluster.drift("", "ConfigMap", SHOP, "a", {"data": {"a": "by hand"}})
        await hub.until(lambda: len([e for e in hub.audited if e.action == "force"]) >= 2, "said")
        await hub.until(lambda: hub.cluster.get("", "ConfigMap", SHOP, "a")["data"] == {"a": "1"}, "healed")
    uid = hub.cluster.get("", "ConfigMap", SHOP, "a")["metadata"]["uid"]
    forced = [entry for entry in hub.audited if entry.action == "force"]
    assert [(e.outcome, e.uid, e.uid_after) for e in forced[:2]] == [("", uid, ""), (said, uid, uid)]


@pytest.mark.parametrize("ends", [True, False])
async def test_an_adoption_has_its_last_word_though_the_session_ends_in_it(hub: SimHub, ends: bool) -> None:
    hub.limits, once = WorkerLimits(reconnect_first_seconds=0.1), iter([ends])
    hub.between = lambda kube: Ends(kube, lambda name, force: name == "a" and next(once, False))
    hub.cluster.create(config_map("a", SHOP), manager="helm")
    unit = hub.want("web", [config_map("a", SHOP)], sync=SyncPolicy(validate=Validate.SCHEMA, adopt=Adopt.ALWAYS))
    async with hub.worker():
        await hub.until_well(unit)
    outcomes = [entry.outcome for entry in hub.audited if entry.action == "adopt"]
    assert outcomes == [*(["", "failed: OwnedByOther"] if ends else []), "", "done"]


@pytest.mark.parametrize("changed", [True, False])
async def test_a_parent_goes_only_in_the_state_that_was_read(hub: SimHub, changed: bool) -> None:
    cluster, once = hub.cluster, iter([changed])

    class Meddling(Ends):
        async def delete(self, kind: Any, namespace: str, name: str, **options: Any) -> Any:
            if next(once, False):
                cluster.drift("", "ConfigMap", namespace, name, {"metadata": {"labels": {"seen": "meanwhile"}}})
            return await self._kube.delete(kind, namespace, name, **options)

    hub.between = lambda kube: Meddling(kube, lambda *_: False)
    unit = hub.want("web", [config_map("a", SHOP)])
    async with hub.worker():
        await hub.until_well(unit)
        hub.want("web", action=Detach(), commit="b")
        await hub.until(lambda: hub.told(EventKind.NOTE, "detached"), "detached")
    assert cluster.get("", "ConfigMap", PARENT_NAMESPACE, "unit-web") is None
    outcomes = [entry.outcome for entry in hub.audited if entry.action == "delete"]
    assert outcomes == [*(["", "failed: Conflict"] if changed else []), "", "done"]


async def accepted(hub: SimHub, at: str) -> None:
    """Fail over: another cluster answers, and its identity is asked for in Git."""
    hub.at = at
    hub.send_desired(identity=Identity(hub.cluster.identity))


@pytest.mark.parametrize("killed", [False, True])
async def test_a_cluster_that_was_ours_before_is_looked_at_by_a_person_when_it_is_accepted_again(
    hub: SimHub, killed: bool
) -> None:
    unit = hub.want("web", [config_map(name, SHOP) for name in "ab"])
    async with hub.worker():
        await hub.until_well(unit)
    one, (written, parent) = hub.cluster, objects_of(hub)
    await accepted(hub, "two")
    async with hub.worker():
        await hub.until_well(unit)
        hub.want("web", [config_map("a", SHOP, {"a": "2"})], commit="b", send=False)
        await accepted(hub, "two")
        await hub.until_well(unit)
    hub.units.clear()
    await accepted(hub, "one")
    if killed:  # after the identity is in the journal, before the record is rebuilt
        fault = one.faults.add("error", code=500, verbs={"list"})
        async with hub.worker():
            await hub.until(lambda: hub.reports[-1].reason == "ServerFailed", "lost")
        assert (await hub.journal.load()).identity == one.identity
        one.faults.remove(fault)
    async with hub.worker():
        report = await hub.until(lambda: (r := hub.units.get(unit)) and r.blocked_by and r, "asked")
        assert [link.next for link in report.blocked_by] == [ASKS_RECOVERY]
        assert "or another cluster was accepted" in report.blocked_by[0].reason, "nothing was lost"
        assert {status.ref.name for status in report.objects} == {"a", "b"}
        assert objects_of(hub) == (written, parent)
        hub.want("web", [config_map("a", SHOP, {"a": "2"})], commit="b", send=False)
        hub.send_desired(identity=Identity(one.identity), recovered=hub.shown())
        await hub.until_well(unit)
        assert one.get("", "ConfigMap", SHOP, "b") is None


def objects_of(hub: SimHub) -> tuple[list[Any], Any]:
    """What the hub wrote to its cluster: two objects and their parent."""
    get = hub.cluster.get
    return [get("", "ConfigMap", SHOP, name) for name in "ab"], get("", "ConfigMap", PARENT_NAMESPACE, "unit-web")


POLICY: dict[str, Any] = {
    "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "p", "namespace": SHOP},
    "spec": {"podSelector": {}},
}  # fmt: skip


class Quiet:
    """A cluster whose discovery leaves a group out: because it does not answer, or because it is gone."""

    def __init__(self, kube: Any, say: Callable[[], frozenset[str] | None]) -> None:
        self._kube, self._say = kube, say

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kube, name)

    async def discover(self, *, fresh: bool = False) -> Catalog:
        found, unknown = await self._kube.discover(fresh=fresh), self._say()
        if unknown is None:
            return found
        kinds = {kind: served for kind, served in found.kinds.items() if kind[0] != "networking.k8s.io"}
        return Catalog(kinds, unknown)


async def test_what_is_let_go_waits_for_a_group_that_does_not_answer(hub: SimHub) -> None:
    unknown: frozenset[str] | None = frozenset({"networking.k8s.io"})
    unit = hub.want("web", [config_map("a", SHOP), POLICY])
    async with hub.worker():
        await hub.until_well(unit)
    hub.between = lambda kube: Quiet(kube, lambda: unknown)
    hub.want("web", action=Detach(), commit="b")
    async with hub.worker():
        report = await hub.until(lambda: (r := hub.units[unit]) and r.reason and r, "says so")
        assert report.reason == "ServerFailed"
        assert "group networking.k8s.io does not answer: it is not known whether NetworkPolicy" in report.message
        assert [row.ref.name for row in (await hub.journal.load()).rows] == ["p"]
        unknown = None
        await hub.until(lambda: hub.told(EventKind.NOTE, "detached"), "detached")
    assert "annotations" not in hub.cluster.get("networking.k8s.io", "NetworkPolicy", SHOP, "p")["metadata"]


async def test_what_is_let_go_does_not_wait_for_a_kind_that_is_gone(hub: SimHub) -> None:
    unit = hub.want("web", [config_map("a", SHOP), POLICY])
    async with hub.worker():
        await hub.until_well(unit)
    hub.between = lambda kube: Quiet(kube, lambda: frozenset({"metrics.k8s.io"}))
    hub.want("web", action=Detach(), commit="b")
    async with hub.worker():
        await hub.until(lambda: hub.told(EventKind.NOTE, "detached"), "detached")
    assert unit not in hub.units


async def test_no_record_is_rebuilt_while_a_group_of_it_does_not_answer(hub: SimHub) -> None:
    unknown: frozenset[str] | None = frozenset({"networking.k8s.io"})
    unit = hub.want("web", [config_map("a", SHOP), POLICY])
    async with hub.worker():
        await hub.until_well(unit)
    hub.journal, hub.between = MemoryJournal(), lambda kube: Quiet(kube, lambda: unknown)
    hub.units.clear()
    async with hub.worker():
        report = await hub.until(lambda: (r := hub.reports[-1]).reason == "ServerFailed" and r, "says so")
        assert "not known which NetworkPolicy objects there are" in report.message
        assert not (await hub.journal.load()).units
        unknown = None
        asked = await hub.until(lambda: (r := hub.units.get(unit)) and r.blocked_by and r, "asked")
        assert {status.ref.name for status in asked.objects} == {"a", "p"}


async def test_an_accepted_identity_voids_the_record_and_deletes_nothing(sim: Simulation, hub: SimHub) -> None:
    unit = hub.want("web", [config_map("a", SHOP)])
    async with hub.worker():
        await hub.until_well(unit)
    old = sim.cluster("one").get("", "ConfigMap", SHOP, "a")
    hub.at = "two"
    async with hub.worker():
        report = await hub.until(lambda: (r := hub.reports[-1]).reason == "IdentityMismatch" and r, "mismatch")
        assert not hub.asked("patch")
        found = sim.cluster("two").identity
        assert found in f"{report.message} {report.next_step}"
        hub.want("web", [config_map("a", SHOP), config_map("b", SHOP)], commit="b", send=False)
        hub.send_desired(identity=Identity(found))
        await hub.until_well(unit)
    state = await hub.journal.load()
    assert state.identity == found
    uids = {row.uid for row in state.rows}
    assert uids == {hub.cluster.get("", "ConfigMap", SHOP, name)["metadata"]["uid"] for name in "ab"}
    assert [entry.action for entry in hub.audited if "identity" in entry.action or "contact" in entry.action] == [
        "first-contact",
        "accept-identity",
    ]
    assert sim.cluster("one").get("", "ConfigMap", SHOP, "a") == old


async def test_an_identity_that_git_takes_back_amid_the_connecting_is_not_accepted(hub: SimHub) -> None:
    """The connection was made for it, and is proven: the orders say no more that it is the cluster's."""
    unit = hub.want("web", [config_map("a", SHOP)])
    async with hub.worker():
        await hub.until_well(unit)
    recorded = hub.cluster.identity
    await accepted(hub, "two")
    taken = asyncio.Event()

    async def next_order(after: int) -> Desired:
        if hub.desired is not None and hub.desired.identity is None and after >= hub.desired.sequence:
            taken.set()
        return await SimHub.next(hub, after)

    async def while_it_connects(name: str) -> bytes:
        if not taken.is_set():
            hub.send_desired(identity=None)
            await taken.wait()
        return await SimHub.kubeconfig(hub, name)

    hub.next, hub.kubeconfig = next_order, while_it_connects
    before = hub.audited[:]
    async with hub.worker():
        await hub.until(lambda: hub.reports[-1].reason == "IdentityMismatch" or hub.audited != before, "mismatch")
    assert hub.audited == before
    assert (await hub.journal.load()).identity == recorded
    assert not hub.asked("patch")
