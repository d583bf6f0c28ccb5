"""kill -9 under load: one fleet, one hub after the other in a process of its own, each killed at a seeded point.

Git gets a commit every 10 s for all clusters: a value changes, a hook runs once for it, objects come and go, and at
times a Namespace, which a person approves. The simulated clusters live in this process and outlive each hub. A hub is
killed at a random moment, at one of its requests (before it is carried out, or after), or by itself right after a
store commit (killed_hub.py); one in five is killed again while it recovers. Each time the next hub is started at once,
and the clusters must hold the commit that was newest at the kill within 60 s. All the while the API is asked how the
units stand: none may be shown Synced at a commit that its cluster never held. There is no V6 here: a kill delays all.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from hubworld import AT_ONCE, cluster_file, config_map, kustomization, namespace, overlay
from safety.checker import History, Key, Script, judge, landed_of, read_disk, v7_secrets
from safety.kill_parts import Child, Seen
from safety.reference import secret
from testbed.gitrepo import GitRepo

from fleet.sim import Simulation

SECONDS = 60.0  # within which the clusters must be as Git says after a kill
COMMIT_SECONDS = 10.0
LOOK_SECONDS = 2.0
WAYS = ("moment", "before a request", "after a request", "after a commit")
_STABLE = tuple("abcdef")


@dataclass(frozen=True, slots=True)
class Point:
    """One kill: how, where it met the hub, and how long until the clusters held what was newest then."""

    way: str
    at: str
    recovering: bool
    seconds: float


@dataclass
class Campaign:
    """One fleet and its kills. Everything follows from the seed but the machine's own timing."""

    seed: int
    points: int
    clusters: int = 50
    commit_seconds: float = COMMIT_SECONDS
    again: int = 5  # one point in so many meets a hub that recovers
    done: list[Point] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    looked: int = 0  # how often a unit was shown Synced at a commit of this campaign
    _number: int = 0  # of the newest commit
    _items: list[int] = field(default_factory=list)
    _place: int = 0  # which Namespace is wanted now

    async def run(self) -> list[str]:
        """What was wrong; [] is a clean campaign."""
        names = [f"c{number:02}" for number in range(self.clusters)]
        with tempfile.TemporaryDirectory(prefix="fleet-kills-") as folder:
            self._root = Path(folder)
            async with Simulation(names, seed=self.seed, history=20_000, ledger_limit=50_000) as sim:
                self._sim = sim
                self._history = Seen(sim)
                self._begin()
                self._child = Child(self._root, sim)
                try:
                    await self._kill_on()
                except (TimeoutError, RuntimeError) as error:
                    self.wrong.append(f"V4 {type(error).__name__}: {error}\n{await self._shown()}\n{self._child.log()}")
                finally:
                    await self._child.end()
                return [*self.wrong, *self._judged()]

    # The load

    @property
    def _secret(self) -> str:
        return f"seeded-{self.seed:06}-never-to-be-seen-in-clear"

    def _begin(self) -> None:
        self._repo = GitRepo.create(self._root / "fleet.git")
        self._script = Script(identities={name: cluster.identity for name, cluster in self._sim.clusters.items()})
        files: dict[str, str | None] = {"fleet.yaml": AT_ONCE}
        files |= {f"clusters/{name}.yaml": cluster_file(name) for name in self._sim.clusters}
        files |= overlay("overlays/web", {name: config_map(name, "0") for name in (*_STABLE, "stamp")})
        files |= overlay("overlays/shop", {"keep": config_map("keep", "0")})
        files["overlays/shop/secret.yaml"] = secret("secret", self._secret)
        wants = [("configmaps", "default", name) for name in (*_STABLE, "stamp", "keep")]
        # A hook goes by its own annotation, whatever a commit says of it (V1).
        self._commit(files, wants=wants, drops=[("configmaps", "default", "hook")])

    def _commit(self, files: dict[str, str | None], *, wants: list[Key] = [], drops: list[Key] = []) -> None:  # noqa: B006
        number, now = str(self._number), time.time()
        files |= {
            "overlays/web/stamp.yaml": config_map("stamp", number),
            f"overlays/web/{_STABLE[self._number % len(_STABLE)]}.yaml": config_map(
                _STABLE[self._number % len(_STABLE)], number
            ),
            "overlays/web/hook.yaml": hook("hook", number),
            "overlays/web/kustomization.yaml": kustomization(
                *(f"{name}.yaml" for name in (*_STABLE, "stamp", "hook")), *(f"i{item}.yaml" for item in self._items)
            ),
            "overlays/shop/kustomization.yaml": kustomization("keep.yaml", "secret.yaml", f"old-{self._place}.yaml"),
            f"overlays/shop/old-{self._place}.yaml": namespace(f"old-{self._place}"),
        }
        for cluster in self._sim.clusters:
            self._script.wanted += [(now, cluster, key) for key in wants]
            self._script.dropped += [(now, cluster, key) for key in drops]
        self._script.commits.append(self._repo.commit(files))

    async def _commits(self) -> None:
        while True:
            await asyncio.sleep(self.commit_seconds)
            self._number += 1
            wants: list[Key] = []
            drops: list[Key] = []
            files: dict[str, str | None] = {}
            if self._number % 3 == 0:
                self._items.append(self._number)
                files[f"overlays/web/i{self._number}.yaml"] = config_map(f"i{self._number}", "0")
                wants.append(("configmaps", "default", f"i{self._number}"))
                if len(self._items) > 4:
                    gone = self._items.pop(0)
                    files[f"overlays/web/i{gone}.yaml"] = None
                    drops.append(("configmaps", "default", f"i{gone}"))
            if self._number % 7 == 0:
                files[f"overlays/shop/old-{self._place}.yaml"] = None
                drops.append(("namespaces", "", f"old-{self._place}"))
                self._place += 1
            self._commit(files, wants=wants, drops=drops)

    async def _approvals(self) -> None:
        """A person who reads each hold and approves what it lists."""
        while True:
            await asyncio.sleep(1.0)
            _, answer = await self._child.call("GET", "/api/v1/holds?openOnly=true")
            for hold in answer.get("items", []):
                if hold["decision"]:
                    continue
                keys = {_key_of(item["object"]) for item in hold["deletions"]}
                self._script.approved += [(time.time(), key) for key in keys]
                body = {"listDigest": hold["listDigest"], "reason": "reviewed"}
                await self._child.call("POST", f"/api/v1/holds/{hold['metadata']['name']}:approve", body)

    async def _requests(self, random: Random) -> None:
        """Somebody asks for a sync now and then; asked again with the same key until it was answered."""
        names = list(self._sim.clusters)
        while True:
            await asyncio.sleep(random.uniform(1.0, 5.0))
            key = f"k{self._child.asked}"
            self._child.asked += 1
            await self._child.call("POST", f"/api/v1/units/web@{random.choice(names)}:sync", {}, key=key)

    async def _looks(self) -> None:
        """Whether a unit is ever shown Synced at a commit whose stamp its cluster never held (R6)."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            _, answer = await self._child.call("GET", "/api/v1/units?limit=500")
            for one in answer.get("items", []):
                name, _, cluster = one["metadata"]["name"].partition("@")
                status = one["status"]
                if name != "web" or status["sync"] != "Synced" or status["commit"] not in self._script.commits:
                    continue
                self.looked += 1
                number = self._script.commits.index(status["commit"])
                if self._history.stamps.get(cluster, -1) < number:
                    self.wrong.append(f"false calm: web@{cluster} was shown Synced at {number}, which it never held")

    # The kills

    async def _kill_on(self) -> None:
        random = Random(self.seed)
        await self._child.start()
        await self._until_at(0, 300.0)
        load = [self._commits(), self._approvals(), self._requests(Random(random.random())), self._looks()]
        work = [asyncio.create_task(one) for one in load]
        try:
            while len(self.done) < self.points:
                await self._one_kill(random, recovering=False)
                if len(self.done) % self.again == self.again - 1 and len(self.done) < self.points:
                    await self._one_kill(random, recovering=True)
                await self._converge()
                if failed := [task for task in work if task.done()]:
                    failed[0].result()
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
        await self._settle()

    async def _one_kill(self, random: Random, *, recovering: bool) -> None:
        way = random.choice(WAYS)
        late = random.uniform(0.2, 4.0) if recovering else random.uniform(0.0, self.commit_seconds)
        at = await self._child.die(way, random.randint(1, 60 if recovering else 300), late)
        self._killed = time.monotonic()
        self._owed = self._number
        self.done.append(Point(way, at, recovering, -1.0))
        await self._child.start()

    async def _converge(self) -> None:
        began = self._killed
        await self._until_at(self._owed, SECONDS)
        await self._until(lambda: self._child.listens, lambda: "the hub does not listen", SECONDS)
        took = round(time.monotonic() - began, 2)
        for place in range(len(self.done) - 1, -1, -1):
            point = self.done[place]
            if point.seconds >= 0:
                break
            self.done[place] = Point(point.way, point.at, point.recovering, took)

    async def _until_at(self, number: int, seconds: float) -> None:
        def late() -> list[str]:
            return [name for name in self._sim.clusters if self._history.stamps.get(name, -1) < number]

        await self._until(lambda: not late(), lambda: f"commit {number} not on {late()}", seconds)

    async def _until(self, holds: Callable[[], bool], what: Callable[[], str], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                raise TimeoutError(f"after {seconds:.0f} s: {what()}")
            await self._child.must_live()
            await asyncio.sleep(0.05)

    async def _shown(self) -> str:
        """How the hub itself shows what is not well, for a campaign that failed."""
        try:
            async with asyncio.timeout(10):
                _, answer = await self._child.call("GET", "/api/v1/units?limit=500")
        except TimeoutError:
            return "the hub does not answer"
        found = [(one["metadata"]["name"], one["status"]) for one in answer["items"]]
        return "\n".join(f"{name} {status}" for name, status in found if status["sync"] != "Synced")

    async def _settle(self) -> None:
        """All of it, once the load has ended: what Git says is there, and nothing else of ours; all requests ended."""
        approving = asyncio.create_task(self._approvals())
        try:
            await self._until(lambda: not self._differences(), lambda: "; ".join(self._differences()[:5]), SECONDS)
            self.wrong += [f"V4 {line} although its cluster is as Git says" for line in await self._shown_unwell()]
            end = time.monotonic() + SECONDS
            while (await self._child.call("GET", "/api/v1/operations?openOnly=true"))[1].get("items"):
                if time.monotonic() > end:
                    self.wrong.append("V5 some requested sync did not end")
                    break
                await asyncio.sleep(0.2)
        finally:
            approving.cancel()
            await asyncio.gather(approving, return_exceptions=True)

    async def _shown_unwell(self) -> list[str]:
        """Units that are not shown Synced and Healthy within the time."""
        end = time.monotonic() + SECONDS
        while True:
            _, answer = await self._child.call("GET", "/api/v1/units?limit=500")
            shown = [
                (one["metadata"]["name"], one["status"]["sync"], one["status"]["health"]) for one in answer["items"]
            ]
            unwell = [f"{name} is shown {', '.join(how)}" for name, *how in shown if how != ["Synced", "Healthy"]]
            if not unwell or time.monotonic() > end:
                return unwell[:5]
            await asyncio.sleep(0.5)

    def _differences(self) -> list[str]:
        want = dict.fromkeys(("a", "b", "c", "d", "e", "f", "stamp", "keep", "hook"), "")
        want |= {f"i{item}": "0" for item in self._items}
        want["stamp"] = want["hook"] = str(self._number)
        found: list[str] = []
        for name, cluster in self._sim.clusters.items():
            live = {
                key[1]: row.document()["data"].get("a", "")
                for key, row in cluster.store.rows("configmaps").items()
                if key[0] == "default" and "fleet.internal/owner" in row.document()["metadata"].get("annotations", {})
            }
            found += [f"{name}: {key} is {live.get(key)}" for key in want if key not in live]
            found += [f"{name}: {key} is there" for key in live if key not in want]
            found += [f"{name}: {key} is {live[key]}" for key in live if want.get(key) and live[key] != want[key]]
            places = {key[1] for key in cluster.store.rows("namespaces") if key[1].startswith("old-")}
            if places != {f"old-{self._place}"}:
                found.append(f"{name}: namespaces {sorted(places)}")
        return found

    # Afterwards

    def _judged(self) -> list[str]:
        seen = self._history
        operations, audited = read_disk(self._root / "data")
        landed = [write for name, cluster in self._sim.clusters.items() for write in landed_of(name, cluster.ledger)]
        found = judge(self._script, History(landed, seen.parents, operations, audited))
        found += [f"V3 {line}" for line in seen.backwards]
        found += [f"doubled: {key} was made {count} times" for key, count in seen.made.items() if count > 1]
        for (cluster, number), runs in seen.hooks.items():
            if runs > 1:
                found.append(f"doubled: the hook of commit {number} ran {runs} times on {cluster}")
        for cluster, numbers in seen.stamped.items():
            found += [
                f"lost: the hook of commit {number} did not run on {cluster}"
                for number in sorted(numbers)
                if not seen.hooks[cluster, number]
            ]
        for name, cluster in self._sim.clusters.items():
            if cluster.get("", "Secret", "default", "secret") is None:
                found.append(f"lost: the Secret never reached {name}")
        # The mirror is what Git says; all else that the hub writes is looked through.
        found += [line for line in v7_secrets(self._secret.encode(), self._root / "data") if "mirror" not in line]
        found += [line for line in v7_secrets(self._secret.encode(), self._root) if line.startswith("V7 hub.log")]
        deleted = Counter(write.uid for write in landed if write.verb == "delete" and write.uid)
        found += [f"doubled: {uid} was deleted {count} times" for uid, count in deleted.items() if count > 1]
        if len(operations) > self._child.asked:
            found.append(f"doubled: {self._child.asked} syncs were asked for, {len(operations)} were written down")
        if len(operations) < self._child.answered:
            found.append(f"lost: {self._child.answered} syncs were answered, {len(operations)} are written down")
        return found

    def row(self) -> dict[str, Any]:
        """The figures of a campaign that has run."""
        counts = {"commits": self._number, "asked": self._child.asked, "looked": self.looked}
        return {"points": [asdict(point) for point in self.done], **counts}


def hook(name: str, value: str) -> str:
    """A ConfigMap that is a PreSync hook, made anew for each commit that changes it."""
    notes = "{fleet.internal/hook: PreSync, fleet.internal/hook-delete: BeforeHookCreation}"
    return (
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: default, annotations: {notes}}}\n"
        f"data: {{a: '{value}'}}\n"
    )


def _key_of(text: str) -> Key:
    """A hold's object, as `ConfigMap default/i3` or `Namespace old-0`."""
    kind, _, name = text.partition(" ")
    where, _, called = name.rpartition("/")
    return f"{kind.lower()}s", where, called


def figures(points: list[dict[str, Any]]) -> str:
    """All points of some campaigns in two lines."""
    took = sorted(point["seconds"] for point in points if point["seconds"] >= 0)
    again, ways = sum(point["recovering"] for point in points), Counter(point["way"] for point in points)
    lines = [f"{len(points)} kills, {again} of them during recovery: {dict(ways)}"]
    if took:
        late = took[int(len(took) * 0.95)]
        lines.append(
            f"converged in {took[len(took) // 2]:.1f} s (median), {late:.1f} s (p95), {took[-1]:.1f} s at most"
        )
    return "\n".join(lines)
