"""A field that changes, in words: its path and both values, shortened so that what differs never looks alike."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from fleet.core.documents import Json, canonical
from fleet.core.field_diff import FieldDrift
from fleet.core.planning.groups import ShownField
from fleet.core.planning.phrases import counted
from fleet.values import dataclass

_KEPT = 12  # so much of what two texts begin with is shown before they differ


@dataclass(frozen=True, slots=True)
class Folding:
    """How much of a group is written out; what is not is counted."""

    objects: int
    fields: int
    lines: int  # of a text of several lines
    value_length: int = 48
    line_length: int = 100  # of one such line, with its sign


FOLDED = Folding(12, 6, 6)
WHOLE = Folding(1_000_000, 1_000_000, 1_000_000, 1_000_000_000, 1_000_000_000)


def field_in_words(drift: FieldDrift, folding: Folding, *, is_several: bool) -> str:
    """`spec.replicas 2 -> 3`, on one line. is_several: as `field_lines` takes it."""
    lines = field_lines(ShownField(drift), folding, is_several=is_several)
    return " ".join(line.removeprefix("  ") for line in lines)


def field_lines(shown: ShownField, folding: Folding, *, is_several: bool) -> list[str]:
    """One line, or for a text of several one for each that differs.

    is_several: the pod has more than one container, so that each is named: `env side/LOG`, `env init/wait/LOG`.
    """
    drift = shown.field
    path = _short_path(drift.path, is_several=is_several)
    if shown.variants > 1:
        return [f"{path} differs from cluster to cluster, {shown.variants} values"]
    if drift.masked:
        return [f"{path} changed"]
    before, after = drift.desired, drift.live
    length = folding.value_length
    if before is None:
        return [f"{path} added: {within(_text(after), length)}"]
    if after is None:
        return [f"{path} removed"]
    if isinstance(before, str) and isinstance(after, str) and "\n" in before + after:
        return [f"{path}:", *_text_lines(before, after, folding)]
    one, other = _readable(before, after)
    return [f"{path} {_apart(one, [other], length)} -> {_apart(other, [one], length)}"]


def _text_lines(before: str, after: str, folding: Folding) -> list[str]:
    """The lines of a text that differ, as a diff without context."""
    diff = list(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0))
    # Its two header lines go by their place: a line of the text may begin as they do.
    lines = [(line[0], line[1:]) for line in diff[2:] if not line.startswith("@@")]
    if not lines:
        return ["  line ends differ"]
    alike: dict[str, set[str]] = {}
    for _, line in lines:
        alike.setdefault(_look(line), set()).add(line)
    told = [(sign, _json(line) if len(alike[_look(line)]) > 1 else line) for sign, line in lines]
    other_side = {sign: [line for its, line in told if its != sign] for sign in "-+"}
    shown = [
        f"  {sign}{_apart(line, other_side[sign], folding.line_length - 1)}" for sign, line in told[: folding.lines]
    ]
    left = len(lines) - len(shown)
    return [*shown, f"  and {counted(left, 'more line')}"] if left else shown


def _short_path(path: str, *, is_several: bool) -> str:
    path = path.removeprefix("spec.template.spec.").removeprefix("spec.jobTemplate.spec.template.spec.")
    found = re.fullmatch(r"(init|c)(?:C?ontainers)\[name=([^\]]+)\]\.env\[name=([^\]]+)\](?:\.value)?", path)
    if found is None:
        return path.replace("[name=", "[")
    whose = f"{'init/' if found[1] == 'init' else ''}{found[2]}/" if is_several else ""
    return f"env {whose}{found[3]}"


def _readable(before: Json, after: Json) -> tuple[str, str]:
    """Two values as people write them, or as JSON has them where those look alike or are not seen whole."""
    one, other = _text(before), _text(after)
    if one != other and all(text.isprintable() and text == text.strip() for text in (one, other)):
        return one, other
    return _json(before), _json(after)


def _text(value: Json) -> str:
    return value if isinstance(value, str) and value else canonical(value).decode()


def _look(line: str) -> str:
    """What is seen of a line for sure: not which white space it has, and where, nor what is not printable."""
    return "".join(char for char in line if char.isprintable() and not char.isspace())


def _json(value: Json) -> str:
    text = canonical(value).decode()
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _apart(text: str, others: Iterable[str], length: int) -> str:
    """A text within a length; where one of the others would look the same, without what both begin with."""
    if len(text) <= length:
        return text
    alike = [
        _common(text, other) for other in others if other != text and within(other, length) == within(text, length)
    ]
    return within(f"…{text[max(alike) - _KEPT :]}" if alike else text, length)


def within(text: str, length: int) -> str:
    """A text of at most so many characters, that says where its end was left out."""
    return text if len(text) <= length else text[: length - 1] + "…"


def _common(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    return next(
        (at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), min(len(one), len(other))
    )
