"""Asks a hub again and again how its units stand, and compares with what the clusters have held.

A unit that is shown Synced at a commit says that its cluster holds what that commit and those before it brought. If
the cluster never held it, that is false calm, however short (R6); what went again since is for calm.py, which has time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import aiohttp
from safety.arrivals import Arrivals
from safety.rig import Rig

LOOK_SECONDS = 0.5


class Looks:
    """What each commit promised, by overlay; `wrong` in words, each unit and object once."""

    def __init__(self, rig: Rig, arrivals: Mapping[str, Arrivals]) -> None:
        self._rig, self._arrivals = rig, arrivals
        self._promised: list[tuple[int, str, str, int | None]] = []
        self._wrong: dict[tuple[str, str], str] = {}
        self.looked = 0  # units that were shown Synced at a known commit

    def promise(self, commit: str, overlay: str, name: str, number: int | None) -> None:
        """A ConfigMap of an overlay holds this number, or a higher one, from this commit on; None: it is gone."""
        if number is None:  # a cluster may never have held what the commits before that said
            self._promised = [one for one in self._promised if one[1:3] != (overlay, name)]
        self._promised.append((self._rig.script.commits.index(commit), overlay, name, number))

    @property
    def wrong(self) -> list[str]:
        return list(self._wrong.values())

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            with suppress(aiohttp.ClientError, OSError, TimeoutError):
                status, answer = await self._rig.call("GET", "/api/v1/units?limit=500")
                if status == 200:
                    for one in answer["items"]:
                        self.see(one["metadata"]["name"], one["status"]["sync"], one["status"]["commit"])
            await asyncio.sleep(LOOK_SECONDS)

    def see(self, unit: str, sync: str, commit: str) -> None:
        """Judge one line of an answer."""
        commits = self._rig.script.commits
        overlay, _, cluster = unit.partition("@")
        if sync != "Synced" or commit not in commits:
            return
        self.looked += 1
        place = commits.index(commit)
        for at, of, name, number in self._promised:
            if of == overlay and at <= place and not self._arrivals[cluster].has_held(name, number):
                wanted = "gone" if number is None else f"{number}"
                text = f"false calm: {unit} was shown Synced at {commit[:7]}, and {name} was never {wanted} there"
                self._wrong.setdefault((unit, name), text)
