"""The Renderer: from a commit and a request to a bundle, built once per input digest and never again after a restart.

The hub itself only walks closures, reads digests and moves blocks of bytes; building, parsing and sealing happen in
the render workers.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fleet.core.documents import Document, canonical, digest_of_bytes, items_at, mapping_at, parse, parse_document
from fleet.core.ids import Digest
from fleet.core.objects import Bundle
from fleet.core.planning.inputs import RenderInputs
from fleet.errors import RenderEmpty, RenderInterrupted, Retry
from fleet.ports.render import RenderCache, RenderRequest, Vault
from fleet.ports.source import Snapshot
from fleet.render.builder import Build, Builder
from fleet.render.facts import facts_for
from fleet.render.index import Place, ReverseIndex, place_of
from fleet.render.inputs import Closure
from fleet.render.jobs import Answer
from fleet.render.limits import RunLimits
from fleet.render.results import Results
from fleet.render.scratch import make_scratch, sweep
from fleet.render.stats import RenderStats
from fleet.render.tools import Helm, Tool, find_helm, find_tool
from fleet.render.tree import CommitTree
from fleet.render.workers import WorkerPool, copy_of

if TYPE_CHECKING:
    from fleet.render.reader import Reader

_FORMAT = b"fleet-render-2"  # changes when the same input would give another bundle
_TREES = 4
SAMPLE_SHARE = 0.01  # in a hub


class Renderer:
    """Implements fleet.ports.render.Renderer."""

    def __init__(
        self,
        cache: RenderCache,
        vault: Vault,
        key: bytes,
        tool: Tool,
        limits: RunLimits | None = None,
        workers: int = 2,
        *,
        scratch: Path | None = None,
        helm: Helm | None = None,
        needs_values: bool = True,
        sample_share: float = SAMPLE_SHARE,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        """needs_values: False where nobody will ask for values of Secrets, so that a bundle is whole without them.

        sample_share: of the builds with the slim schema are made twice and compared. warn: told once what builds could
        do, where this system does not shut them in.
        """
        self._tool, self._helm = tool, helm
        self._scratch = make_scratch(scratch)
        self._own_scratch = scratch is None
        programs = (tool.path, helm.path) if helm else (tool.path,)
        readable = (*programs, *(os.path.realpath(path) for path in programs))
        self._pool = WorkerPool(key, self._scratch, readable, workers, warn)
        # Seals differ under another key, so that results kept under one must not answer under another.
        self._key_id = digest_of_bytes(b"render key " + key).encode()
        self._reader: Reader | None = None
        self._trees: OrderedDict[str, CommitTree] = OrderedDict()
        self._read: dict[str, dict[Place, Closure]] = {}  # of these trees
        self._index = ReverseIndex()
        self._walking = asyncio.Lock()
        self.stats = RenderStats()
        self._results = Results(cache, vault, self.stats, needs_values=needs_values)
        self._builder = Builder(self._pool, vault, tool, helm, limits or RunLimits(), self.stats, sample_share)

    @property
    def tool(self) -> Tool:
        """The binary that builds."""
        return self._tool

    async def render(
        self, snapshot: Snapshot, request: RenderRequest, *, remember: bool = True, only_kept: bool = False
    ) -> Bundle:
        """See fleet.ports.render.Renderer."""
        async with self._walking:
            tree, walks = self._tree(snapshot), self.stats.walks
            closure = self._closure(tree, request, remember=remember)
            if self.stats.walks > walks:
                await asyncio.sleep(0)  # many may be asked for at once: the loop gets its turn after each (R18)
        if closure.error is not None:
            raise copy_of(closure.error)
        build = Build(closure, facts_for(closure, request), request.substitute, request.compat)
        tools = [self._tool.digest.encode()]
        if closure.uses_charts and self._helm is not None:
            tools.append(self._helm.digest.encode())
        tools += [f"compat {name}".encode() for name in request.compat]
        key = closure.input_digest(
            _FORMAT, self._key_id, *tools, canonical(build.facts), b"s" if build.template else b""
        )
        if not request.substitute:
            made = _unless(only_kept, request.path, lambda: self._builder.build(tree.snapshot, build))
            bundle = await self._results.bundle_at(key, made)
        else:
            bundle = await self._finished(tree, build, key, request, only_kept=only_kept)
        if not bundle.objects and not request.allow_empty:
            raise RenderEmpty(
                f"{request.path} renders no object",
                where=closure.kustomizations.get(closure.root, request.path),
                why="nothing is never read as 'delete all'",
                next_step="say allowEmpty: true in its overlay.yaml if that is meant",
            )
        if closure.widened:
            bundle = replace(bundle, warnings=(*bundle.warnings, *closure.widened))
        return bundle

    def affected(self, changed: frozenset[str]) -> frozenset[RenderRequest]:
        """See fleet.ports.render.Renderer."""
        return self._index.affected(changed)

    def forget(self, requests: Iterable[RenderRequest]) -> None:
        """See fleet.ports.render.Renderer."""
        for request in requests:
            self._index.forget(request)

    async def bundle(self, digest: Digest) -> Bundle:
        """See fleet.ports.render.Renderer."""
        return await self._results.bundle(digest)

    def spare(self, in_use: Callable[[], Collection[Digest]]) -> None:
        """See fleet.ports.render.Renderer."""
        self._results.spare(in_use)

    async def sweep_values(self) -> int:
        """See fleet.ports.render.Renderer."""
        return await self._results.sweep_values()

    def learn(self, snapshot: Snapshot, closures: Mapping[Place, Closure]) -> None:
        """Take closures of this commit that were read by an earlier process."""
        self._tree(snapshot)
        self._read[snapshot.revision].update(closures)
        for place, closure in closures.items():
            self._index.put(place, closure)

    def places(self, changed: frozenset[str]) -> Collection[Place]:
        """The places of `affected`, and of closures that were learnt."""
        return self._index.places(changed)

    async def expect_builds(self) -> None:
        """Say that something will most likely be built, so that a worker loads meanwhile."""
        await self._pool.start_ahead()

    async def close(self) -> None:
        """See fleet.ports.render.Renderer."""
        await self._results.close()
        await self._pool.close()
        if self._own_scratch:
            await asyncio.to_thread(shutil.rmtree, self._scratch, ignore_errors=True)

    def inputs(self, snapshot: Snapshot, request: RenderRequest) -> RenderInputs:
        """See fleet.ports.render.Renderer."""
        closure = self._closure(self._tree(snapshot), request, remember=False)
        facts = request.facts if request.substitute else canonical(facts_for(closure, request))
        failed = str(closure.error) if closure.error else ""
        digests = closure.input_digest(), closure.input_digest(facts, failed.encode())
        return RenderInputs(*digests, is_partial=closure.error is not None, is_whole=bool(closure.widened))

    def closure(self, snapshot: Snapshot, request: RenderRequest) -> Closure:
        """What a build of this request can read, remembered as by `render`."""
        return self._closure(self._tree(snapshot), request, remember=True)

    def _tree(self, snapshot: Snapshot) -> CommitTree:
        tree = self._trees.get(snapshot.revision)
        if tree is None:
            tree = self._trees[snapshot.revision] = CommitTree(snapshot)
            self._read[snapshot.revision] = {}
            if len(self._trees) > _TREES:
                oldest, _ = self._trees.popitem(last=False)
                del self._read[oldest]
        return tree

    def _closure(self, tree: CommitTree, request: RenderRequest, *, remember: bool) -> Closure:
        """Read once per commit and place. Not remembered, it must not displace that of the commit in force (R6)."""
        read, place = self._read[tree.snapshot.revision], place_of(request)
        known, closure = self._index.closure(request), read.get(place)
        if closure is None and known is not None:
            closure = known.renewed(tree)
        if closure is None:
            # YAML comes with it: a command on a checkout whose inputs are known by Git's ids starts without.
            from fleet.render.closure import read_closure
            from fleet.render.reader import Reader

            self._reader = self._reader or Reader()
            charts = self._helm is not None
            closure = read_closure(tree, self._reader, request.path, request.components, charts=charts)
            self.stats.walks += 1
        if closure.error is None or closure.error.retry is not Retry.SOON:
            read[place] = closure
        if remember:
            self._index.ask(request)
            if closure is not known:
                self._index.put(place, closure)
        return closure

    async def _finished(
        self, tree: CommitTree, build: Build, key: Digest, request: RenderRequest, *, only_kept: bool
    ) -> Bundle:
        """Substitution: one build for all clusters, then one cheap step per distinct set of the values in use."""
        made = _unless(only_kept, request.path, lambda: self._builder.build(tree.snapshot, build))
        template = await self._results.template_at(key, made)
        parsed = parse_document(template)
        variables = mapping_at(parse(request.facts), "variables")
        names = {str(name) for name in items_at(parsed, "names")}
        used: Document = {name: value for name, value in variables.items() if name in names}
        finish_key = digest_of_bytes(b"finish " + key.encode() + canonical(used))
        seals = tuple(str(seal) for seal in items_at(parsed, "seals"))
        values = used if names <= used.keys() else variables
        finished = _unless(only_kept, request.path, lambda: self._builder.finish(template, values, seals, request.path))
        return await self._results.bundle_at(finish_key, finished)


def _unless(only_kept: bool, path: str, make: Callable[[], Awaitable[Answer]]) -> Callable[[], Awaitable[Answer]]:
    """What makes a result, or says that it is not to be made now."""

    async def refuse() -> Answer:
        raise RenderInterrupted(
            f"{path} is not built yet",
            why="builds before it ran into their time limit, so that Git is asked again first",
            next_step="it is built after the next fetch",
        )

    return refuse if only_kept else make


async def open_renderer(
    cache: RenderCache,
    vault: Vault,
    key: bytes,
    *,
    environment: Mapping[str, str],
    scratch: Path | None = None,
    limits: RunLimits | None = None,
    workers: int = 2,
    needs_values: bool = True,
    sample_share: float = SAMPLE_SHARE,
    remember_tool: bool = False,
    warn: Callable[[str], None] | None = None,
) -> Renderer:
    """A Renderer with the tool of this machine; raises RendererMissing.

    key: the installation key, for seals. scratch: a directory of this process alone for the files of builds; better
    left out, so that they lie in memory where the system allows it. remember_tool: ask a binary that did not change
    since (its inode, size and times) for its version once, and keep the answer in the cache. warn: see Renderer.
    """
    tool, helm = await find_tool(environment, cache if remember_tool else None), await find_helm(environment)
    await asyncio.to_thread(sweep, scratch)
    return Renderer(
        cache,
        vault,
        key,
        tool,
        limits,
        workers,
        scratch=scratch,
        helm=helm,
        needs_values=needs_values,
        sample_share=sample_share,
        warn=warn,
    )
