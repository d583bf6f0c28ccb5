"""Judges a finished run by V1-V7 from what the clusters saw and what lies on disk; it shares no code with the product.

The script says what a person did and when: what each commit drops, what was approved. Everything else is read from the
request ledgers, the clusters' own histories, and by plain SQL from the hub's database.
"""

from __future__ import annotations

import base64
import itertools
import sqlite3
import statistics
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PRECIOUS = frozenset({"namespaces", "persistentvolumes", "persistentvolumeclaims", "statefulsets",
                      "customresourcedefinitions", "clusterroles", "clusterrolebindings"})  # fmt: skip
CALM_SECONDS = 180.0  # three intervals of R21: what is older says nothing of now
SETTLED_SECONDS = 120.0  # two intervals: V4
Key = tuple[str, str, str]  # resource, namespace ("" also for a Namespace), name
Spans = Sequence[tuple[float, float]]  # from moment to moment


@dataclass(frozen=True, slots=True)
class Landed:
    """One write of the hub that a cluster carried out; `moment` is the wall clock of its end."""

    moment: float
    cluster: str
    verb: str
    key: Key
    uid: str = ""  # of what a delete met
    owner: str = ""  # its ownership annotation
    asked_uid: str = ""
    asked_version: str = ""


@dataclass(slots=True)
class Script:
    """What was done to the fleet, by moment."""

    installation: str = "default"
    identities: dict[str, str] = field(default_factory=dict)  # cluster -> the identity its entry stands for
    dropped: list[tuple[float, str, Key]] = field(default_factory=list)  # moment, cluster, object: a commit drops it
    wanted: list[tuple[float, str, Key]] = field(default_factory=list)  # a commit wants it (again)
    approved: list[tuple[float, Key]] = field(default_factory=list)  # a person approved its deletion
    detached: list[tuple[float, str]] = field(default_factory=list)  # moment, unit "overlay@cluster"
    commits: list[str] = field(default_factory=list)  # in the order of the branch
    secret: str = ""  # a value that may lie nowhere in clear but in the mirror, for what Git itself holds


@dataclass(frozen=True, slots=True)
class History:
    """What the clusters and the disk tell after a run."""

    landed: Sequence[Landed]
    commits_of_units: Mapping[str, Sequence[str]]  # "unit@cluster" -> commits its parent object named, in order
    operations: Sequence[tuple[str, str]]  # id, outcome
    audited: Sequence[Mapping[str, Any]]  # rows of the audit table, oldest first


def landed_of(cluster: str, entries: Iterable[Any]) -> list[Landed]:
    """Writes that were carried out, from a simulated cluster's ledger."""
    return [
        Landed(entry.moment, cluster, entry.verb, (entry.resource, entry.namespace, entry.name), entry.uid,
               entry.owner, entry.asked_uid, entry.asked_version)
        for entry in entries
        if entry.landed and entry.agent.startswith("fleet")
    ]  # fmt: skip


