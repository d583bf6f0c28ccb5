"""Which text of the repo a field's value comes from: what is tried, and what an outcome proves. Pure.

A field comes from a text if it follows that text: with the text replaced by a word that stands nowhere else (a
probe), the same build gives the same objects with that word in the field's place. A text that merely looks like the
value proves nothing, and a build that comes out otherwise proves nothing either: then the answer is "unknown".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from fleet.core.documents import Json
from fleet.core.field_diff import common_key
from fleet.core.objects import Bundle, BundleObject
from fleet.core.problems import Origin
from fleet.values import dataclass

Path = tuple[str | int, ...]  # keys and indexes from the root of a document
_DIGITS = re.compile(r"[0-9]+\Z")
_VARIABLE = re.compile(r"\$\{[^}:]*(?::=([^}]*))?\}")
_SHORTEST_PART = 2  # characters; a single one stands everywhere


@dataclass(frozen=True, slots=True)
class Leaf:
    """One scalar of an object. shown: as kubectl explains it; also: other ways a person may write the same path."""

    path: Path
    shown: str
    also: tuple[str, ...]
    value: Json


@dataclass(frozen=True, slots=True)
class Span:
    """A text in a file, by bytes."""

    path: str
    start: int
    end: int
    line: int  # from 1
    last_line: int = 0  # of a text of several lines, the one that its last line stands in

    @property
    def origin(self) -> Origin:
        """File and line."""
        return Origin(self.path, self.line)


@dataclass(frozen=True, slots=True)
class Fact:
    """A value of the cluster that enters builds: ("variables", "domain"), ("labels", "region"), ("name",)."""

    path: Path


@dataclass(frozen=True, slots=True)
class Trial:
    """One source whose text was replaced by a probe. became: what the field held then; None: nothing was learnt."""

    source: Span | Fact
    text: str
    probe: str
    became: str | None


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of the value, from `start` on, that was seen to follow one source."""

    source: Span | Fact
    text: str
    start: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Where a value comes from. parts: proven, in their order; empty: unknown. candidates: what was tried in vain."""

    parts: tuple[Part, ...] = ()
    is_whole: bool = False  # the parts are the whole value
    why: str = ""  # in words, why it is unknown, or what of it is
    candidates: tuple[Span | Fact, ...] = ()


def text_of(value: Json) -> str | None:
    """A scalar as it is written; None for what has no text to look for."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    return value or None if isinstance(value, str) else None


def leaves_of(value: Json) -> list[Leaf]:
    """All scalars of a document, in its order."""
    return list(_leaves(value, (), "", "", ""))


def _leaves(value: Json, path: Path, shown: str, indexed: str, short: str) -> Iterator[Leaf]:
    if isinstance(value, dict):
        for key, item in value.items():
            step = f"[{key}]" if "." in key or "/" in key else f".{key}" if path else key
            yield from _leaves(item, (*path, key), shown + step, indexed + step, short + step)
    elif isinstance(value, list):
        key = common_key(value, value)
        for index, item in enumerate(value):
            name = str(item[key]) if key and isinstance(item, dict) else str(index)
            step = f"[{key}={name}]" if key else f"[{index}]"
            yield from _leaves(item, (*path, index), shown + step, f"{indexed}[{index}]", f"{short}[{name}]")
    else:
        yield Leaf(path, shown, tuple(dict.fromkeys(name for name in (indexed, short) if name != shown)), value)


def leaves_below(leaves: Sequence[Leaf], wanted: str) -> list[Leaf]:
    """The leaf that a person's path names, or all below it; empty where there is none."""
    wanted = wanted.removeprefix(".")
    return [
        leaf
        for leaf in leaves
        if any(name == wanted or name.startswith((f"{wanted}.", f"{wanted}[")) for name in (leaf.shown, *leaf.also))
    ]


def counterpart(item: BundleObject, before: Bundle, after: Bundle) -> BundleObject | None:
    """The same object in a build with a probe in it, though it may be called otherwise there; None if not certain."""
    same = next((other for other in after.objects if other.ref == item.ref), None)
    if same is not None:
        return same
    kinds = [[(other.ref.group, other.ref.kind) for other in bundle.objects] for bundle in (before, after)]
    return after.objects[before.objects.index(item)] if kinds[0] == kinds[1] else None


def is_alike(before: Sequence[Leaf], after: Sequence[Leaf]) -> bool:
    """Whether an object kept its shape: a build that lost or gained fields says nothing about one of them."""
    return {leaf.path for leaf in before} == {leaf.path for leaf in after}


def written_name(name: str, bundle: Bundle) -> str:
    """A name as people wrote it: one that kustomize generated, without its hash."""
    return next((item.generated_from for item in bundle.objects if item.generated_from and item.ref.name == name), name)


def spans_of(files: Mapping[str, bytes], text: str) -> list[Span]:
    """Where a text stands by itself in these files: neither end of it in the middle of a word."""
    raw = text.encode(errors="surrogateescape")
    pattern = re.compile(_edge(text[0], b"(?<![A-Za-z0-9])") + re.escape(raw) + _edge(text[-1], b"(?![A-Za-z0-9])"))
    return [
        Span(path, found.start(), found.end(), content.count(b"\n", 0, found.start()) + 1)
        for path, content in sorted(files.items())
        for found in pattern.finditer(content)
    ]


