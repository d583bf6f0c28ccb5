"""What was rendered, kept under the digest of its input: made once at a time, and not again until the input changes.

Bundles used last lie in memory, all others in the cache. A failure is remembered as a result is.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable

from fleet.core.documents import items_at, parse_document
from fleet.core.ids import Digest
from fleet.core.objects import Bundle, seals_of
from fleet.errors import FleetError, RenderTimeout, Retry, StateDamaged, StateNotWritable
from fleet.ports.render import RenderCache, Vault
from fleet.render.jobs import Answer, bundle_of
from fleet.render.stats import RenderStats
from fleet.render.workers import copy_of
from fleet.values import dataclass

_ERRORS = 20_000
_BUNDLE_BYTES = 16 * 1024 * 1024  # bundles kept in memory, by their bodies
_INPUTS = 64  # of which it is known in memory what they make: units of one overlay ask one after the other
_TIMEOUT_SECONDS, _TIMEOUT_SECONDS_MOST = 300.0, 3600.0  # before what ran into its limit is built again


class Results:
    """Bundles by their own digest and by that of their input, and templates: builds that are still to be substituted.

    needs_values: a result counts as there only while the vault holds the values of its Secrets.
    """

    def __init__(self, cache: RenderCache, vault: Vault, stats: RenderStats, *, needs_values: bool) -> None:
        self._cache, self._vault, self._stats, self._needs_values = cache, vault, stats, needs_values
        self._bundles: OrderedDict[Digest, Bundle] = OrderedDict()
        self._bundle_bytes = 0
        self._made_of: OrderedDict[Digest, Digest] = OrderedDict()  # bundle by its input, looked up last
        self._errors: OrderedDict[Digest, _Failure] = OrderedDict()
        self._running: dict[Digest, asyncio.Task[bytes]] = {}
        self._spared: Callable[[], Collection[Digest]] = tuple

    async def bundle(self, digest: Digest) -> Bundle:
        """The bundle with this digest; raises StateDamaged where it is not there whole."""
        found = await self._kept(digest)
        if found is None:
            raise StateDamaged(
                f"the rendered result {digest[:12]} is not there",
                why="it was swept from the cache, or its entry does not verify",
                next_step="restart the hub: it renders again what Git says now",
            )
        return found

    def spare(self, in_use: Callable[[], Collection[Digest]]) -> None:
        """Keep these in the cache, whatever comes. Also what is in memory: it was used last, without a look there."""
        self._spared = in_use
        self._cache.spare(self._in_use)

    async def sweep_values(self) -> int:
        """See fleet.ports.render.Renderer."""
        in_use = self._in_use()
        for digest in await self._vault.unknown(in_use):  # of before values had uses, or without any
            bundle = self._bundles.get(digest) or await self._read(digest)
            if bundle is not None:
                await self._vault.use(digest, _seals(bundle))
        return await self._vault.sweep(in_use)

    def _in_use(self) -> Collection[Digest]:
        return {*self._spared(), *self._bundles}

    async def bundle_at(self, key: Digest, make: Callable[[], Awaitable[Answer]]) -> Bundle:
        """The bundle of an input: its digest is kept under the input's, the bundle itself under its own."""
        digest = self._made_of.get(key) or await self._pointed_at(key)
        if digest is not None and (bundle := await self._kept(digest)) is not None:
            self._stats.hits += 1
            return bundle

        async def keep() -> bytes:
            answer = await make()
            bundle = bundle_of(answer.block)
            await self._keep_values(bundle.digest, answer)
            self._remember(bundle)
            await self._cache.put(bundle.digest, answer.block)
            await self._cache.put(key, bundle.digest.encode())
            self._made_of.pop(key, None)
            return bundle.digest.encode()

        return await self.bundle(Digest((await self._once(key, keep)).decode()))

    async def _pointed_at(self, key: Digest) -> Digest | None:
        pointer = await self._cache.get(key)
        if pointer is None or len(pointer) != 64:
            return None
        self._made_of[key] = digest = Digest(pointer.decode())
        if len(self._made_of) > _INPUTS:
            self._made_of.popitem(last=False)
        return digest

    async def template_at(self, key: Digest, make: Callable[[], Awaitable[Answer]]) -> bytes:
        """The template of an input."""
        kept = await self._cache.get(key)
        if kept is not None and await self._template_is_whole(key, kept):
            self._stats.hits += 1
            return kept

        async def keep() -> bytes:
            answer = await make()
            await self._keep_values(key, answer)
            await self._cache.put(key, answer.block)
            return answer.block

        return await self._once(key, keep)

    async def close(self) -> None:
        """Break off what is being made."""
        for task in list(self._running.values()):
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _keep_values(self, result: Digest, answer: Answer) -> None:
        """They reach the vault before anything that refers to them is kept."""
        if answer.secrets:
            await self._vault.put(result, answer.secrets)

    async def _template_is_whole(self, key: Digest, block: bytes) -> bool:
        return await self._has_secrets(key, [str(seal) for seal in items_at(parse_document(block), "seals")])

    async def _kept(self, digest: Digest) -> Bundle | None:
        known = self._bundles.get(digest)
        if known is not None:
            self._bundles.move_to_end(digest)
            return known
        bundle = await self._read(digest)
        if bundle is None or (self._needs_values and not await self._has_secrets(digest, _seals(bundle))):
            return None
        return self._remember(bundle)

    async def _read(self, digest: Digest) -> Bundle | None:
        block = await self._cache.get(digest)
        if block is None:
            return None
        try:
            bundle = bundle_of(block)
        except (ValueError, KeyError):
            return None
        return bundle if bundle.digest == digest else None

    async def _has_secrets(self, result: Digest, seals: Iterable[str]) -> bool:
        """Whether the vault still holds the values: a bundle that cannot be applied is built again instead."""
        wanted = set(seals)
        if not wanted:
            return True
        if not wanted <= (await self._vault.get(wanted)).keys():
            return False
        try:
            return await self._vault.use(result, wanted)
        except StateNotWritable:  # then no sweep takes any either
            return True

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
        """Single flight, and a failure is kept until its input changes; one of time alone for ever longer."""
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
            made = await make()
        except FleetError as error:
            self._stats.failures += 1
            if error.retry is Retry.SOON and not isinstance(error, RenderTimeout):
                raise
            until, pause = float("inf"), 0.0
            if isinstance(error, RenderTimeout):
                known = self._errors.get(key)
                pause = min(2 * known.pause if known is not None else _TIMEOUT_SECONDS, _TIMEOUT_SECONDS_MOST)
                until = asyncio.get_running_loop().time() + pause
            self._errors[key] = _Failure(copy_of(error), until, pause)
            if len(self._errors) > _ERRORS:
                self._errors.popitem(last=False)
            raise
        self._errors.pop(key, None)
        return made

    def _raise_known(self, key: Digest) -> None:
        known = self._errors.get(key)
        if known is not None and asyncio.get_running_loop().time() <= known.until:
            raise copy_of(known.error)


@dataclass(frozen=True, slots=True)
class _Failure:
    """until: on the loop's clock; pause: the seconds up to there, 0.0 for what only another input mends."""

    error: FleetError
    until: float
    pause: float


def _size_of(bundle: Bundle) -> int:
    return sum(len(made.body) + 300 for made in bundle.objects)


def _seals(bundle: Bundle) -> list[str]:
    return [seal for made in bundle.objects if made.ref.kind == "Secret" for seal in seals_of(made.document())]
