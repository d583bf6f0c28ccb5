"""`fleet blame KIND/NAME --cluster C`: which line of the repo gives an object, or a field of it, on a cluster.

By trial: a line is named when the field was seen to follow it in a build of a private copy. What cannot be shown this
way is unknown, with the lines that were tried.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from fleet.cli.blame_live import Live, ask_cluster, ask_hub
from fleet.cli.blame_trace import Tools, Traced, Tracer
from fleet.cli.checkout import Checkout, local_renderer, open_checkout, render_all
from fleet.cli.output import Item, clean_line, show
from fleet.cli.problems import counted
from fleet.core.blame import Fact, Leaf, Span, leaves_below
from fleet.core.documents import canonical
from fleet.core.fleet import OverlayState, Unit
from fleet.core.ids import short
from fleet.core.objects import Bundle, BundleObject, is_secret
from fleet.core.problems import Origin
from fleet.errors import FleetError, NotKnown, UsageInvalid
from fleet.ports.source import CommitInfo
from fleet.source.local import LocalRepo, open_local
from fleet.values import dataclass, field

FIELDS_LIMIT = 24  # traced by one command
_VALUE_LENGTH = 60
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the repo with its last commit. commit None: `unknown` says why."""

    origin: Origin
    text: str = ""  # the piece of the value that it gives
    by: str = ""  # the variable or fact that it sets
    last: int = 0  # of a text of several lines, its last line: the newest commit of all of them is told
    commit: CommitInfo | None = None
    unknown: str = ""


