"""Trials for `fleet blame`: builds of a private copy of the checkout with one text of it replaced, in the sandbox."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from fleet.cli.places import Places
from fleet.core.blame import (
    Fact,
    Leaf,
    Span,
    Trial,
    Verdict,
    counterpart,
    fact_replaced,
    facts_with,
    is_alike,
    judge_trials,
    leaves_of,
    may_be_part,
    pieces_of,
    probe_for,
    replaced,
    rest_of,
    spans_of,
    text_of,
    written_name,
)
from fleet.core.documents import Json, canonical, parse
from fleet.core.fleet import Unit
from fleet.core.ids import Revision
from fleet.core.objects import SEALED_PREFIX, Bundle, BundleObject
from fleet.core.problems import Origin
from fleet.errors import DocumentInvalid, FleetError
from fleet.ports.render import RenderRequest, Vault, request_of
from fleet.ports.source import Snapshot, TreeEntry
from fleet.render.parse import nodes_of
from fleet.render.service import Renderer
from fleet.values import dataclass

BUILDS_LIMIT = 160  # of one field; what would take more is told as unknown
_ALONE = 12  # lines tried one by one; of more, those that matter are found by trying many in one build
_AT_ONCE = 4
_YAML = (".yaml", ".yml", ".json")
_MANY = 2_000  # a text that stands so often is not looked into
_NAME = ("metadata", "name")


class Altered:
    """Implements `ports.source.Snapshot`: another one with some files changed, in memory alone."""

    def __init__(self, base: Snapshot, contents: Mapping[str, bytes]) -> None:
        self._base, self._contents = base, contents
        changed = {path: self._entry(path, content) for path, content in contents.items()}
        self.tree: Mapping[str, TreeEntry] = {**base.tree, **changed}
        # A name of its own: trees are remembered by it.
        self.revision = Revision("altered-" + secrets.token_hex(8))

    def _entry(self, path: str, content: bytes) -> TreeEntry:
        oid = hashlib.sha1(b"altered\0" + content, usedforsecurity=False).hexdigest()
        return TreeEntry(self._base.tree[path].mode, oid)

    def read(self, path: str) -> bytes:
        """See fleet.ports.source.Snapshot."""
        return self._contents[path] if path in self._contents else self._base.read(path)

    def read_many(self, paths: Sequence[str]) -> Mapping[str, bytes]:
        """See fleet.ports.source.Snapshot."""
        return {path: self.read(path) for path in paths}


@dataclass(frozen=True, slots=True)
class Traced:
    """A field with what it holds (None: not shown) and where that comes from."""

    leaf: Leaf
    value: str | None
    verdict: Verdict


class Tracer:
    """Traces fields of one object of one unit. among: files that are looked into, None for all that it is built of."""

    def __init__(
        self,
        snapshot: Snapshot,
        unit: Unit,
        item: BundleObject,
        bundle: Bundle,
        tools: Tools,
        *,
        among: Collection[str] | None = None,
    ) -> None:
        self._snapshot, self._unit, self._item, self._bundle = snapshot, unit, item, bundle
        self._renderer, self._vault = tools.renderer, tools.vault
        self._request = request_of(unit)
        closure = self._renderer.closure(snapshot, self._request)
        self._patches = closure.patch_files
        self._files = {path: snapshot.read(path) for path in closure.files if among is None or path in among}
        self.leaves = leaves_of(item.document())
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._salt = secrets.token_hex(8)
        self._left = BUILDS_LIMIT

    async def field(self, leaf: Leaf) -> Traced:
        """Where the value of a field comes from."""
        is_sealed = isinstance(leaf.value, str) and leaf.value.startswith(SEALED_PREFIX)
        value = await self._read(leaf, self._item, self._bundle)
        shown = None if is_sealed else value
        if value is None:
            return Traced(leaf, shown, Verdict(why="an empty value cannot be told from others"))
        if "\n" in value.strip("\n"):
            return Traced(leaf, shown, await self._of_lines(leaf, value))
        self._left = BUILDS_LIMIT
        spans = spans_of(self._files, value)
        if len(spans) > _MANY:
            return Traced(leaf, shown, Verdict(why=f"{len(spans)} lines hold this value"))
        trials = await self._whole(leaf, value, spans)
        verdict = judge_trials(value, trials)
        if not verdict.parts and not any(trial.became == trial.probe for trial in trials):
            verdict = judge_trials(value, trials + await self._of_pieces(leaf, value))
        return Traced(leaf, shown, verdict)

    async def definition(self) -> Origin | None:
        """The line that makes the object: of its document, or of the entry of a generator; None: not known."""
        plain = self._files.keys() - self._patches
        refs = [item.ref for item in self._bundle.objects]
        place = Places(self._snapshot).of(self._item.ref, self._item.api_version, plain, refs)
        if place is not None:
            return place if await self._feeds(place) else None
        traced = await self.field(next(leaf for leaf in self.leaves if leaf.path == _NAME))
        sources = [part.source for part in traced.verdict.parts if isinstance(part.source, Span)]
        return sources[0].origin if traced.verdict.is_whole and len(sources) == 1 else None

    async def _feeds(self, place: Origin) -> bool:
        """Whether some text of the document that starts at this line is seen in the object."""
        raw = self._files[place.path]
        first, end = _document_around(raw, place.line)
        sources: list[tuple[Leaf, Span, str]] = []
        for leaf in self.leaves:
            value = text_of(leaf.value)
            if value is not None and "\n" not in value and leaf.path not in (("kind",), ("apiVersion",)):
                spans = spans_of({place.path: raw}, value)
                sources += [(leaf, span, value) for span in spans if first <= span.line < end]
        # A long text stands where it is set and nowhere else.
        for leaf, span, value in sorted(sources, key=lambda source: -len(source[2]))[:_ALONE]:
            (trial,) = await self._tried(leaf, [(span, value)])
            if trial.became == trial.probe:
                return True
        return False

    async def _whole(self, leaf: Leaf, value: str, spans: Sequence[Span]) -> list[Trial]:
        """Trials of all that is the value: one by one, or where there are many, first many in one build."""
        trials = await self._of_facts(leaf, value, is_whole=True)
        if len(spans) > _ALONE:
            spans = await self._suspects(leaf, value, spans)
        return trials + await self._tried(leaf, [(span, value) for span in spans])

    async def _suspects(self, leaf: Leaf, value: str, spans: Sequence[Span]) -> list[Span]:
        """Those of many spans that a build with all of them replaced does not clear."""
        groups = [spans[at : at + _ALONE] for at in range(0, len(spans), _ALONE)]
        found: list[Span] = []
        for group in groups:
            probes = [(span, probe_for(value, f"{self._salt}{number}")) for number, span in enumerate(group)]
            became = await self._became(leaf, probes)
            hit = [span for span, probe in probes if probe == became]
            found += [] if became == value else hit or group
        return found

    async def _of_pieces(self, leaf: Leaf, value: str) -> list[Trial]:
        """Trials of scalars that may be a piece of the value, the longest first, until all of it is explained."""
        trials = await self._of_facts(leaf, value, is_whole=False)
        scalars = {text for path, raw in self._files.items() if path.endswith(_YAML) for text in _scalars_of(raw)}
        for text in sorted((text for text in scalars if may_be_part(text, value)), key=lambda text: (-len(text), text)):
            if text in rest_of(value, judge_trials(value, trials).parts):
                trials += await self._tried(leaf, [(span, text) for span in spans_of(self._files, text)])
        return trials

    async def _of_facts(self, leaf: Leaf, value: str, *, is_whole: bool) -> list[Trial]:
        facts = parse(self._request.facts)
        found = [pair for pair in facts_with(facts, value) if (pair[1] == value) is is_whole]
        if not (self._request.substitute or self._request.components):
            return []

        async def one(fact: Fact, text: str) -> Trial:
            probe = probe_for(text, self._salt)
            request = replace(self._request, facts=canonical(fact_replaced(facts, fact.path, probe)))
            return Trial(fact, text, probe, await self._outcome(leaf, self._snapshot, request))

        return list(await asyncio.gather(*(one(*pair) for pair in found)))

    async def _of_lines(self, leaf: Leaf, value: str) -> Verdict:
        """A text of several lines: the place of its first line that says something, proven for it and the last."""
        lines = [line.strip() for line in value.splitlines() if len(line.strip()) > _ALONE // 4]
        ends = [line for line in dict.fromkeys(lines[:1] + lines[-1:]) if value.count(line) == 1]
        if len(ends) < len(set(lines[:1] + lines[-1:])) or not ends:
            return Verdict(why="its lines cannot be told from others")
        self._left = BUILDS_LIMIT
        proven: list[Trial] = []
        for line in ends:
            trials = await self._tried(leaf, [(span, line) for span in spans_of(self._files, line)[:_ALONE]])
            hits = [one for one in trials if one.became == value.replace(line, one.probe)]
            if len(hits) != 1:
                return Verdict(why="its lines follow no single place", candidates=tuple(one.source for one in hits))
            proven += hits
        spans = [one.source for one in proven if isinstance(one.source, Span)]
        paths = {span.path for span in spans}
        if len(paths) == 1:
            proven[0] = replace(proven[0], source=replace(spans[0], last_line=spans[-1].line))
        first = judge_trials(value, proven[:1])
        return replace(first, is_whole=len(paths) == 1, why="" if len(paths) == 1 else "its lines come from two files")

    async def _tried(self, leaf: Leaf, sources: Sequence[tuple[Span, str]]) -> list[Trial]:
        async def one(span: Span, text: str) -> Trial:
            probe = probe_for(text, self._salt)
            return Trial(span, text, probe, await self._became(leaf, [(span, probe)]))

        return list(await asyncio.gather(*(one(*source) for source in sources)))

    async def _became(self, leaf: Leaf, probes: Sequence[tuple[Span, str]]) -> str | None:
        paths = {span.path for span, _ in probes}
        contents = {
            path: replaced(self._files[path], [pair for pair in probes if pair[0].path == path]) for path in paths
        }
        return await self._outcome(leaf, Altered(self._snapshot, contents), self._request)

    async def _outcome(self, leaf: Leaf, snapshot: Snapshot, request: RenderRequest) -> str | None:
        """What the field holds in another build; None where that cannot be compared with this one."""
        if self._left <= 0:
            return None
        self._left -= 1
        async with self._gate:
            try:
                bundle = await self._renderer.render(snapshot, request)
            except FleetError:
                return None  # the text is needed to build at all: nothing is learnt of the field
        item = counterpart(self._item, self._bundle, bundle)
        if item is None:
            return None
        leaves = leaves_of(item.document())
        same = next((other for other in leaves if other.path == leaf.path), None)
        if same is None or not is_alike(self.leaves, leaves):
            return None
        return await self._read(same, item, bundle)

    async def _read(self, leaf: Leaf, item: BundleObject, bundle: Bundle) -> str | None:
        """The value as people wrote it: a Secret's in clear, a generated name without its hash."""
        if leaf.path == _NAME:
            return item.generated_from or item.ref.name
        value: Json = leaf.value
        if isinstance(value, str) and value.startswith(SEALED_PREFIX):
            found = (await self._vault.get([value])).get(value)
            return _text_in(found)
        return written_name(value, bundle) if isinstance(value, str) and value else text_of(value)


