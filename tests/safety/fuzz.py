"""Bytes that nobody would write, in great numbers: no crash, no hang, bounded memory.

Input N of a seed is always the same bytes, so that a failure is repeated by its number. Inputs run in a child process,
which says before each which one it is: one that takes the process down is found all the same. The clock of an input is
the CPU time that it used; a second of that is a hang.
"""

from __future__ import annotations

import multiprocessing
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

HANG_SECONDS = 1.0
STOP_SECONDS = 10  # of CPU: then the child is ended
GROWTH_BYTES = 256 << 20  # what all inputs together may add to the child's memory
LONGEST = 64 << 10
_BATCH = 20_000  # inputs of one child


@dataclass(frozen=True, slots=True)
class Target:
    """What is fed. check: takes the bytes and returns a word for what came of it; whatever it raises is a crash.

    prepare: called in the child, once; it returns `check`. words: pieces that mean something to what is fed.
    """

    name: str
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...]
    prepare: Callable[[], Callable[[bytes], str]]


@dataclass(slots=True)
class Found:
    """What came of it. outcomes: how often each word; slowest: CPU seconds and number of the slowest input."""

    target: str
    inputs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    crashes: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)
    slowest: tuple[float, int] = (0.0, -1)
    growth_bytes: int = 0
    cpu_seconds: float = 0.0

    @property
    def is_clean(self) -> bool:
        return not self.crashes and not self.hangs and self.growth_bytes <= GROWTH_BYTES


class Hang(BaseException):
    """An input used too much CPU; no `except Exception` of the product may swallow it."""


def made(target: Target, seed: int, number: int) -> bytes:
    """Input `number`: a seed, changed in one to eight places."""
    random = Random(f"{target.name}/{seed}/{number}")
    data = bytearray(random.choice(target.seeds))
    for _ in range(1 + min(7, int(random.expovariate(0.9)))):
        random.choice(_CHANGES)(data, random, target)
    return bytes(data[:LONGEST])


def run(target: Target, inputs: int, *, seed: int = 0, first: int = 0) -> Found:
    """Feed so many inputs, in children of this process; at most five failures are kept of each kind."""
    found = Found(target.name)
    begun = resource.getrusage(resource.RUSAGE_CHILDREN)
    context = multiprocessing.get_context("fork")
    at, end = first, first + inputs
    while at < end and len(found.crashes) < 5 and len(found.hangs) < 5:
        stop = min(end, at + _BATCH)
        ours, theirs = context.Pipe(duplex=False)
        now = context.Value("q", at, lock=False)
        child = context.Process(target=_child, args=(target, seed, at, stop, theirs, now))
        child.start()
        theirs.close()
        try:
            part: Found | None = ours.recv()
        except EOFError:
            part = None  # it was taken down
        child.join()
        if part is None:
            found.crashes.append(f"input {now.value} of seed {seed}: the process ended with {child.exitcode}")
            found.inputs += now.value - at + 1
            at = now.value + 1
            continue
        found.inputs += part.inputs
        found.outcomes.update(part.outcomes)
        found.crashes += part.crashes
        found.hangs += part.hangs
        found.slowest = max(found.slowest, part.slowest)
        found.growth_bytes = max(found.growth_bytes, part.growth_bytes)
        at += part.inputs
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    found.cpu_seconds = spent.ru_utime + spent.ru_stime - begun.ru_utime - begun.ru_stime
    return found


def _child(target: Target, seed: int, first: int, stop: int, answer: Any, now: Any) -> None:
    signal.signal(signal.SIGVTALRM, _hung)
    check, found = target.prepare(), Found(target.name)
    sys.setrecursionlimit(1000)
    before = _memory()
    for number in range(first, stop):
        now.value = number
        data = made(target, seed, number)
        signal.setitimer(signal.ITIMER_VIRTUAL, STOP_SECONDS)
        began = time.thread_time()
        try:
            found.outcomes[check(data)] += 1
        except Hang:
            found.hangs.append(f"input {number} of seed {seed}: more than {STOP_SECONDS} s of CPU: {data[:300]!r}")
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{where.filename.rpartition('/')[2]}:{where.lineno}"
            said = f"{type(error).__name__}: {str(error)[:200]} ({place})"
            found.crashes.append(f"input {number} of seed {seed}: {said}: {data[:300]!r}")
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        spent = time.thread_time() - began
        found.inputs += 1
        found.slowest = max(found.slowest, (spent, number))
        if HANG_SECONDS < spent < STOP_SECONDS:
            found.hangs.append(f"input {number} of seed {seed}: {spent:.1f} s of CPU: {data[:300]!r}")
        if len(found.crashes) >= 5 or len(found.hangs) >= 5:
            break
    found.growth_bytes = max(0, _memory() - before)
    answer.send(found)