@dataclass(slots=True)
class Answer:
    """One object, or one field of it. lines: empty where its origin is unknown, and `why` says so."""

    name: str  # path of the field; "" for the object
    value: str = ""
    lines: list[Line] = field(default_factory=list[Line])
    why: str = ""
    candidates: list[str] = field(default_factory=list[str])
    live: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])  # word, text


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asks about."""

    target: str  # KIND/NAME
    cluster: str
    namespace: str | None = None
    field: str = ""
    hub: str = ""
    live_seconds: float = 0.0  # ask the cluster, not a hub, for so long at most; 0: a hub


def blame(root: Path, asked: Asked, out: TextIO, *, output: str = "table") -> int:
    """Print the lines; 0 all are known, 1 some are not."""
    if output not in ("table", "json", "yaml"):
        raise UsageInvalid(f"-o {output} is not for blame", next_step="table, json or yaml")
    if asked.target.count("/") != 1 or not all(asked.target.split("/")):
        raise UsageInvalid(f"{asked.target} is no object", next_step="write KIND/NAME, as Deployment/web")
    checkout = open_checkout(root)
    unit, item, answers = asyncio.run(_answers(checkout, asked))
    if output == "table":
        out.write(f"{item.ref} on {unit.name.cluster}, by {unit.name} ({unit.path})\n")
        for answer in answers:
            for line in _words(answer):
                out.write(clean_line(line) + "\n")
    else:
        show(_report(unit, item, answers), output, (), out)
    return 0 if all(answer.lines and not answer.why for answer in answers) else 1


async def _answers(checkout: Checkout, asked: Asked) -> tuple[Unit, BundleObject, list[Answer]]:
    repo = _repo_of(checkout)
    try:
        async with local_renderer() as (renderer, vault):
            unit, item, bundle = await _found(checkout, asked, Tools(renderer, vault))
            tracer = Tracer(checkout.tree, unit, item, bundle, Tools(renderer, vault))
            if asked.field:
                leaves = _leaves(tracer, asked)
                answers = [_answer(unit, item, await tracer.field(leaf)) for leaf in leaves]
            else:
                origin = await tracer.definition()
                answers = [Answer("", lines=[Line(origin)] if origin else [])]
                answers[0].why = "" if origin else "no line alone makes this object; ask for one of its fields: --field"
        for answer in answers:
            answer.lines = [await _blamed(repo, line) for line in answer.lines]
        if asked.live_seconds:
            live = await ask_cluster(unit, item, checkout.fleet.name, seconds=asked.live_seconds)
        else:
            live = ask_hub(asked.hub, unit, item)
        for answer in answers:
            answer.live = await _told(live, repo, answer)
    finally:
        if isinstance(repo, LocalRepo):
            await repo.close()
    return unit, item, answers


def _repo_of(checkout: Checkout) -> LocalRepo | str:
    """The repository, or why it cannot be asked."""
    try:
        return open_local(checkout.tree.root, os.environ)
    except UsageInvalid as error:
        return error.what


async def _found(checkout: Checkout, asked: Asked, tools: Tools) -> tuple[Unit, BundleObject, Bundle]:
    """The one object of the cluster that is meant, with its unit; raises NotKnown or UsageInvalid."""
    units = [unit for unit in checkout.units_of(asked.cluster) if unit.overlay.state is OverlayState.PRESENT]
    if any(str(unit.name) == asked.cluster for unit in units):
        raise UsageInvalid(f"{asked.cluster} is no cluster", next_step="write --cluster CLUSTER")
    bundles = await render_all(checkout, units, tools.renderer)
    found = [
        (unit, item, bundle)
        for unit, bundle in zip(units, bundles, strict=True)
        if not isinstance(bundle, FleetError)
        for item in bundle.objects
        if _is_meant(item, asked)
    ]
    failed = [str(unit.name) for unit, bundle in zip(units, bundles, strict=True) if isinstance(bundle, FleetError)]
    if not found:
        why = f"not looked into, because it cannot be rendered: {', '.join(failed)}" if failed else ""
        near = sorted(
            f"{item.ref.kind}/{item.ref.name}"
            for bundle in bundles
            if not isinstance(bundle, FleetError)
            for item in bundle.objects
            if asked.target.split("/")[1] in (item.ref.name, item.generated_from)
        )
        hint = (
            f"did you mean {' or '.join(near[:_SHOWN])}?"
            if near
            else f"fleet render OVERLAY@{asked.cluster} shows all of one"
        )
        raise NotKnown(
            f"no unit of {asked.cluster} renders {asked.target}",
            why=why,
            next_step="fleet validate" if failed else hint,
        )
    if len(found) > 1:
        names = [f"{item.ref} by {unit.name}" for unit, item, _ in found]
        raise UsageInvalid(
            f"{asked.target} on {asked.cluster} is {len(found)} objects: {', '.join(names[:_SHOWN])}",
            next_step="name one: -n NAMESPACE, or KIND.GROUP/NAME",
        )
    return found[0]


def _is_meant(item: BundleObject, asked: Asked) -> bool:
    kind, name = asked.target.split("/")
    kinds = (item.ref.kind.casefold(), f"{item.ref.kind}.{item.ref.group}".casefold())
    is_there = asked.namespace is None or asked.namespace == item.ref.namespace
    return kind.casefold() in kinds and name in (item.ref.name, item.generated_from) and is_there


def _leaves(tracer: Tracer, asked: Asked) -> list[Leaf]:
    leaves = leaves_below(tracer.leaves, asked.field)
    if not leaves:
        first = asked.field.partition(".")[0].partition("[")[0]
        near = [leaf.shown for leaf in tracer.leaves if leaf.shown.startswith(first)] or [
            leaf.shown for leaf in tracer.leaves
        ]
        raise NotKnown(
            f"{asked.target} sets no {asked.field}",
            why="the repo says nothing of it: a default, or another's",
            next_step=f"its fields are named as {', '.join(near[:_SHOWN])}",
        )
    if len(leaves) > FIELDS_LIMIT:
        raise UsageInvalid(
            f"{asked.field} is {len(leaves)} fields",
            next_step=f"name one of at most {FIELDS_LIMIT}, as {leaves[0].shown}",
        )
    return leaves


def _answer(unit: Unit, item: BundleObject, traced: Traced) -> Answer:
    verdict = traced.verdict
    is_hidden = traced.value is None or (is_secret(item.ref) and traced.leaf.path[0] in ("data", "stringData"))
    value = "(the value of a Secret)" if is_hidden else traced.value or ""
    given: dict[tuple[Origin, str], list[str]] = {}
    for part in verdict.parts:
        given.setdefault((_place(unit, part.source), _by(part.source)), []).append(part.text)
    spans = [part.source for part in verdict.parts if isinstance(part.source, Span)]
    lasts = {span.origin: span.last_line for span in spans}
    pieces = len(given) > 1 or not verdict.is_whole
    lines = [
        Line(origin, "…".join(texts) if pieces and not is_hidden else "", by, lasts.get(origin, 0))
        for (origin, by), texts in given.items()
    ]
    candidates = [str(_place(unit, source)) for source in verdict.candidates]
    return Answer(traced.leaf.shown, value, lines, verdict.why, list(dict.fromkeys(candidates)))


def _place(unit: Unit, source: Span | Fact) -> Origin:
    if isinstance(source, Span):
        return source.origin
    variable = unit.variables.get(str(source.path[1])) if source.path[0] == "variables" else None
    return variable.origin if variable else unit.cluster.origin


def _by(source: Span | Fact) -> str:
    if isinstance(source, Span):
        return ""
    if source.path[0] == "variables":
        return f"variable {source.path[1]}"
    return (
        f"label {source.path[1]} of the cluster" if source.path[0] == "labels" else f"{source.path[0]} of the cluster"
    )


async def _blamed(repo: LocalRepo | str, line: Line) -> Line:
    """The same line with its commit."""
    if isinstance(repo, str):
        return replace(line, unknown=repo)
    try:
        info = await repo.blame(line.origin.path, line.origin.line, line.last)
    except FleetError as error:
        return replace(line, unknown=error.why or error.what)
    what = "a line of it" if line.last > line.origin.line else "this line"
    return replace(line, commit=info, unknown="" if info else f"{what} is not committed yet")


async def _told(live: Live, repo: LocalRepo | str, answer: Answer) -> list[tuple[str, str]]:
    """When it reached the cluster, and who holds it there."""
    told: list[tuple[str, str]] = []
    commits = {line.commit.revision for line in answer.lines if line.commit}
    if len(commits) == 1 and isinstance(repo, LocalRepo):
        told.append(("reached", await live.reached(repo, commits.pop())))
    elif commits:
        told.append(("reached", "unknown: several commits make it"))
    if live.unknown:
        told.append(("live", f"unknown: {live.unknown}"))
    elif manager := live.holder(answer.name):
        told.append(("live", manager))
    return told


def _words(answer: Answer) -> list[str]:
    words: list[str] = []
    if answer.name:
        first = answer.value.strip().split("\n")
        value = first[0] + (f" and {counted(len(first) - 1, 'line')} more" if len(first) > 1 else "")
        words.append(f"{answer.name}  {value if len(value) <= _VALUE_LENGTH else value[: _VALUE_LENGTH - 1] + '…'}")
    for line in answer.lines:
        piece = f"  gives {canonical(line.text).decode()}" if line.text else ""
        words.append(f"  line     {line.origin}{f'  {line.by}' if line.by else ''}{piece}")
        words.append(f"  commit   {_commit_in_words(line)}")
    if answer.why:
        words.append(f"  unknown  {answer.why}")
    if answer.candidates:
        more = len(answer.candidates) - _SHOWN
        shown = ", ".join(answer.candidates[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
        words.append(f"  tried    {shown}")
    return words + [f"  {word:<8} {text}" for word, text in answer.live]


def _commit_in_words(line: Line) -> str:
    if line.commit is None:
        return f"unknown: {line.unknown}"
    return f'{short(line.commit.revision)} "{line.commit.subject}" ({line.commit.author}, {_day(line.commit.at)})'


def _day(seconds: float) -> str:
    from datetime import datetime

    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M %Z")


def _report(unit: Unit, item: BundleObject, answers: Sequence[Answer]) -> Item:
    return {
        "apiVersion": "fleet.internal/v1",
        "kind": "Blame",
        "object": {
            "group": item.ref.group,
            "kind": item.ref.kind,
            "namespace": item.ref.namespace,
            "name": item.ref.name,
        },
        "cluster": unit.name.cluster,
        "overlay": unit.name.overlay,
        "unit": str(unit.name),
        "path": unit.path,
        "answers": [
            {
                "field": answer.name or None,
                "value": answer.value if answer.name else None,
                "known": bool(answer.lines) and not answer.why,
                "why": answer.why or None,
                "candidates": answer.candidates,
                "lines": [_line_item(line) for line in answer.lines],
                "live": dict(answer.live),
            }
            for answer in answers
        ],
    }


def _line_item(line: Line) -> Item:
    commit = line.commit
    return {
        "path": line.origin.path,
        "line": line.origin.line,
        "gives": line.text or None,
        "by": line.by or None,
        "commit": commit.revision if commit else None,
        "subject": commit.subject if commit else None,
        "author": commit.author if commit else None,
        "authoredAt": commit.at if commit else None,
        "unknown": line.unknown or None,
    }
