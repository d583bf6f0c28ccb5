"""A plan as a comment on a pull request: the same lines as on a terminal, at most so many bytes.

Groups are left out whole, the last ones first, and counted; a group that is too long by itself is folded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from fleet.core.ids import short
from fleet.core.planning.field_words import FOLDED, Folding, within
from fleet.core.planning.fleet_plan import FleetPlan
from fleet.core.planning.groups import ChangeGroup, groups_of
from fleet.core.planning.remarks import remarks
from fleet.core.planning.words import heading, lines_of, summary, title_of
from fleet.core.problems import Severity

LIMIT_BYTES = 60 * 1024  # GitHub takes 65,536 characters
MARK = "<!-- fleet plan -->"  # by which a job finds the comment that it wrote before
_FOLDS = (FOLDED, Folding(6, 3, 3), Folding(2, 1, 2))
_OFFLINE = "\n_Most immutable fields, other owners and drift need the clusters; they are not in this plan._\n"
_REMARKS_SHOWN, _PROBLEMS_SHOWN = 20, 20
_LINE_LENGTH, _WORDS_LENGTH = 300, 600
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~@&])")
_LINKED = re.compile(r"@|[#!](?=\d)|\bGH-(?=\d)|\bwww(?=\.)|:(?=//)", re.IGNORECASE)


def markdown_of(plan: FleetPlan, *, limit_bytes: int = LIMIT_BYTES) -> str:
    """The comment, never longer than the limit (at least 16 KiB)."""
    head = [MARK, f"### fleet plan {short(plan.digest)}", "", _plain(heading(plan)), ""]
    if plan.is_different:
        head += [f"**In all:** {_plain(summary(plan))}", ""]
    share = limit_bytes // 4
    head += _fitting(_remarks(plan), _REMARKS_SHOWN, share, "fleet plan")
    head += _fitting(_problems(plan), _PROBLEMS_SHOWN, share, "fleet validate")
    tail = "" if plan.live is not None else _OFFLINE
    text = "\n".join(head) + "\n"
    groups = groups_of(plan.units)
    room = limit_bytes - len(text.encode()) - len(tail.encode()) - 200
    shown: list[str] = []
    left: list[ChangeGroup] = []
    for group in groups:
        block = next((made for fold in _FOLDS if len((made := _block(group, plan, fold)).encode()) <= room), None)
        if block is None or left:
            left.append(group)
            continue
        shown.append(block)
        room -= len(block.encode())
    if left:
        units = sum(len(group.units) for group in left)
        shown.append(f"\n**{len(left)} more groups with {units} units are not shown here:** `fleet plan` shows them.\n")
    return text + "".join(shown) + tail


def _block(group: ChangeGroup, plan: FleetPlan, folding: Folding) -> str:
    lines = [within(line, _LINE_LENGTH) for line in lines_of(group, plan, folding)]
    title = f"\n**{_plain(title_of(group, plan))}**\n"
    return title + _fenced(lines) if lines else title


def _fenced(lines: list[str]) -> str:
    """Lines that are not read as markdown, whatever they hold; signs become those of a diff."""
    text = "\n".join(f"! {line[2:]}" if line.startswith("~ ") else line for line in map(_printable, lines))
    fence = _fence(text, 3)
    return f"{fence}diff\n{text}\n{fence}\n"


def _fence(text: str, least: int) -> str:
    """One that is longer than any in the text."""
    return "`" * max(least, 1 + max(map(len, re.findall(r"`+", text)), default=0))


def _remarks(plan: FleetPlan) -> list[str]:
    return [
        f"- **{remark.word}:** {_plain(remark.text)}" + (f"; {_code(remark.next_step)}" if remark.next_step else "")
        for remark in remarks(plan)
    ]


def _problems(plan: FleetPlan) -> list[str]:
    words = {Severity.ERROR: "Error", Severity.WARNING: "Warning"}
    return [
        f"- **{words[problem.severity]}:** {_plain(problem.what)} ({_plain(str(problem.origin))})"
        for problem in sorted(plan.problems, key=lambda problem: (problem.severity.value, problem.origin))
    ]


def _fitting(lines: list[str], count: int, room: int, command: str) -> Iterator[str]:
    """The first ones of a list, as many as are shown and have room in bytes; the others are counted."""
    for index, line in enumerate(lines):
        room -= len(line.encode()) + 1
        if index == count or room < 0:
            yield f"- and {len(lines) - index} more: `{command}` shows them"
            return
        yield line


def _plain(text: str) -> str:
    """Text from elsewhere without what would be markup, a mention or a link.

    Code hosts look for the latter in what is shown, so that no escape keeps them away; a space without width does.
    """
    text = within(_printable(text), _WORDS_LENGTH)
    return _LINKED.sub("\\g<0>\u200b", _SPECIAL.sub(r"\\\1", text))


def _code(text: str) -> str:
    """A command to be copied, without anything added: hosts look for no mention and no link in code."""
    text = within(_printable(text), _WORDS_LENGTH)
    fence = _fence(text, 1)
    edge = " " if text.startswith(("`", " ")) or text.endswith(("`", " ")) else ""  # which is not shown
    return f"{fence}{edge}{text}{edge}{fence}"


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
