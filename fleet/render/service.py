"""The Renderer: from a commit and a request to a bundle, built once per input digest and never again after a restart.

The hub itself only walks closures, reads digests and moves blocks of bytes; building, parsing and sealing happen in
the render workers.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fleet.core.documents import Document, Json, canonical, digest_of_bytes, items_at, mapping_at, parse, parse_document
from fleet.core.ids import Digest
from fleet.core.objects import Bundle, seals_of
from fleet.errors import FleetError, RenderEmpty, RenderTimeout, RenderTooLarge, Retry, StateDamaged
from fleet.ports.render import RenderCache, RenderInputs, RenderRequest, Vault
from fleet.ports.source import Snapshot
from fleet.render.facts import facts_for
from fleet.render.index import Place, ReverseIndex, place_of
from fleet.render.inputs import Closure
from fleet.render.jobs import Answer, BuildJob, FinishJob, build_header, bundle_of, finish_header
from fleet.render.limits import RunLimits
from fleet.render.scratch import make_scratch, sweep
from fleet.render.tools import SLIM_TESTED, Helm, Tool, find_helm, find_tool
from fleet.render.tree import CommitTree
from fleet.render.workers import WorkerPool, copy_of
from fleet.values import dataclass

if TYPE_CHECKING:
    from fleet.render.closure import Reader

_FORMAT = b"fleet-render-2"  # changes when the same input would give another bundle
_TREES, _ERRORS = 4, 20_000
_BUNDLE_BYTES = 16 * 1024 * 1024  # bundles kept in memory, by their bodies
_READ_AT_ONCE = 8  # of at most 16 MiB each: not much beyond the limit is ever held
_TIMEOUT_MEMO_SECONDS = 300.0
SAMPLE_SHARE = 0.01  # in a hub


@dataclass(slots=True)
class RenderStats:
    """Counted since the start; read for metrics."""

    builds: int = 0  # runs of kustomize
    finishes: int = 0  # substitutions into a build
    hits: int = 0
    failures: int = 0
    kustomize_cpu_seconds: float = 0.0
    slim_builds: int = 0
    slim_differences: int = 0  # samples that came out otherwise; above 0 the slim schema is not used any more


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
    ) -> None:
        """needs_values: False where nobody will ask for values of Secrets, so that a bundle is whole without them.

        sample_share: of the builds with the slim schema are made twice and compared.
        """
        self._cache = cache
        self._vault = vault
        self._tool = tool
        self._limits = limits or RunLimits()
        self._scratch = make_scratch(scratch)
        self._own_scratch = scratch is None
        self._helm, self._needs_values, self._sample_share = helm, needs_values, sample_share
        programs = (tool.path, helm.path) if helm else (tool.path,)
        readable = (*programs, *(os.path.realpath(path) for path in programs))
        self._pool = WorkerPool(key, self._scratch, readable, workers)
        # Seals differ under another key, so that results kept under one must not answer under another.
        self._key_id = digest_of_bytes(b"render key " + key).encode()
        self._reader: Reader | None = None
        self._trees: OrderedDict[str, CommitTree] = OrderedDict()
        self._read: dict[str, dict[Place, Closure]] = {}  # of these trees
        self._index = ReverseIndex()
        self._bundles: OrderedDict[Digest, Bundle] = OrderedDict()
        self._bundle_bytes = 0
        self._errors: OrderedDict[Digest, tuple[FleetError, float]] = OrderedDict()
        self._running: dict[Digest, asyncio.Task[bytes]] = {}
        self.stats = RenderStats()

    @property
    def tool(self) -> Tool:
        """The binary that builds."""
        return self._tool

    @property
    def measures(self) -> tuple[str, ...]:
        """What the workers gave up (network, foreign files); empty before the first one started."""
        return self._pool.measures

    async def render(self, snapshot: Snapshot, request: RenderRequest, *, remember: bool = True) -> Bundle:
        """See fleet.ports.render.Renderer."""
        tree = self._tree(snapshot)
        closure = self._closure(tree, request, remember=remember)
        if closure.error is not None:
            raise copy_of(closure.error)
        build = _Build(closure, facts_for(closure, request), request.substitute, request.compat)
        tools = [self._tool.digest.encode()]
        if closure.uses_charts and self._helm is not None:
            tools.append(self._helm.digest.encode())
        tools += [f"compat {name}".encode() for name in request.compat]
        key = closure.input_digest(
            _FORMAT, self._key_id, *tools, canonical(build.facts), b"s" if build.template else b""
        )
        if not request.substitute:
            bundle = await self._bundle_at(key, lambda: self._build(tree, build))
        else:
            bundle = await self._finished(tree, build, key, request)
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
        found = await self._kept(digest)
        if found is None:
            raise StateDamaged(
                f"the rendered result {digest[:12]} is not there",
                why="it was swept from the cache, or its entry does not verify",
                next_step="restart the hub: it renders again what Git says now",
            )
        return found

    def spare(self, in_use: Callable[[], Collection[Digest]]) -> None:
        """See fleet.ports.render.Renderer. What is in memory is spared, too: it was used last, without a look there."""
        self._cache.spare(lambda: {*in_use(), *self._bundles})

    def learn(self, snapshot: Snapshot, request: RenderRequest, closure: Closure) -> None:
        """Take a closure of this commit that was read by an earlier process."""
        self._tree(snapshot)
        self._read[snapshot.revision][place_of(request)] = closure
        self._index.ask(request)
        self._index.put(request, closure)

    async def expect_builds(self) -> None:
        """Say that something will most likely be built, so that a worker loads meanwhile."""
        await self._pool.start_ahead()

    async def close(self) -> None:
        """See fleet.ports.render.Renderer."""
        for task in list(self._running.values()):
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        await self._pool.close()
        if self._own_scratch:
            await asyncio.to_thread(shutil.rmtree, self._scratch, ignore_errors=True)

    def inputs(self, snapshot: Snapshot, request: RenderRequest) -> RenderInputs:
        """See fleet.ports.render.Renderer."""
        closure = self._closure(self._tree(snapshot), request, remember=False)
        facts = request.facts if request.substitute else canonical(facts_for(closure, request))
        failed = str(closure.error) if closure.error else ""
        return RenderInputs(closure.input_digest(), closure.input_digest(facts, failed.encode()))

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
            from fleet.render.closure import Reader, read_closure

            self._reader = self._reader or Reader()
            charts = self._helm is not None
            closure = read_closure(tree, self._reader, request.path, request.components, charts=charts)
        if closure.error is None or closure.error.retry is not Retry.SOON:
            read[place] = closure
        if remember:
            self._index.ask(request)
            if closure is not known:
                self._index.put(request, closure)
        return closure

    async def _finished(self, tree: CommitTree, build: _Build, key: Digest, request: RenderRequest) -> Bundle:
        """Substitution: one build for all clusters, then one cheap step per distinct set of the values in use."""
        template = await self._block_at(key, lambda: self._build(tree, build), self._template_is_whole)
        parsed = parse_document(template)
        variables = mapping_at(parse(request.facts), "variables")
        names = {str(name) for name in items_at(parsed, "names")}
        used: Document = {name: value for name, value in variables.items() if name in names}
        finish_key = digest_of_bytes(b"finish " + key.encode() + canonical(used))
        seals = tuple(str(seal) for seal in items_at(parsed, "seals"))
        return await self._bundle_at(
            finish_key, lambda: self._finish(template, used if names <= used.keys() else variables, seals, request.path)
        )

    async def _bundle_at(self, key: Digest, make: Callable[[], Awaitable[bytes]]) -> Bundle:
        """The bundle of an input: its digest is kept under the input's, the bundle itself under its own."""
        pointer = await self._cache.get(key)
        if pointer is not None and len(pointer) == 64:
            bundle = await self._kept(Digest(pointer.decode()))
            if bundle is not None:
                self.stats.hits += 1
                return bundle

        async def keep() -> bytes:
            block = await make()
            bundle = self._remember(bundle_of(block))
            await self._cache.put(bundle.digest, block)
            await self._cache.put(key, bundle.digest.encode())
            return bundle.digest.encode()

        return await self.bundle(Digest((await self._once(key, keep)).decode()))

    async def _block_at(
        self, key: Digest, make: Callable[[], Awaitable[bytes]], whole: Callable[[bytes], Awaitable[bool]]
    ) -> bytes:
        kept = await self._cache.get(key)
        if kept is not None and await whole(kept):
            self.stats.hits += 1
            return kept

        async def keep() -> bytes:
            block = await make()
            await self._cache.put(key, block)
            return block

        return await self._once(key, keep)

    async def _template_is_whole(self, block: bytes) -> bool:
        return await self._has_secrets([str(seal) for seal in items_at(parse_document(block), "seals")])

    async def _kept(self, digest: Digest) -> Bundle | None:
        known = self._bundles.get(digest)
        if known is not None:
            self._bundles.move_to_end(digest)
            return known
        block = await self._cache.get(digest)
        if block is None:
            return None
        try:
            bundle = bundle_of(block)
        except (ValueError, KeyError):
            return None
        if bundle.digest != digest:
            return None
        if self._needs_values and not await self._has_secrets(_seals(bundle)):
            return None
        return self._remember(bundle)

    async def _has_secrets(self, seals: Iterable[str]) -> bool:
        """Whether the vault still holds the values: a bundle that cannot be applied is built again instead."""
        wanted = set(seals)
        return not wanted or wanted <= (await self._vault.get(wanted)).keys()

    def _remember(self, bundle: Bundle) -> Bundle:
        if bundle.digest not in self._bundles:
            self._bundle_bytes += _size_of(bundle)
        self._bundles[bundle.digest] = bundle
        self._bundles.move_to_end(bundle.digest)
        while self._bundle_bytes > _BUNDLE_BYTES and len(self._bundles) > 1:
            _, dropped = self._bundles.popitem(last=False)
            self._bundle_bytes -= _size_of(dropped)
        return bundle

    async def _once(self, key: Digest, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """Single flight, and a failure is kept until its input changes."""
        self._raise_known(key)
        task = self._running.get(key)
        if task is None:
            task = asyncio.create_task(self._guarded(key, make), name=f"render {key[:12]}")
            self._running[key] = task
            task.add_done_callback(lambda done: self._ended(key, done))
        # One caller's cancellation must not take the result from the others.
        return await asyncio.shield(task)

    def _ended(self, key: Digest, task: asyncio.Task[bytes]) -> None:
        self._running.pop(key, None)
        if not task.cancelled():
            task.exception()  # told to those who wait; nobody may be left

    async def _guarded(self, key: Digest, make: Callable[[], Awaitable[bytes]]) -> bytes:
        try:
            return await make()
        except FleetError as error:
            self.stats.failures += 1
            if error.retry is Retry.SOON and not isinstance(error, RenderTimeout):
                raise
            self._errors[key] = (copy_of(error), asyncio.get_running_loop().time())
            if len(self._errors) > _ERRORS:
                self._errors.popitem(last=False)
            raise

    def _raise_known(self, key: Digest) -> None:
        known = self._errors.get(key)
        if known is None:
            return
        error, at = known
        age = asyncio.get_running_loop().time() - at
        if isinstance(error, RenderTimeout) and age > _TIMEOUT_MEMO_SECONDS:
            del self._errors[key]
            return
        raise copy_of(error)

    async def _build(self, tree: CommitTree, build: _Build) -> bytes:
        answer = await self._pool.run(lambda: self._input_of(tree, build), self._limits.seconds)
        self.stats.kustomize_cpu_seconds += answer.cpu_seconds
        self.stats.slim_builds += answer.slim
        self.stats.slim_differences += answer.differs
        return await self._keep_secrets(answer)

    async def _input_of(self, tree: CommitTree, build: _Build) -> Sequence[bytes]:
        closure = build.closure
        paths = tuple(sorted(closure.files))
        contents = await _read_all(tree.snapshot, paths, self._limits)
        links = await _read_all(tree.snapshot, tuple(sorted(closure.links)), self._limits)
        job = BuildJob(
            argv=tuple(self._tool.argv("{directory}", helm=self._helm if closure.uses_charts else None)),
            root=closure.root,
            components=closure.components,
            files=paths,
            links=tuple((path, target.decode()) for path, target in links.items()),
            facts=build.facts,
            order=closure.order,
            slim=self._may_use_slim(closure),
            sample=random.random() < self._sample_share,
            template=build.template,
            renderer=self._tool.name,
            patch_files=tuple(closure.patch_files),
            inline_merge_patch=closure.inline_merge_patch,
            crds=tuple(closure.crds),
            secret_files=tuple(closure.secret_files),
            secret_texts=tuple(closure.secret_texts),
            charts=closure.charts,
            uses_charts=closure.uses_charts,
            compat=build.compat,
            limits=self._limits,
        )
        self.stats.builds += 1
        return [build_header(job), *contents.values()]

    def _may_use_slim(self, closure: Closure) -> bool:
        """Not where the overlay chooses a schema or an order itself, nor with a kustomize that was never compared."""
        chooses = closure.openapi or closure.order or closure.root_is_component or closure.uses_charts
        return self._tool.kustomize in SLIM_TESTED and not chooses and not self.stats.slim_differences

    async def _finish(self, template: bytes, variables: Mapping[str, Json], seals: tuple[str, ...], path: str) -> bytes:
        async def read() -> Sequence[bytes]:
            clear: Mapping[str, bytes] = await self._vault.get(seals) if seals else {}
            job = FinishJob(variables, tuple(clear), self._tool.name, path)
            self.stats.finishes += 1
            return [finish_header(job), template, *clear.values()]

        return await self._keep_secrets(await self._pool.run(read, self._limits.seconds))

    async def _keep_secrets(self, answer: Answer) -> bytes:
        """Values reach the vault before anything that refers to them is kept."""
        if answer.secrets:
            await self._vault.put(answer.secrets)
        return answer.block


@dataclass(frozen=True, slots=True)
class _Build:
    closure: Closure
    facts: Json  # what `fleet-cluster` holds in this build; None: it is not used
    template: bool
    compat: tuple[str, ...] = ()


def _size_of(bundle: Bundle) -> int:
    return sum(len(made.body) + 300 for made in bundle.objects)


def _seals(bundle: Bundle) -> list[str]:
    return [seal for made in bundle.objects if made.ref.kind == "Secret" for seal in seals_of(made.document())]


async def _read_all(snapshot: Snapshot, paths: tuple[str, ...], limits: RunLimits) -> dict[str, bytes]:
    """In small portions, so that the event loop gets its turn between them."""
    found: dict[str, bytes] = {}
    size = 0
    for start in range(0, len(paths), _READ_AT_ONCE):
        portion = paths[start : start + _READ_AT_ONCE]
        contents = snapshot.read_many(portion)
        for path in portion:
            found[path] = contents[path]
            size += len(contents[path])
        if size > limits.input_bytes or len(paths) > limits.files:
            raise RenderTooLarge(
                f"the input of a build is too large: {len(paths)} files, {size} bytes so far",
                why=f"the limits are {limits.files} files and {limits.input_bytes} bytes",
                next_step="split the overlay",
            )
        await asyncio.sleep(0)
    return found


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
) -> Renderer:
    """A Renderer with the tool of this machine; raises RendererMissing.

    key: the installation key, for seals. scratch: a directory of this process alone for the files of builds; better
    left out, so that they lie in memory where the system allows it. remember_tool: ask a binary that did not change
    since (its inode, size and times) for its version once, and keep the answer in the cache.
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
    )
