"""Builds and substitutions: reads the input of a job from the commit and has a render worker do it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence

from fleet.core.documents import Json
from fleet.errors import RenderInterrupted, RenderTooLarge
from fleet.ports.render import Vault
from fleet.ports.source import Snapshot
from fleet.render.inputs import Closure
from fleet.render.jobs import Answer, BuildJob, FinishJob, build_header, finish_header
from fleet.render.limits import RunLimits
from fleet.render.stats import RenderStats
from fleet.render.tools import SLIM_TESTED, Helm, Tool
from fleet.render.workers import WorkerPool
from fleet.values import dataclass

_READ_AT_ONCE = 8  # of at most 16 MiB each: not much beyond the limit is ever held


@dataclass(frozen=True, slots=True)
class Build:
    """What is built: the files of a closure, with these facts."""

    closure: Closure
    facts: Json  # what `fleet-cluster` holds in this build; None: it is not used
    template: bool
    compat: tuple[str, ...] = ()


class Builder:
    """Answers hold values of Secrets in clear, which whoever keeps them puts into the vault first.

    sample_share: of the builds with the slim schema are made twice and compared.
    """

    def __init__(
        self,
        pool: WorkerPool,
        vault: Vault,
        tool: Tool,
        helm: Helm | None,
        limits: RunLimits,
        stats: RenderStats,
        sample_share: float,
    ) -> None:
        self._pool, self._vault, self._tool, self._helm = pool, vault, tool, helm
        self._limits, self._stats, self._sample_share = limits, stats, sample_share

    async def build(self, snapshot: Snapshot, build: Build) -> Answer:
        """One run of kustomize; with a template, what is to be substituted stays in it."""
        answer = await self._pool.run(lambda: self._input_of(snapshot, build), self._limits.seconds)
        self._stats.kustomize_cpu_seconds += answer.cpu_seconds
        self._stats.slim_builds += answer.slim
        self._stats.slim_differences += answer.differs
        return answer

    async def finish(self, template: bytes, variables: Mapping[str, Json], seals: tuple[str, ...], path: str) -> Answer:
        """Substitute variables in a template; seals: names of all its values of Secrets.

        Raises RenderInterrupted where one of them is gone: its name must never go out in its place.
        """

        async def read() -> Sequence[bytes]:
            clear: Mapping[str, bytes] = await self._vault.get(seals) if seals else {}
            if gone := len({*seals} - clear.keys()):
                raise RenderInterrupted(
                    f"{path} could not be filled in",
                    why=f"{gone} of its Secret values are not in the encrypted store any more",
                    next_step="it is built again with the next fetch",
                )
            job = FinishJob(variables, tuple(clear), self._tool.name, path)
            self._stats.finishes += 1
            return [finish_header(job), template, *clear.values()]

        return await self._pool.run(read, self._limits.seconds)

    async def _input_of(self, snapshot: Snapshot, build: Build) -> Sequence[bytes]:
        closure = build.closure
        paths = tuple(sorted(closure.files))
        contents = await _read_all(snapshot, paths, self._limits)
        links = await _read_all(snapshot, tuple(sorted(closure.links)), self._limits)
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
        self._stats.builds += 1
        return [build_header(job), *contents.values()]

    def _may_use_slim(self, closure: Closure) -> bool:
        """Not where the overlay chooses a schema or an order itself, nor with a kustomize that was never compared."""
        chooses = closure.openapi or closure.order or closure.root_is_component or closure.uses_charts
        return self._tool.kustomize in SLIM_TESTED and not chooses and not self._stats.slim_differences


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
