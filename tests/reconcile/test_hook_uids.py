"""A cluster that calls a hook's object by a UID that no API server makes: its worker goes on (R18, R22)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from rig import config_map, notes
from simulated import SHOP, SimHub

from fleet.ports.kube import Answer, Changed


class Renaming:
    """Says another UID of the object h, wherever it is read; a deletion names the one that it has."""

    def __init__(self, kube: Any, uid: str) -> None:
        self._kube, self._uid, self._real = kube, uid, ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kube, name)

    def _told(self, document: Any) -> Any:
        if document is None or document["metadata"]["name"] != "h":
            return document
        self._real = document["metadata"]["uid"]
        return {**document, "metadata": {**document["metadata"], "uid": self._uid}}

    async def get(self, *arguments: Any, **options: Any) -> Any:
        return self._told(await self._kube.get(*arguments, **options))

    async def apply(self, *arguments: Any, **options: Any) -> Answer:
        answer = await self._kube.apply(*arguments, **options)
        return replace(answer, object=self._told(answer.object))

    async def delete(self, *arguments: Any, uid: str, **options: Any) -> Any:
        real = self._real if uid == self._uid else uid
        return self._told(await self._kube.delete(*arguments, uid=real, **options))

    async def follow(self, *arguments: Any, **options: Any) -> AsyncIterator[Any]:
        async for seen in self._kube.follow(*arguments, **options):
            yield replace(seen, object=self._told(seen.object)) if isinstance(seen, Changed) else seen


@pytest.mark.parametrize("uid", ["a/b", "a b", "a b/c", "a%2Fb c/d", ""])
async def test_a_hook_with_a_uid_that_nobody_makes_goes_as_it_says_and_disturbs_nobody(first: SimHub, uid: str) -> None:
    first.between = lambda kube: Renaming(kube, uid) if uid else kube  # the last is the harmless twin
    hook = config_map("h", SHOP, {"a": "1"}, **notes(hook="PreSync", hook_delete="HookSucceeded"))
    unit, other = first.want("web", [hook, config_map("a", SHOP)]), first.want("api", [config_map("b", SHOP)])
    async with first.worker():
        await first.until_well(unit, other)
        await first.until(lambda: first.cluster.get("", "ConfigMap", SHOP, "h") is None, "deleted")
    async with first.worker():
        first.want("api", [config_map("b", SHOP, {"a": "2"})], commit="b")
        await first.until_well(unit, other)
