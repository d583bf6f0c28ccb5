"""Rendering: from a commit's files to bundles."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from fleet.core.fleet import Unit
from fleet.core.ids import Digest
from fleet.core.objects import Bundle
from fleet.core.planning.inputs import RenderInputs
from fleet.core.results import facts_of
from fleet.ports.source import Snapshot
from fleet.values import dataclass


@dataclass(frozen=True, slots=True)
class RenderRequest:
    """One thing to build; hashable, equal for all units that share a result.

    `facts` is canonical JSON: {"name", "environment", "location", "labels": {}, "variables": {}}: the cluster's own
    values, for the ConfigMap `fleet-cluster` and for substitution. `compat`: tools whose annotations are understood.
    """

    path: str
    components: tuple[str, ...] = ()
    facts: bytes = b"{}"
    substitute: bool = False
    allow_empty: bool = False
    compat: tuple[str, ...] = ()


def request_of(unit: Unit) -> RenderRequest:
    """What must be built for a unit."""
    return RenderRequest(
        path=unit.path,
        components=unit.components,
        facts=facts_of(unit),
        substitute=unit.overlay.substitute,
        allow_empty=unit.overlay.allow_empty,
        compat=tuple(sorted(unit.overlay.compat)),
    )


class Renderer(Protocol):
    """Builds each input once. Errors are RenderError or PathMissing, with file and line where they are known."""

    async def render(
        self, snapshot: Snapshot, request: RenderRequest, *, remember: bool = True, only_kept: bool = False
    ) -> Bundle:
        """From the cache, or by one build per input digest (concurrent callers share it).

        remember: False for a commit that is only looked at, so that `affected` goes on to speak of the one in force.
        only_kept: build nothing; RenderInterrupted where that would be needed.
        """
        ...

    def inputs(self, snapshot: Snapshot, request: RenderRequest) -> RenderInputs:
        """What a build of this request is made from, on any machine; never raises for what the repo says.

        `affected` knows nothing of it.
        """
        ...

    def affected(self, changed: frozenset[str]) -> frozenset[RenderRequest]:
        """The requests remembered (also where their build failed) whose closure holds, or probed, one of these paths.

        Milliseconds for 10,000 requests: from the reverse index.
        """
        ...

    def forget(self, requests: Iterable[RenderRequest]) -> None:
        """These will not be asked for again; drop them from the reverse index."""
        ...

    async def bundle(self, digest: Digest) -> Bundle:
        """A bundle rendered before, also by an earlier process; raises StateDamaged when it cannot be had."""
        ...

    def spare(self, in_use: Callable[[], Collection[Digest]]) -> None:
        """Keep these bundles readable, whatever else is rendered. in_use: as of RenderCache.spare, by bundle."""
        ...

    async def sweep_values(self) -> int:
        """Remove values of Secrets that nothing that is spared has, nor had lately; returns how many."""
        ...

    async def close(self) -> None:
        """End the render workers."""
        ...


class RenderCache(Protocol):
    """Rendered results: bundles by their own digest, all else by its input's."""

    async def get(self, key: Digest) -> bytes | None:
        """Return what was put, or None. A damaged entry is None, never shorter bytes (R5)."""
        ...

    async def put(self, key: Digest, value: bytes) -> None:
        """Keep a value; raises StateNotWritable."""
        ...

    def spare(self, in_use: Callable[[], Collection[Digest]]) -> None:
        """Drop nothing of what this names, whatever the limit. It is asked on the event loop, once before each sweep.

        Where it raises, nothing is dropped.
        """
        ...


class Vault(Protocol):
    """Encrypted values by name (R32), each for as long as a result that has it is in use.

    A result is a bundle, by its digest, or a template, by that of its input.
    """

    async def put(self, result: Digest, values: Mapping[str, bytes]) -> None:
        """Keep the values that a result has; durable when this returns."""
        ...

    async def get(self, names: Collection[str]) -> Mapping[str, bytes]:
        """Return the values of those that are known."""
        ...

    async def use(self, result: Digest, names: Collection[str]) -> bool:
        """Whether all of these, which a result has, are there; if so none goes while it is in use, nor soon after."""
        ...

    async def unknown(self, results: Collection[Digest]) -> Collection[Digest]:
        """Those of these results of which neither `put` nor `use` said what they have."""
        ...

    async def sweep(self, in_use: Collection[Digest]) -> int:
        """Remove what only results have that are not in use, nor were an hour ago; returns how many values went."""
        ...
