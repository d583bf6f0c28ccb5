"""The chain of the audit log: whatever is done to the entries afterwards is found."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis.strategies import DrawFn, builds, composite, floats, integers, lists, sampled_from, text

from fleet.core.audit import START, AuditEntry, Head, Link, heads_in, next_head, verify_chain

KEY = b"k" * 32
FIELDS = tuple(AuditEntry.__dataclass_fields__)
WORDS = text(alphabet='ab"\\,\x00é', max_size=3)
ENTRIES = builds(
    AuditEntry, floats(0, 2e9), **{name: WORDS for name in FIELDS if name != "at"}
)  # few letters, so that entries are often equal or nearly so


def chain_of(entries: list[AuditEntry], key: bytes = KEY) -> list[Link]:
    links: list[Link] = []
    head = START
    for entry in entries:
        head = next_head(key, head, entry)
        links.append(Link(head.number, entry, head.seal))
    return links


@given(lists(ENTRIES, max_size=8), integers(0, 8))
def test_a_log_that_nobody_touched_is_whole_and_proven_up_to_the_last_head_seen_elsewhere(
    entries: list[AuditEntry], seen: int
) -> None:
    links = chain_of(entries)
    seen = min(seen, len(links))
    verdict = verify_chain(
        KEY, links, stored=links[-1].head if links else None, witnesses=[link.head for link in links[:seen]]
    )
    assert (verdict.faults, verdict.head.number, verdict.proven) == ((), len(links), seen)


@composite
def tampered(draw: DrawFn) -> tuple[list[Link], list[Link], Head | None]:
    """A log as it was written, as somebody left it, and the head that the store says."""
    links = chain_of(draw(lists(ENTRIES, min_size=2, max_size=8)))
    changed, stored = list(links), links[-1].head
    at = draw(integers(0, len(links) - 1))
    match draw(sampled_from(["edit", "drop", "swap", "contents", "truncate", "reseal", "insert", "renumber", "empty"])):
        case "edit":
            field = draw(sampled_from(FIELDS))
            old = getattr(links[at].entry, field)
            new = old + 1.0 if field == "at" else old + draw(text(alphabet="x ", min_size=1, max_size=2))
            changed[at] = replace(links[at], entry=replace(links[at].entry, **{field: new}))
        case "drop":
            del changed[at]
        case "swap":  # whole rows, with their seals, under one another's numbers
            other = (at + 1) % len(links)
            changed[at] = replace(links[other], number=links[at].number)
            changed[other] = replace(links[at], number=links[other].number)
        case "contents":
            other = (at + 1) % len(links)
            changed[at] = replace(links[at], entry=links[other].entry, seal=links[other].seal)
        case "truncate":
            del changed[at:]
        case "reseal":  # sealed anew from here on, by somebody without the key
            rest = [replace(link.entry, reason=link.entry.reason + "!") for link in links[at:]]
            changed[at:] = [replace(link, number=link.number + at) for link in chain_of(rest, key=b"x" * 32)]
            stored = changed[-1].head
        case "insert":
            changed.insert(at, links[at])
        case "renumber":  # drop one, and close the gap
            del changed[at]
            changed[at:] = [replace(link, number=link.number - 1) for link in changed[at:]]
        case _:
            return links, [], stored
    return links, changed, stored


@given(tampered())
def test_any_edit_drop_reordering_or_truncation_is_found(case: tuple[list[Link], list[Link], Head | None]) -> None:
    _, changed, stored = case
    assert verify_chain(KEY, changed, stored=stored).faults


@given(lists(ENTRIES, min_size=1, max_size=8), integers(0, 7), integers(0, 7))
def test_an_end_cut_off_with_the_stored_head_is_found_by_a_head_seen_elsewhere(
    entries: list[AuditEntry], keep: int, seen: int
) -> None:
    links = chain_of(entries)
    keep, seen = min(keep, len(links) - 1), min(seen, len(links) - 1)
    verdict = verify_chain(
        KEY, links[:keep], stored=links[keep - 1].head if keep else None, witnesses=[links[seen].head]
    )
    assert bool(verdict.faults) == (seen >= keep)


def test_a_head_that_was_seen_elsewhere_and_fits_no_entry_is_a_fault() -> None:
    links, others = (chain_of([AuditEntry(at, "jo", "delete") for at in times]) for times in ((1.0, 2.0), (1.0, 3.0)))
    verdict = verify_chain(KEY, links, stored=links[-1].head, witnesses=[others[-1].head, links[0].head])
    assert [(fault.number, verdict.proven) for fault in verdict.faults] == [(2, 1)]


def test_heads_are_found_in_logs_and_in_parent_objects() -> None:
    head = chain_of([AuditEntry(1.0, "jo", "delete")])[0].head
    log = f'{{"event": "audited", "head": "{head}", "at": "2025-11-25T09:06:40Z"}}'
    parent = f"    fleet.internal/audit-head: {head}\n    fleet.internal/record-digest: {'a' * 64}\n"
    assert heads_in(log) == heads_in(parent) == (head,)
    assert heads_in(f"x{head}y 0:{'0' * 64} 12:{'a' * 63}") == ()
