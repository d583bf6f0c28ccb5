"""Approvals of plans while the hub is busy, full or ended: nobody waits for them, and none counts without evidence."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
from controllers.rig import Brain, Clock, NoClusters
from controllers.test_rollouts import clusters, fleet_file, web
from hubworld import config_map, kustomization, overlay

from fleet.controllers import going, plan_approvals
from fleet.controllers.comparing import Comparing
from fleet.controllers.going import GoingReader
from fleet.controllers.plan_approvals import COMPARED, MOST, PlanApprovals
from fleet.core.differences import entry_by_name
from fleet.core.fleet import Fleet
from fleet.core.ids import ClusterName, Digest, Identity, ObjectRef, Revision, UnitName
from fleet.core.planning.approval import (
    ApprovalState,
    Going,
    PlanApproval,
    approvals_of_text,
    approvals_text,
    next_approvals,
)
from fleet.core.planning.change import How, ObjectChange, Sign, UnitChange
from fleet.core.planning.fleet_plan import Comparison, SideWords, plan_of
from fleet.core.planning.listing import digest_of_text, plan_text
from fleet.core.release import list_digest_of
from fleet.core.results import Rendered
from fleet.core.status import HoldRequest, PendingDeletion
from fleet.core.view import Head, View
from fleet.errors import (
    ClusterUnreachable,
    FetchFailed,
    FleetError,
    PreconditionFailed,
    RefMissing,
    RenderInterrupted,
    StateNotWritable,
)
from fleet.ports.render import Renderer
from fleet.ports.source import Snapshot
from fleet.ports.state import APPROVALS, OPEN, Bells, HoldRow
from fleet.store.memory import MemoryState

WEB, BEFORE, COMMIT = UnitName.parse("web@eu-1"), Revision("b" * 40), Revision("c" * 40)
LEAVES = plan_text([UnitChange(WEB, How.VANISHES)])
REQUEST = HoldRequest(WEB, COMMIT, "sharp-fall", "", ())
HOLD = HoldRow("h-1", "web", COMMIT, 1.0, Digest("list"), (REQUEST,), 2e9)


def approval(digest: str = "a" * 64, **changes) -> PlanApproval:
    made = PlanApproval(Digest(digest), frozenset({WEB}), (), frozenset(), "jo", "", 1.0, 2e9)
    return replace(made, **changes)


def plans_on(
    state: MemoryState, *, at=None, connector=None, clusters: tuple[str, ...] = (), units=(WEB,), renderer=None
) -> PlanApprovals:
    view = View(Head("main"))
    view.fleet = replace(
        Fleet(BEFORE),
        clusters={name: entry_by_name(name) for name in map(ClusterName, clusters)},
        units=dict.fromkeys(units, None),
    )
    view.results = dict.fromkeys(units, Rendered(Digest("b" * 64), BEFORE))

    async def line(older: Revision, newer: Revision) -> tuple[Revision, ...]:
        return (newer,)

    return PlanApprovals(
        line=line, state=state, view=view, bells=Bells(), renderer=renderer,
        reader=GoingReader(connector or NoClusters(), lambda _: Identity("uid"), b"k" * 32),
        at=at, wall=Clock(), lock=asyncio.Lock(),
    )  # fmt: skip


async def kept(state: MemoryState) -> tuple[PlanApproval, ...]:
    return approvals_of_text(await state.get_value(APPROVALS) or "")


async def audited(state: MemoryState) -> list[tuple[str, str]]:
    return [(link.entry.action, link.entry.outcome) for link in await state.audit_entries(limit=1000)]


async def test_holds_are_looked_at_while_a_commit_is_compared() -> None:
    state, began, go_on = MemoryState(), asyncio.Event(), asyncio.Event()
    await state.set_value(APPROVALS, approvals_text([approval()]))

    async def at(commit: str):
        began.set()
        await go_on.wait()

    plans = plans_on(state, at=at)
    comparing = asyncio.create_task(plans.taken(Fleet(COMMIT), Fleet(BEFORE)))
    await began.wait()
    async with asyncio.timeout(5):
        assert not await plans.decide([HOLD])
    assert not comparing.done()
    go_on.set()
    await comparing
    assert (await kept(state))[0].standing is ApprovalState.WAITS  # a commit without a change


async def test_what_became_of_an_approval_is_audited_before_it_counts() -> None:
    class Ended(MemoryState):
        async def put_released(self, rows, **more) -> None:
            raise StateNotWritable("the hub was ended here")

    before, bound = MemoryState(), approval(standing=ApprovalState.BOUND, commit=COMMIT)
    await before.set_value(APPROVALS, approvals_text([bound]))
    ended = Ended()
    await ended.set_value(APPROVALS, approvals_text([bound]))
    with pytest.raises(StateNotWritable):
        await plans_on(ended).decide([HOLD])
    assert await audited(ended) == [("plan-void", "")]
    await plans_on(before).decide([HOLD])
    assert await audited(before) == [("plan-void", ""), ("plan-void", "done")]


async def test_no_approval_is_dropped_for_another_and_void_ones_make_room() -> None:
    state, digest = MemoryState(), digest_of_text(LEAVES)
    full = [approval(f"{number:064x}") for number in range(MOST)]
    await state.set_value(APPROVALS, approvals_text(full))
    with pytest.raises(PreconditionFailed, match="open already"):
        await plans_on(state).approve(digest, LEAVES, actor="jo", reason="")
    assert await kept(state) == tuple(full)
    assert await audited(state) == [("plan-approved", ""), ("plan-approved", "refused: PreconditionFailed")]
    full[7] = full[7].voided("x")
    await state.set_value(APPROVALS, approvals_text(full))
    await plans_on(state).approve(digest, LEAVES, actor="jo", reason="")
    assert [item.digest for item in await kept(state)] == [*(item.digest for item in full if item != full[7]), digest]


class Bundles:
    """A fake renderer: whatever is asked for holds one ConfigMap."""

    async def bundle(self, digest: Digest):
        return SimpleNamespace(objects=(SimpleNamespace(ref=ObjectRef("", "ConfigMap", "s", "c")),))


@pytest.mark.parametrize("name", ["c", "gone"])
async def test_a_plan_that_is_in_force_already_is_not_approved_and_one_to_come_is(name: str) -> None:
    was = ObjectChange(Sign.DELETE, ObjectRef("", "ConfigMap", "s", name), "v1", before=Digest("x"))
    text = plan_text([UnitChange(WEB, How.CHANGES, objects=(was,))])
    plans = plans_on(MemoryState(), renderer=Bundles(), connector=Nothing(), clusters=("eu-1",))
    approving = plans.approve(digest_of_text(text), text, actor="jo", reason="")
    if name == "c":
        assert (await approving).standing is ApprovalState.WAITS
        return
    with pytest.raises(PreconditionFailed, match="in force already"):
        await approving
    assert await plans.all() == ()


async def test_approvals_that_no_commit_can_be_compared_for_any_more_are_void_and_those_bound_stay() -> None:
    state = MemoryState()
    await state.set_value(COMPARED, "a" * 40)
    await state.set_value(APPROVALS, approvals_text([approval(), approval("c" * 64, standing=ApprovalState.BOUND)]))

    async def at(commit: str):
        raise RefMissing("the commit is not there")

    await plans_on(state, at=at).taken(Fleet(COMMIT), Fleet(BEFORE))
    waited, bound = await kept(state)
    assert (waited.standing, bound.standing) == (ApprovalState.VOID, ApprovalState.BOUND)
    assert "aaaaaaa, from which ccccccc would be compared, is not known" in waited.void
    assert await state.get_value(COMPARED) == COMMIT


async def approval_of(brain: Brain, before: Snapshot, after: Snapshot, was: Fleet, now: Fleet) -> PlanApproval:
    """Of the plan between two commits, as `fleet plan` makes it."""
    comparing = Comparing(brain.renderer, before, after, was, now)
    units = await comparing.changes()
    held, words = await comparing.held_beside(units), SideWords("")
    digest = plan_of(Comparison(words, words, was, now, (), units, held)).digest
    return approval(digest, units=frozenset(unit.name for unit in units))


class Failing:
    """The renderer of a hub; its first builds break off."""

    def __init__(self, renderer: Renderer, *errors: FleetError) -> None:
        self._renderer, self._errors = renderer, [*errors]

    def __getattr__(self, name: str) -> object:
        return getattr(self._renderer, name)

    async def render(self, *asked: object, **options: object) -> object:
        if self._errors:
            raise self._errors.pop()
        return await self._renderer.render(*asked, **options)


@pytest.mark.parametrize(
    "error",
    [FetchFailed("the disk is full"), RenderInterrupted("kustomize was ended"), StateNotWritable("disk full"), None],
    ids=["once", "in a build", "after a build", "twin: never"],
)
async def test_a_comparison_that_fails_is_made_again_with_the_next_fetch_and_not_with_the_next_commit(
    brain: Brain, error: FleetError | None
) -> None:
    """What was approved is bound to its own commit: with the next one it would be the plan of both, and void."""
    files = {"fleet.yaml": fleet_file(), **clusters(), **web("1")}
    await brain.commit({**files, **overlay("overlays/gone", {"gone": config_map("gone", "1")})})
    was, before = brain.view.fleet, await brain.source.at(brain.view.head.commit)
    await brain.commit(dict.fromkeys(overlay("overlays/gone", {"gone": ""})))
    now, after = brain.view.fleet, await brain.source.at(brain.view.head.commit)
    assert was is not None
    assert now is not None
    made = await approval_of(brain, before, after, was, now)
    failing, renderer = [error] if isinstance(error, FetchFailed) else [], brain.renderer
    if isinstance(error, RenderInterrupted | StateNotWritable):
        renderer = Failing(renderer, error)

    async def at(commit: str):
        if failing:
            raise failing.pop()
        return await brain.source.at(Revision(commit))

    await brain.state.set_value(COMPARED, was.commit)
    await brain.state.set_value(APPROVALS, approvals_text([made]))
    brain.commits._plans = replace(plans_on(brain.state, at=at, renderer=renderer), view=brain.view)
    await brain.commits._compare(now, None)
    (waited,) = await kept(brain.state)
    assert waited.standing is (ApprovalState.WAITS if error is not None else ApprovalState.BOUND)
    await brain.commits.fetch_once()
    (bound,) = await kept(brain.state)
    assert (bound.standing, bound.commit) == (ApprovalState.BOUND, brain.view.head.commit)


@pytest.mark.parametrize("beside", ["2", ""], ids=["changed and broken still", "twin: as it is"])
async def test_what_is_broken_before_and_after_bars_no_approval_of_another_unit(brain: Brain, beside: str) -> None:
    broken = overlay("overlays/bad", {"bad": config_map("bad", "1")})
    broken["overlays/bad/kustomization.yaml"] += "patches: [{path: gone.yaml}]\n"
    await brain.commit({"fleet.yaml": fleet_file(), **clusters(), **overlay("overlays/web", OBJECTS), **broken})
    was, before = brain.view.fleet, await brain.source.at(brain.view.head.commit)
    more = {"overlays/bad/bad.yaml": config_map("bad", beside)} if beside else {}
    await brain.commit({"overlays/web/kustomization.yaml": kustomization("web.yaml"), **more})
    now, after = brain.view.fleet, await brain.source.at(brain.view.head.commit)
    assert was is not None
    assert now is not None
    made = await approval_of(brain, before, after, was, now)
    touched = {str(name.overlay) for name in made.units}
    assert touched == ({"web", "bad"} if beside else {"web"})
    await brain.state.set_value(COMPARED, was.commit)
    await brain.state.set_value(APPROVALS, approvals_text([made]))
    plans = replace(plans_on(brain.state, at=brain.source.at, renderer=brain.renderer), view=brain.view)
    assert await plans.taken(now, was)
    assert [item.standing for item in await kept(brain.state)] == [ApprovalState.BOUND]


async def test_a_build_that_breaks_off_each_time_stops_no_plan_for_ever(brain: Brain) -> None:
    """Its own unit cannot be told then, so that the approval is void, and the next plan is one of its own."""
    files = {"fleet.yaml": fleet_file(), **clusters(), **web("1")}
    await brain.commit(files)
    was = brain.view.fleet
    await brain.commit(web("2"))
    now = brain.view.fleet
    assert was is not None
    assert now is not None
    await brain.state.set_value(COMPARED, was.commit)
    await brain.state.set_value(APPROVALS, approvals_text([approval()]))
    broken = Failing(brain.renderer, *[RenderInterrupted("kustomize was ended")] * 1000)
    plans = replace(plans_on(brain.state, at=brain.source.at, renderer=broken), view=brain.view)
    for _ in range(plan_approvals.TRIES):
        assert not await plans.taken(now, was)
        assert [item.standing for item in await kept(brain.state)] == [ApprovalState.WAITS]
    assert await plans.taken(now, was)
    assert await brain.state.get_value(COMPARED) == now.commit


DNS = {"dns": config_map("dns", "1")}
OBJECTS = {"web": config_map("web", "1"), "gone": config_map("gone", "1")}


@pytest.mark.parametrize(
    ("at_first", "between", "standing"),
    [
        (overlay("overlays/web", OBJECTS, sync="{prune: false}"), overlay("overlays/web", OBJECTS), "void"),
        (clusters(mode="observe"), clusters(), "void"),
        ({}, overlay("overlays/web", OBJECTS, rollout="{steps: []}"), "void"),
        ({}, {"fleet.yaml": fleet_file() + "  budget: {objects: 50}\n"}, "void"),
        ({}, overlay("overlays/dns", DNS, sync="{prune: false}"), "bound"),
    ],
    ids=["prune", "manage", "at once", "budget", "twin: another overlay"],
)
async def test_an_approval_is_void_once_its_units_go_by_other_settings_than_were_seen(
    brain: Brain, at_first: dict[str, str], between: dict[str, str], standing: str
) -> None:
    """The plan of the merge is the same: what both of its commits set is not in it."""
    files = {"fleet.yaml": fleet_file(), **clusters(), **overlay("overlays/web", OBJECTS)}
    await brain.commit({**files, **overlay("overlays/dns", DNS), **at_first})
    assert await standing_after(brain, between, {**overlay("overlays/web", OBJECTS), **at_first}) == standing


@pytest.mark.parametrize(
    ("at_first", "between", "standing"),
    [
        (DNS, DNS | {"gone": OBJECTS["gone"]}, "void"),
        (DNS | {"gone": OBJECTS["gone"]}, DNS, "void"),
        (DNS, DNS | {"more": config_map("more", "1")}, "bound"),
        (DNS | {"gone": OBJECTS["gone"]}, DNS | {"gone": OBJECTS["gone"], "more": config_map("more", "1")}, "bound"),
    ],
    ids=["has it too", "has it no more", "twin: never had it", "twin: has it all the time"],
)
async def test_a_deletion_is_not_the_move_that_it_becomes_once_another_overlay_has_the_object(
    brain: Brain, at_first: dict[str, str], between: dict[str, str], standing: str
) -> None:
    await brain.commit({"fleet.yaml": fleet_file(), **clusters(), **overlay("overlays/web", OBJECTS)})
    await brain.commit(overlay("overlays/dns", at_first))
    now = overlay("overlays/dns", between)
    assert await standing_after(brain, now, overlay("overlays/web", OBJECTS)) == standing


TOO_DEEP = "d/" * 45 + "x"  # beyond what is read of a commit (R28)


@pytest.mark.parametrize(
    ("commits", "standing", "why"),
    [
        (["beside", "dropped"], "bound", ""),
        (["dropped", "beside"], "bound", ""),
        (["beside", "other", "dropped"], "void", "changes web@"),
        (["dropped", "other"], "void", "changes web@"),
        (["other", "beside"], "void", "changes web@"),
        (["beside", *["beside again", "beside"] * plan_approvals.STEPS, "dropped"], "void", "together change web@"),
        (["deep", "not deep", "dropped"], "bound", ""),
        (["deep", "not deep", "other", "dropped"], "void", "changes web@"),
        (["beside", "dropped deep", "not deep"], "bound", ""),
    ],
    ids=[
        "before",
        "after",
        "touched before",
        "touched after",
        "never the plan",
        "too many",
        "unreadable before",
        "unreadable and touched",
        "unreadable itself",
    ],
)
async def test_commits_that_come_with_one_fetch_count_one_by_one(
    brain: Brain, commits: list[str], standing: str, why: str
) -> None:
    """As where each had been fetched alone: an approval is not void for what touches none of its units."""
    files = {
        "fleet.yaml": fleet_file(),
        **clusters(),
        **overlay("overlays/web", OBJECTS),
        **overlay("overlays/dns", DNS),
    }
    await brain.commit(files)
    edits = {
        "beside": {"overlays/dns/dns.yaml": config_map("dns", "2")},
        "beside again": {"overlays/dns/dns.yaml": config_map("dns", "1")},
        "other": {"overlays/web/web.yaml": config_map("web", "2")},
        "dropped": {"overlays/web/kustomization.yaml": kustomization("web.yaml")},
        "deep": {TOO_DEEP: "", "overlays/dns/dns.yaml": config_map("dns", "2")},
        "not deep": {TOO_DEEP: None},
    }
    edits["dropped deep"] = {TOO_DEEP: "", **edits["dropped"]}
    was, before = brain.view.fleet, await brain.source.at(brain.view.head.commit)
    await brain.commit(edits["dropped"])
    now, after = brain.view.fleet, await brain.source.at(brain.view.head.commit)
    assert was is not None
    assert now is not None
    made = await approval_of(brain, before, after, was, now)
    await brain.commit(overlay("overlays/web", OBJECTS))
    await brain.state.set_value(COMPARED, brain.view.head.commit)
    await brain.state.set_value(APPROVALS, approvals_text([made]))
    line = partial(brain.source.line, most=plan_approvals.STEPS)
    plans = replace(plans_on(brain.state, at=brain.source.at, renderer=brain.renderer), view=brain.view, line=line)
    for name in commits:
        brain.repo.commit(edits[name])
    await brain.commits.fetch_once()
    assert brain.view.fleet is not None
    assert await plans.taken(brain.view.fleet, None)
    (found,) = await kept(brain.state)
    assert (found.standing.value, why in found.void) == (standing, True), found.void
    assert found.commit == (brain.view.head.commit if standing == "bound" or commits[0] == "dropped" else "")


async def standing_after(brain: Brain, between: dict[str, str], again: dict[str, str]) -> str:
    """What becomes of an approval of web's dropping an object where main gets something in between.

    again: what brings main back to where the branch of the change begins.
    """
    was, before = brain.view.fleet, await brain.source.at(brain.view.head.commit)
    dropped = {"overlays/web/kustomization.yaml": kustomization("web.yaml")}
    await brain.commit(dropped)  # as the branch has it
    now, after = brain.view.fleet, await brain.source.at(brain.view.head.commit)
    assert was is not None
    assert now is not None
    made = await approval_of(brain, before, after, was, now)
    await brain.commit(again)
    await brain.state.set_value(COMPARED, brain.view.head.commit)
    await brain.state.set_value(APPROVALS, approvals_text([made]))
    plans = replace(plans_on(brain.state, at=brain.source.at, renderer=brain.renderer), view=brain.view)
    for changed in (between, dropped):
        await brain.commit(changed)
        assert brain.view.fleet is not None
        assert await plans.taken(brain.view.fleet, None)
    (found,) = await kept(brain.state)
    return found.standing.value


class Nothing:
    """A fake `Connector`: clusters without any object."""

    async def connect(self, cluster, connection, *, expected, fence):
        return self

    async def discover(self):
        return SimpleNamespace(find=lambda *_: None)

    async def close(self) -> None:
        """Nothing is held."""


class Slow:
    """A fake `Connector`: one cluster refuses once the others are asked, and those never answer."""

    def __init__(self, refuses: str = "") -> None:
        self.refuses, self.asked, self.ended = refuses, asyncio.Event(), 0

    async def connect(self, cluster, connection, *, expected, fence):
        if cluster == self.refuses:
            await self.asked.wait()
            raise ClusterUnreachable(f"{cluster} is not there", next_step="none")
        self.asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended += 1


CLUSTERS = ("eu-1", "eu-2", "eu-3")
DOOMED = {UnitName.parse(f"web@{name}"): frozenset({ObjectRef("", "ConfigMap", "s", "c")}) for name in CLUSTERS}


async def test_a_cluster_that_refuses_ends_the_reads_of_the_others() -> None:
    slow = Slow("eu-2")
    plans = plans_on(MemoryState(), connector=slow, clusters=CLUSTERS)
    with pytest.raises(ClusterUnreachable, match="eu-2"):
        await plans.reader.read(plans.view.fleet, DOOMED)
    assert slow.ended == 2


async def test_clusters_that_say_nothing_are_waited_for_once_and_not_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(going, "ALL_SECONDS", 0.05)
    slow = Slow()
    plans = plans_on(MemoryState(), connector=slow, clusters=CLUSTERS)
    with pytest.raises(PreconditionFailed, match="3 of 3 clusters"):
        await plans.reader.read(plans.view.fleet, DOOMED)
    assert slow.ended == 3


# What a person rejected since

HELD = ObjectRef("", "Namespace", "", "shop")
TWO = (WEB, UnitName.parse("web@eu-2"))


def asked_by(*units: UnitName, now: float, commit: Revision = COMMIT) -> HoldRow:
    gone = tuple(
        HoldRequest(u, commit, "precious-kind", "", (PendingDeletion(HELD, f"u-{u.cluster}", Digest("c")),))
        for u in units
    )
    return HoldRow("", str(units[0].overlay), commit, now, list_digest_of(gone), gone, now + 9e5)


async def said(state: MemoryState, row: HoldRow, decision: str, at: float) -> None:
    await state.decide_hold(
        row.id, list_digest=row.list_digest, decision=decision, actor="bob", reason="keep it", at=at
    )


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("standing", [ApprovalState.WAITS, ApprovalState.BOUND])
@pytest.mark.parametrize("word", ["rejected", ""])
async def test_a_later_rejection_goes_before_an_approved_plan_though_another_cluster_asks_anew(
    word: str, standing: ApprovalState, restarted: bool
) -> None:
    """The hold is open before its commit could be compared, or the plan did not cover it whole."""
    state = MemoryState()
    going = tuple(Going(u, HELD, f"u-{u.cluster}", Digest("c")) for u in TWO)
    given = approval(going=going, units=frozenset(TWO), standing=standing)
    await state.set_value(APPROVALS, approvals_text([replace(given, commit=COMMIT) if standing == "bound" else given]))
    plans = plans_on(state, units=TWO)
    row = await state.put_hold(asked_by(WEB, now=plans.wall()))
    if word:
        await said(state, row, word, plans.wall())
    if standing is ApprovalState.WAITS:
        bound = next_approvals([given], commit=COMMIT, digest=given.digest, units=TWO, now=plans.wall())
        await state.set_value(APPROVALS, approvals_text(bound))
    await state.put_hold(asked_by(*TWO, now=plans.wall()))
    if restarted:
        plans = plans_on(state, units=TWO)
    assert await plans.decide(await state.holds(decisions=OPEN)) == (not word)
    (now,), (kept_one,) = await state.holds(), await kept(state)
    assert now.decision == ("" if word else "approved")
    assert kept_one.void == ("hold h-1 was rejected since it was given" if word else "")
    assert not await plans.decide(await state.holds(decisions=OPEN)), "and stays so"


@pytest.mark.parametrize(
    ("commit", "at", "word", "is_approved"),
    [
        (BEFORE, 5.0, "rejected", False),
        (COMMIT, 5.0, "rejected", False),
        (COMMIT, 0.5, "rejected", False),
        (BEFORE, 0.5, "rejected", True),
        (BEFORE, 5.0, "approved", True),
        (BEFORE, 5.0, "", True),
    ],
    ids=["since", "its own", "its own, by a clock that was set back", "twin: before", "twin: approved", "twin: open"],
)
async def test_a_rejection_of_a_part_of_a_plan_is_one_of_the_plan(
    commit: Revision, at: float, word: str, is_approved: bool
) -> None:
    """What an approval lists besides, on another overlay, is asked about as well."""
    state, api = MemoryState(), UnitName.parse("api@eu-1")
    going = tuple(Going(u, HELD, f"u-{u.cluster}", Digest("c")) for u in (WEB, api))
    bound = approval(going=going, units=frozenset({WEB, api}), standing=ApprovalState.BOUND, commit=COMMIT)
    await state.set_value(APPROVALS, approvals_text([bound]))
    row = await state.put_hold(asked_by(WEB, now=0.1, commit=commit))
    if word:
        await said(state, row, word, at)
    plans = plans_on(state)
    asks = await state.put_hold(asked_by(api, now=plans.wall()))
    await plans.decide([asks])
    assert ((await state.hold(asks.id)).decision == "approved") == is_approved
