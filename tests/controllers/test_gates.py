"""Gates beside the loop: a Job stays until what it said is durable, is ended in order, and is refused where it must."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from controllers.rig import Brain
from controllers.test_rollouts import clusters, fleet_file, web

from fleet.controllers.gates import READS_AT_ONCE, READS_OF_ONE, Gates
from fleet.core.gates import Ask, GateState, Read, Reading, Verdict, Word, opened
from fleet.core.ids import ClusterName, Identity, OverlayName, Revision, UnitName
from fleet.core.neighbours import Neighbour, neighbour_error
from fleet.core.passage import Passage, Passages, Row
from fleet.core.problems import Origin
from fleet.core.rollout_policy import Gate, HttpCheck, JobCheck
from fleet.core.status import ASKS_RECOVERY, Blocker, Standing
from fleet.ports.state import Bells

GATE = Gate("smoke", JobCheck("gates/smoke.yaml"), Origin("fleet.yaml", 7))
COMMIT, WEB, KEY = Revision("3f9c1ab"), OverlayName("web"), "dev/smoke"
ASK = Ask(COMMIT, WEB, "dev", GATE, "run", 5.0, 90.0, "dev-1")


class Jobs:
    """A fake of `GateJobs` that writes down what happens in which order."""

    def __init__(self, answer: Read | None) -> None:
        self.answer, self.story = answer, list[str]()

    async def read(self, ask: Ask) -> Read:
        self.story.append("read")
        if self.answer is not None:
            return self.answer
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.01)
            self.story.append("its last write landed")
        raise AssertionError

    async def drop(self, ask: Ask) -> None:
        self.story.append("dropped")


def kept(state: GateState) -> Passages:
    row = Row({ClusterName("dev-1"): "d"}, gates={KEY: state})
    return Passages((Passage(COMMIT, 0.0, {WEB: row}),))


def gates_of(jobs: Jobs) -> Gates:
    return Gates(measure=None, jobs=jobs, bells=Bells(), wall=lambda: 1.0)  # type: ignore[arg-type]


async def settle() -> None:
    await asyncio.sleep(0.05)


@pytest.mark.parametrize("word", [Word.GOOD, Word.BAD])
async def test_a_job_that_ended_is_deleted_only_once_its_reading_is_durable(word: Word) -> None:
    jobs, waits = Jobs(Read(word, "ended")), opened(GATE, 1.0)
    gates = gates_of(jobs)
    gates.take([ASK], kept(waits))
    await settle()
    assert gates.readings(COMMIT, WEB)[KEY].word is word
    gates.take([], kept(waits))  # a look that kept nothing of it: a hub killed now must find the Job again
    await settle()
    assert jobs.story == ["read"]
    folded = replace(waits, last=Reading(word, "ended", 1.0, ASK.asked_at))
    gates.take([], kept(folded if word is Word.BAD else replace(folded, verdict=Verdict.PASSED)))
    await settle()
    assert jobs.story == ["read", "dropped"]
    gates.take([], kept(folded))
    await settle()
    assert jobs.story == ["read", "dropped"]


async def test_a_job_that_nobody_waits_for_is_deleted_after_the_last_write_of_its_reading() -> None:
    jobs = Jobs(None)
    gates = gates_of(jobs)
    gates.take([ASK], kept(opened(GATE, 1.0)))
    await settle()
    gates.take([], Passages())
    await settle()
    assert jobs.story == ["read", "its last write landed", "dropped"]


async def test_a_gate_that_opened_anew_is_asked_at_once_and_its_old_job_ended() -> None:
    jobs, again = Jobs(None), replace(ASK, run="again", asked_at=9.0)
    gates = gates_of(jobs)
    gates.take([ASK], kept(opened(GATE, 1.0)))
    await settle()
    gates.take([again], kept(opened(GATE, 9.0)))
    await settle()
    assert sorted(jobs.story) == ["dropped", "its last write landed", "read", "read"]
    assert jobs.story.index("its last write landed") < jobs.story.index("dropped")
    await gates.close()


async def test_a_job_that_runs_is_left_alone_while_its_gate_stays_open() -> None:
    jobs, waits = Jobs(None), opened(GATE, 1.0)
    gates = gates_of(jobs)
    for asked_at in (5.0, 9.0):
        gates.take([replace(ASK, asked_at=asked_at)], kept(waits))
        await settle()
    assert jobs.story == ["read"]
    await gates.close()


async def test_no_job_goes_to_a_shared_cluster_nor_to_one_that_waits_for_a_recovery(brain: Brain) -> None:
    await brain.commit({"fleet.yaml": fleet_file(), **clusters(), **web("1")})
    jobs, dev = brain.gates._jobs, ClusterName("dev-1")
    assert "not reached by its worker" in (await jobs.read(ASK)).text, "here nothing but the lease is missing"
    unit = UnitName(WEB, dev)
    before = brain.view.units[unit]
    link = Blocker(Standing.WAITS, "cluster dev-1", "its state was lost", 0.0, "", ASKS_RECOVERY)
    brain.view.units[unit] = replace(before, blocked_by=(link,))
    assert "waits for fleet recover" in (await jobs.read(ASK)).text
    brain.view.units[unit] = before
    await brain.claims.claim(ClusterName("prod-1"), Identity("uid-dev-1"))
    for name in ("dev-1", "prod-1"):
        found = await jobs.read(replace(ASK, cluster=name))
        assert (found.word, f"{name} is suspended" in found.text) == (Word.NONE, True), found


@pytest.mark.parametrize("is_elder", [True, False], ids=["it was there first", "it came later"])
async def test_no_job_goes_to_a_cluster_on_which_another_installation_was_first(brain: Brain, is_elder: bool) -> None:
    await brain.commit({"fleet.yaml": fleet_file(), **clusters(), **web("1")})
    jobs, dev = brain.gates._jobs, ClusterName("dev-1")
    error = neighbour_error(dev, Neighbour("rival", "", ("unit-web",), is_elder))
    known = brain.view.clusters[dev]
    brain.view.clusters[dev] = replace(known, reachable=True, reason=error.reason, message=error.brief)
    text = (await jobs.read(ASK)).text
    assert ("is another installation's, and gets no Job" in text) is is_elder, text
    assert ("not reached by its worker" in text) is not is_elder, "here nothing but the lease is missing"


class Busy:
    """A fake `Measure` that answers when it is let, and counts who asks it at once, and for which servers."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.seconds: list[float] = []
        self.asked: list[str] = []
        self.lets = asyncio.Semaphore(0)

    async def read(self, check: HttpCheck, seconds: float) -> Read:
        self.seconds.append(seconds)
        self.asked.append(check.url)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.lets.acquire()
        finally:
            self.now -= 1
        return Read(Word.GOOD, "ok")