def _hung(number: int, frame: Any) -> None:
    del number, frame
    raise Hang


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# How an input is changed; each takes the bytes, the dice and the target.

Change = Callable[[bytearray, Random, Target], None]


def _span(data: Sequence[int], random: Random, most: int = 64) -> tuple[int, int]:
    start = random.randrange(len(data) + 1)
    return start, min(len(data), start + random.randint(0, most))


def _flip(data: bytearray, random: Random, target: Target) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _byte(data: bytearray, random: Random, target: Target) -> None:
    at = random.randrange(len(data) + 1)
    data[at:at] = bytes([random.choice((0, 9, 10, 13, 32, 34, 39, 0x7F, 0x80, 0xC0, 0xFF, random.randrange(256)))])


def _drop(data: bytearray, random: Random, target: Target) -> None:
    start, end = _span(data, random)
    del data[start:end]


def _cut(data: bytearray, random: Random, target: Target) -> None:
    if random.random() < 0.3:
        del data[random.randrange(len(data) + 1) :]


def _word(data: bytearray, random: Random, target: Target) -> None:
    start, end = _span(data, random, 8)
    data[start : end if random.random() < 0.5 else start] = random.choice(target.words)


def _swap_word(data: bytearray, random: Random, target: Target) -> None:
    """Put one known piece in the place of another."""
    old = random.choice(target.words)
    at = data.find(old, random.randrange(len(data) + 1))
    if at >= 0:
        data[at : at + len(old)] = random.choice(target.words)


def _copy(data: bytearray, random: Random, target: Target) -> None:
    start, end = _span(data, random)
    at = random.randrange(len(data) + 1)
    data[at:at] = bytes(data[start:end]) * random.choice((1, 1, 1, 2, 50))
    del data[LONGEST:]


def _splice(data: bytearray, random: Random, target: Target) -> None:
    other = random.choice(target.seeds)
    start, end = _span(other, random, 200)
    at = random.randrange(len(data) + 1)
    data[at:at] = other[start:end]


def _number(data: bytearray, random: Random, target: Target) -> None:
    at = random.randrange(len(data) + 1)
    while at < len(data) and not 48 <= data[at] <= 57:
        at += 1
    end = at
    while end < len(data) and 48 <= data[end] <= 57:
        end += 1
    data[at:end] = random.choice(
        (b"0", b"-1", b"2147483648", b"9223372036854775808", b"1e999", b"0x_", b"9" * 400, b"9" * 5000)
    )


def _line(data: bytearray, random: Random, target: Target) -> None:
    """Double a line, drop it, move it, or indent it otherwise."""
    lines = bytes(data).split(b"\n")
    at = random.randrange(len(lines))
    match random.randrange(4):
        case 0:
            lines.insert(random.randrange(len(lines) + 1), lines[at])
        case 1:
            del lines[at]
        case 2:
            lines.insert(random.randrange(len(lines)), lines.pop(at))
        case _:
            lines[at] = random.choice((b" ", b"  ", b"\t", b"- ", b"? ")) + lines[at]
    data[:] = b"\n".join(lines)


def _nest(data: bytearray, random: Random, target: Target) -> None:
    if random.random() < 0.7:
        return
    opened, closed = random.choice(((b"[", b"]"), (b"{", b"}"), (b"- ", b""), (b'{"a":', b"}"), (b"[[", b"")))
    depth = random.choice((2, 10, 70, 200, 2000))
    at = random.randrange(len(data) + 1)
    data[at:at] = opened * depth + b"x" + closed * depth


_CHANGES: tuple[Change, ...] = (
    _flip,
    _byte,
    _drop,
    _cut,
    _word,
    _word,
    _swap_word,
    _swap_word,
    _copy,
    _splice,
    _number,
    _line,
    _line,
    _nest,
)