@dataclass(frozen=True, slots=True)
class Tools:
    """What builds, and what knows the values of Secrets for as long as the command runs."""

    renderer: Renderer
    vault: Vault


def _text_in(raw: bytes | None) -> str | None:
    try:
        return raw.decode() if raw else None
    except UnicodeDecodeError:
        return base64.b64encode(raw or b"").decode()


def _document_around(raw: bytes, line: int) -> tuple[int, int]:
    """First line of the document that holds a line, and the first after it."""
    found = (1, raw.count(b"\n") + 2)
    try:
        starts = [node.start_mark.line + 1 for node in nodes_of(raw)]
    except DocumentInvalid:
        return found
    before, after = [start for start in starts if start <= line], [start for start in starts if start > line]
    return (before[-1] if before else 1), (after[0] if after else found[1])


def _scalars_of(raw: bytes) -> Iterable[str]:
    try:
        for node in nodes_of(raw):
            yield from _scalars(node)
    except DocumentInvalid:
        return


def _scalars(node: Node) -> Iterable[str]:
    if isinstance(node, ScalarNode):
        yield from pieces_of(str(node.value))
    elif isinstance(node, MappingNode):
        for _, value in node.value:
            yield from _scalars(value)
    elif isinstance(node, SequenceNode):
        for value in node.value:
            yield from _scalars(value)