def many(count: int, servers: int) -> tuple[list[Ask], Passages]:
    """Gates that are due together, one server after the other, each under more than one URL."""
    urls = [f"https://s{number % servers}.example/{number}" for number in range(count)]
    gates = [Gate(f"g{number}", HttpCheck(url), GATE.origin) for number, url in enumerate(urls)]
    row = Row({ClusterName("dev-1"): "d"}, gates={f"dev/{gate.name}": opened(gate, 1.0) for gate in gates})
    return [replace(ASK, gate=gate, seconds=10.0) for gate in gates], Passages((Passage(COMMIT, 0.0, {WEB: row}),))


async def test_however_many_gates_are_due_at_once_a_few_are_read_at_a_time_each_with_its_whole_time() -> None:
    measure, (asks, waits) = Busy(), many(100, servers=20)
    gates = Gates(measure=measure, jobs=None, bells=Bells(), wall=lambda: 1.0)  # type: ignore[arg-type]
    gates.take(asks, waits)
    await settle()
    assert measure.now == measure.most == len(measure.seconds) == READS_AT_ONCE
    gates.take([], Passages())  # those that wait for their turn are asked no more
    await settle()
    gates.take(asks[:1], waits)
    await settle()
    assert (measure.now, len(measure.seconds)) == (1, READS_AT_ONCE + 1)
    gates.take(asks, waits)
    for _ in asks:
        measure.lets.release()
    await settle()
    found = gates.readings(COMMIT, WEB)
    assert {reading.word for reading in found.values()} == {Word.GOOD}
    assert (len(found), measure.most, set(measure.seconds)) == (len(asks), READS_AT_ONCE, {10.0})
    first, late = found["dev/g0"], found[f"dev/g{len(asks) - 1}"]
    assert first.asked_at == ASK.asked_at < late.asked_at, "a window counts from what was read"
    await gates.close()


async def test_silent_servers_keep_no_gate_of_another_waiting() -> None:
    """Whoever was due behind sixteen gates of one of them waited for its ten seconds, and behind 160 for 100."""
    silent = READS_AT_ONCE // READS_OF_ONE - 1
    measure, (asks, waits) = Busy(), many(160, servers=silent)
    healthy = Gate("healthy", HttpCheck("https://fine.example"), GATE.origin)
    (passage,) = waits.all
    gates_of_row = {**passage.rows[WEB].gates, "dev/healthy": opened(healthy, 1.0)}
    waits = Passages((replace(passage, rows={WEB: replace(passage.rows[WEB], gates=gates_of_row)}),))
    gates = Gates(measure=measure, jobs=None, bells=Bells(), wall=lambda: 1.0)  # type: ignore[arg-type]
    gates.take([*asks, replace(ASK, gate=healthy)], waits)
    await settle()
    assert measure.asked[-1] == "https://fine.example"
    assert measure.now == silent * READS_OF_ONE + 1, "and of each of them no more than its share is asked"
    await gates.close()