def _edge(character: str, pattern: bytes) -> bytes:
    return pattern if character.isalnum() else b""


def may_be_part(text: str, value: str) -> bool:
    """Whether a text can be a piece of a value without being it."""
    return _SHORTEST_PART <= len(text) < len(value) and text in value


def replaced(raw: bytes, probes: Iterable[tuple[Span, str]]) -> bytes:
    """A file's content with other texts in the place of spans of it."""
    for span, probe in sorted(probes, key=lambda pair: -pair[0].start):
        raw = raw[: span.start] + probe.encode() + raw[span.end :]
    return raw


def probe_for(text: str, salt: str) -> str:
    """A word that stands nowhere else; digits for digits, because a count must stay a number."""
    digest = hashlib.sha256(f"{salt}\0{text}".encode(errors="surrogateescape")).hexdigest()
    return str(10_000_000 + int(digest[:8], 16) % 80_000_000) if _DIGITS.match(text) else f"q{digest[:12]}z"


def judge_trials(value: str, trials: Sequence[Trial]) -> Verdict:
    """What these trials prove about a value.

    One source that the whole value follows is its origin; several are none. Else pieces that follow a source each are
    told, as far as they do not overlap.
    """
    whole = [trial.source for trial in trials if trial.text == value and trial.became == trial.probe]
    if len(whole) == 1:
        return Verdict((Part(whole[0], value, 0),), is_whole=True)
    if whole:
        return Verdict(why=f"{len(whole)} lines set it alike", candidates=tuple(whole))
    parts = _longest([part for trial in trials if (part := _part(value, trial))])
    if any(one.start + len(one.text) > other.start for one, other in pairwise(parts)):
        return Verdict(why="several lines set the same piece of it", candidates=tuple(part.source for part in parts))
    if not parts:
        return _nothing_proven([trial for trial in trials if trial.text == value])
    is_whole = not any(character.isalnum() for character in rest_of(value, parts))
    return Verdict(tuple(parts), is_whole, "" if is_whole else "where the rest of it comes from is unknown")


def _nothing_proven(trials: Sequence[Trial]) -> Verdict:
    unclear = tuple(dict.fromkeys(trial.source for trial in trials if trial.became is None))
    if unclear:
        return Verdict(why="with another text there the build fails, or differs in more", candidates=unclear)
    tried = tuple(dict.fromkeys(trial.source for trial in trials))
    return Verdict(why="no line that holds this value gives it" if tried else "no line holds it", candidates=tried)


def pieces_of(text: str) -> list[str]:
    """What of a text can stand in a value: all of it, or what is around its `${variables}` and in their defaults."""
    return [piece for piece in _VARIABLE.split(text) if piece]


def rest_of(value: str, parts: Sequence[Part]) -> str:
    """What of a value no part explains; marks between words are put there by kustomize, as in `image:tag`."""
    for part in sorted(parts, key=lambda part: -part.start):
        value = value[: part.start] + "\0" * len(part.text) + value[part.start + len(part.text) :]
    return value


def _longest(parts: Sequence[Part]) -> list[Part]:
    """Parts in their order, without those that are a piece of another's text in the same place."""
    return sorted(
        (part for part in parts if not any(_is_inside(part, other) for other in parts)), key=lambda part: part.start
    )


def _is_inside(part: Part, other: Part) -> bool:
    one, whole = part.source, other.source
    if not (isinstance(one, Span) and isinstance(whole, Span)) or one.path != whole.path or one == whole:
        return False
    return whole.start <= one.start and one.end <= whole.end


def _part(value: str, trial: Trial) -> Part | None:
    if trial.became is None or len(trial.text) >= len(value) or trial.became.count(trial.probe) != 1:
        return None
    start = trial.became.index(trial.probe)
    is_swap = value[:start] + trial.probe + value[start + len(trial.text) :] == trial.became
    return Part(trial.source, trial.text, start) if is_swap and value[start:].startswith(trial.text) else None


def facts_with(facts: Json, text: str) -> list[tuple[Fact, str]]:
    """Values of the cluster that are this text, or a piece of it, with what they say."""
    found = [(leaf.path, text_of(leaf.value)) for leaf in leaves_of(facts)]
    return [(Fact(path), said) for path, said in found if said and (said == text or may_be_part(said, text))]


def fact_replaced(facts: Json, path: Path, probe: str) -> Json:
    """The cluster's values with a probe in the place of one."""
    if not path:
        is_count = isinstance(facts, int) and not isinstance(facts, bool) and probe.isdigit()
        return int(probe) if is_count else probe
    first, rest = path[0], path[1:]
    if isinstance(facts, dict):
        return {key: fact_replaced(item, rest, probe) if key == first else item for key, item in facts.items()}
    if isinstance(facts, list):
        return [fact_replaced(item, rest, probe) if at == first else item for at, item in enumerate(facts)]
    return facts


def arrival_of(contains: Sequence[bool | None]) -> int | None:
    """Which of a unit's applied commits, oldest first, brought another; None where that cannot be told.

    contains: for each, whether it contains the other; None: not known. The one before must be known to lack it: a
    timeline that begins later does not say when it came.
    """
    for at, (before, now) in enumerate(pairwise(contains), start=1):
        if before is False and now is True:
            return at
        if before is not False:
            return None
    return None
