"""The chain of the audit log (R43): each entry is sealed over itself and the seal before, by a key outside the store.

So nothing in it can be changed, dropped or moved unseen. Only its end could be cut off together with the head that the
store keeps; against that stand the heads that went elsewhere, to the hub's log and to the units' parent objects.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from hashlib import sha256

import orjson

from fleet.core.ids import ObjectRef, UnitName
from fleet.values import dataclass

KEY_TURNED = "turn-key"  # action: all entries of the store are sealed anew under another key
_HEAD = re.compile(r"\b([1-9][0-9]{0,17}):([0-9a-f]{64})\b")


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One destructive or authorising action: what, on what, why, by whom (R43)."""

    at: float
    actor: str
    action: str  # "delete", "adopt", "force", "gate-job-delete", "accept-identity", ...
    cluster: str = ""
    identity: str = ""
    unit: str = ""
    object: str = ""
    uid: str = ""  # before the action
    commit: str = ""
    reason: str = ""
    # "" or "asked" before the action, then "done", "gone", "refused", "failed: <class>", "unknown: <class>".
    outcome: str = ""
    uid_after: str = ""  # of what stands under that name after it: "" is nothing
    approver: str = ""  # who approved the hold that listed this object; filled in by the store


@dataclass(frozen=True, slots=True)
class Head:
    """Where the chain ends: the number of an entry (from 1) and its seal in hex."""

    number: int
    seal: str

    def __str__(self) -> str:
        return f"{self.number}:{self.seal}"


START = Head(0, "")
DELETED = ("done", "gone")  # outcomes of "delete" after which the object is gone, or on its way by our word


@dataclass(frozen=True, slots=True)
class Link:
    """One entry as the store holds it. An empty seal: written before there was a chain."""

    number: int
    entry: AuditEntry
    seal: str = ""

    @property
    def head(self) -> Head:
        """The chain's head while this was its last entry."""
        return Head(self.number, self.seal)


@dataclass(frozen=True, slots=True)
class ChainFault:
    """One place where the log is not what was written."""

    number: int
    message: str


@dataclass(frozen=True, slots=True)
class ChainVerdict:
    """What a check of the whole chain found.

    head: of the last entry; proven: the highest entry that a head from outside the store vouches for. Without faults
    everything up to `proven` is whole, and of what follows nothing is changed, but its end could have been cut off.
    """

    head: Head
    proven: int
    faults: tuple[ChainFault, ...]


def refs_by_unit(found: Iterable[tuple[str, str]]) -> Mapping[UnitName, frozenset[ObjectRef]]:
    """Objects of entries by unit. found: `unit` and `object` of each.

    An entry that names no object of a unit is passed over: earlier versions wrote the end of a gate's Job so. What is
    missing here proves one deletion less, and so only asks a person more often (R9).
    """
    refs: dict[UnitName, set[ObjectRef]] = {}
    for unit, key in found:
        with suppress(ValueError):
            refs.setdefault(UnitName.parse(unit), set()).add(ObjectRef.from_key(key))
    return {unit: frozenset(each) for unit, each in refs.items() if each}


def hold_text(hold: str, list_digest: str) -> str:
    """The object of an entry about a hold: which, and the exact list that was decided on."""
    return f"hold {hold}, list {list_digest}"


def rollback_text(bundle: str, to: str) -> str:
    """The object of an entry about a rollback: the bundle that a unit leaves, and the one that it holds again."""
    return f"bundle {bundle} -> {to or 'nothing'}"


def goes_to(text: str, bundle: str) -> bool:
    """Whether this is what a rollback to that bundle was about."""
    return text.endswith(f" -> {bundle}")


def next_head(key: bytes, head: Head, entry: AuditEntry) -> Head:
    """The head after this entry was appended to a chain that ends at `head`."""
    number = head.number + 1
    content = orjson.dumps(
        [
            number,
            head.seal,
            float(entry.at),
            entry.actor,
            entry.action,
            entry.cluster,
            entry.identity,
            entry.unit,
            entry.object,
            entry.uid,
            entry.commit,
            entry.reason,
            entry.outcome,
            entry.uid_after,
            entry.approver,
        ]
    )
    return Head(number, hmac.digest(key, content, sha256).hex())


def heads_in(text: str) -> tuple[Head, ...]:
    """All heads that stand anywhere in a text, as a log or the annotations of parent objects."""
    return tuple(Head(int(number), seal) for number, seal in _HEAD.findall(text))


def verify_chain(
    key: bytes, links: Iterable[Link], *, stored: Head | None, witnesses: Iterable[Head] = ()
) -> ChainVerdict:
    """Check a whole log, oldest entry first, against the head in the store and heads seen elsewhere.

    stored: None where the store has none, which only an empty log may have.
    """
    faults: list[ChainFault] = []
    seen: dict[int, set[str]] = {}
    for head in witnesses:
        seen.setdefault(head.number, set()).add(head.seal)
    last, proven = START, 0
    for link in links:
        if link.number > last.number + 1:
            faults.append(_missing(last.number + 1, link.number - 1))
        elif link.number <= last.number:
            faults.append(ChainFault(link.number, f"entry {link.number} stands after entry {last.number}"))
        elif not hmac.compare_digest(next_head(key, last, link.entry).seal, link.seal):
            faults.append(ChainFault(link.number, f"entry {link.number} is not what was written, or what came before"))
        last = link.head
        if expected := seen.pop(link.number, None):
            if expected == {link.seal}:
                proven = link.number
            else:
                faults.append(ChainFault(link.number, f"entry {link.number} is not the one that was seen elsewhere"))
    if stored is None and last != START:
        faults.append(ChainFault(last.number, "the head of the chain is missing from the store"))
    if stored is not None and stored != last:
        faults.append(_end(stored, last))
    beyond = [number for number in seen if number > last.number]
    if beyond and (stored is None or max(beyond) > stored.number):
        faults.append(_missing(max(last.number, stored.number if stored else 0) + 1, max(beyond)))
    return ChainVerdict(last, proven, tuple(faults))


def _end(stored: Head, last: Head) -> ChainFault:
    if stored.number > last.number:
        return _missing(last.number + 1, stored.number)
    if stored.number == last.number:
        return ChainFault(last.number, f"entry {last.number}, the last, is not the one that was written")
    return ChainFault(
        last.number, f"the head in the store is that of entry {stored.number}, the log goes on to another"
    )


def _missing(first: int, last: int) -> ChainFault:
    return ChainFault(first, f"entry {first} is missing" if first == last else f"entries {first} to {last} are missing")