def read_disk(data_dir: Path) -> tuple[list[tuple[str, str]], list[dict[str, Any]]]:
    """Operations and audit rows of a hub that has ended."""
    with closing(sqlite3.connect(f"file:{data_dir / 'state.db'}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        operations = [(row["id"], row["outcome"]) for row in connection.execute("SELECT * FROM operation")]
        return operations, [dict(row) for row in connection.execute("SELECT * FROM audit ORDER BY id")]


def judge(script: Script, history: History) -> list[str]:
    """Every violation in words; [] is a clean run."""
    return [
        *_v1_deletions(script, history),
        *_v2_identities(script, history),
        *_v3_order(script, history),
        *_v5_ends(history),
    ]


@dataclass(frozen=True, slots=True)
class Shown:
    """What the API said of one unit ("overlay@cluster") at one moment."""

    moment: float
    unit: str
    sync: str
    health: str

    @property
    def is_calm(self) -> bool:
        return self.sync == "Synced" or self.health == "Healthy"


def false_calm(shown: Iterable[Shown], wrong: Mapping[str, Spans], deaf: Mapping[str, Spans]) -> list[str]:
    """Units that were shown Synced or Healthy longer than three intervals after that was last known to be so.

    wrong: by unit, when its cluster did not hold what it was told to; deaf: by cluster, when no true word of it could
    reach the hub. Each unit is named once for each.
    """
    found: dict[tuple[str, str], str] = {}
    for one in shown:
        cluster = one.unit.partition("@")[2]
        said = f"{one.sync}, {one.health}"
        for begin, end in wrong.get(one.unit, ()):
            if one.sync == "Synced" and begin + CALM_SECONDS < one.moment < end:
                text = f"false calm: {one.unit} was shown {said} {one.moment - begin:.0f} s after it left that"
                found.setdefault((one.unit, "wrong"), text)
        for begin, end in deaf.get(cluster, ()):
            if one.is_calm and begin + CALM_SECONDS < one.moment < end:
                text = f"false calm: {one.unit} was shown {said} {one.moment - begin:.0f} s after its last true word"
                found.setdefault((one.unit, "deaf"), text)
    return list(found.values())


def silences(begin: float, end: float, words: Iterable[float]) -> list[tuple[float, float]]:
    """The spans between two moments in which nothing true was heard; words: when something was."""
    moments = [begin, *sorted(moment for moment in words if begin < moment < end), end]
    return list(itertools.pairwise(moments))


def false_alarm(shown: Iterable[Shown], well: Iterable[str]) -> list[str]:
    """Units of clusters to which nothing was done, and that were not shown Synced and Healthy at some moment."""
    names = set(well)
    found = {one.unit: one for one in shown if one.unit.partition("@")[2] in names
             and (one.sync, one.health) != ("Synced", "Healthy")}  # fmt: skip
    return [f"false alarm: {one.unit} was shown {one.sync}, {one.health}" for one in found.values()]


def v6_delays(before: Sequence[float], meanwhile: Sequence[float], *, floor: float) -> list[str]:
    """Units that no fault touches keep their delay from commit to cluster, in seconds.

    before: of a fleet in health; floor: what the machine's own noise makes of any delay. Where one of them was not
    measured nothing is said: see `unmeasured`.
    """
    if not before or not meanwhile:
        return []
    usual, late = statistics.median(before), max(meanwhile)
    if late <= max(floor, 3 * usual):
        return []
    return [f"V6 a commit took {late:.1f} s to a cluster without a fault, {usual:.1f} s in health"]


def unmeasured(before: Sequence[float], meanwhile: Sequence[float]) -> list[str]:
    """What a run could say nothing about, which is neither a violation nor a proof."""
    return [] if before and meanwhile else ["V6: no commit came at a time at which a delay could be measured"]


def v7_secrets(secret: bytes, folder: Path) -> list[str]:
    """Files below a folder that hold a seeded secret plainly or in base64 at any of its three offsets."""
    spelled = {secret, secret.hex().encode()}
    for shift in range(3):
        # The digits of whole groups of three bytes are the same whatever stands around them.
        whole = secret[(3 - shift) % 3 :]
        spelled.add(base64.b64encode(whole[: len(whole) // 3 * 3]))
    return [
        f"V7 {path.relative_to(folder)} holds a seeded secret"
        for path in sorted(folder.rglob("*"))
        if path.is_file() and any(text in path.read_bytes() for text in spelled)
    ]


def _v1_deletions(script: Script, history: History) -> Iterable[str]:
    for write in history.landed:
        if write.verb == "deletecollection":
            yield f"V1 a whole collection was deleted: {write}"
        if write.verb != "delete":
            continue
        resource, namespace, name = write.key
        owner = write.owner.split("/")
        said = f"{resource} {namespace}/{name} on {write.cluster}"
        if write.uid == "":
            continue  # it met nothing
        if len(owner) != 3 or owner[0] != script.installation or owner[1] != script.identities[write.cluster]:
            yield f"V1 {said} was deleted and carried the mark {write.owner!r}"
        if write.asked_uid != write.uid:
            yield f"V1 {said} was deleted without its UID as precondition"
        if namespace == "fleet-system" and resource == "configmaps":
            overlay = owner[2] if len(owner) == 3 else ""
            if not any(unit == f"{overlay}@{write.cluster}" and at < write.moment for at, unit in script.detached):
                yield f"V1 {said}, the parent of a unit that nobody detached, was deleted"
            continue
        if not write.asked_version:
            yield f"V1 {said} was deleted without its resourceVersion as precondition"
        if not _dropped_then(script, write):
            yield f"V1 {said} was deleted, and no commit dropped it"
        if resource in PRECIOUS and not any(key == write.key and at < write.moment for at, key in script.approved):
            yield f"V1 {said} was deleted, and nobody approved it"
        intents = [row for row in history.audited if row["action"] == "delete" and row["uid"] == write.uid]
        if not any(row["outcome"] == "" and row["at"] <= write.moment for row in intents):
            yield f"V1 {said} was deleted before the audit log said so"


def _dropped_then(script: Script, write: Landed) -> bool:
    """Whether the newest commit before the deletion that says anything of the object drops it."""
    said = [(at, False) for at, cluster, key in script.wanted if (cluster, key) == (write.cluster, write.key)]
    said += [(at, True) for at, cluster, key in script.dropped if (cluster, key) == (write.cluster, write.key)]
    before = sorted(item for item in said if item[0] < write.moment)
    return any(drops for _, drops in before)


def _v2_identities(script: Script, history: History) -> Iterable[str]:
    for write in history.landed:
        if write.cluster not in script.identities:
            yield f"V2 {write.verb} {write.key} reached {write.cluster}, which no entry stands for"


def _v3_order(script: Script, history: History) -> Iterable[str]:
    place = {commit: number for number, commit in enumerate(script.commits)}
    for unit, commits in history.commits_of_units.items():
        known = [place[commit] for commit in commits if commit in place]
        if len(known) != len([commit for commit in commits if commit]):
            yield f"V3 {unit} was at a commit that was never on the branch: {commits}"
        if known != sorted(known):
            yield f"V3 {unit} went back: {[commit[:7] for commit in commits]}"


def _v5_ends(history: History) -> Iterable[str]:
    for operation, outcome in history.operations:
        if not outcome:
            yield f"V5 operation {operation} has no end"
    numbers = [row["id"] for row in history.audited]
    if numbers != list(range(1, len(numbers) + 1)):
        yield "V5 the audit log has a gap"
    for write in history.landed:
        if write.verb == "delete" and write.uid:
            rows = [row for row in history.audited if row["action"] == "delete" and row["uid"] == write.uid]
            if not any(row["outcome"] for row in rows):
                yield f"V5 the deletion of {write.key} on {write.cluster} has no last word in the audit log"
