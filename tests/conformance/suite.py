"""The suite: named cases by topic, how one is run, where its answers are recorded.

A case is a claim on an API server that fleet depends on; its answer is whatever it returns, normalised. Recordings are
made from a real kube-apiserver (`python -m conformance.record`); every other target must give the same answers.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import traceback
import uuid
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import aiohttp
from conformance.client import Api, Target
from conformance.normalise import Normaliser

TOPICS = (
    *("discovery", "crud", "patch", "ssa", "delete", "listing", "watching"),
    *("errors", "crd", "defaults", "rbac", "lifecycle"),
)
RECORDED = Path(__file__).parent / "recorded"
OLDER = RECORDED / "older.json"
AT_ONCE = 16
_CASE_SECONDS = 60
Run = Callable[[Api], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Case:
    """One behaviour; `controllers` says that it needs garbage collection and the namespace controller."""

    topic: str
    name: str
    run: Run
    controllers: bool

    @property
    def id(self) -> str:
        return f"{self.topic}/{self.name}"


_CASES: dict[str, Case] = {}


def case(run: Run | None = None, *, controllers: bool = False) -> Any:
    """Register a function as a case under its own name; its module names the topic."""

    def register(function: Run) -> Run:
        found = Case(function.__module__.rsplit(".", 1)[-1], function.__name__, function, controllers)
        if found.id in _CASES:
            raise ValueError(f"two cases are called {found.id}")
        _CASES[found.id] = found
        return function

    return register(run) if run else register


def all_cases() -> list[Case]:
    """Every case, topic by topic in the order written."""
    for topic in TOPICS:
        importlib.import_module(f"conformance.cases.{topic}")
    return [found for topic in TOPICS for found in _CASES.values() if found.topic == topic]


@lru_cache
def recorded(topic: str) -> dict[str, Any]:
    """Recorded answers of a topic by the name of the case."""
    path = RECORDED / f"{topic}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def older_answers() -> dict[str, Any]:
    """What the oldest supported minor answers otherwise, by id of the case: all else it answers as the newest."""
    return json.loads(OLDER.read_text())


def recorded_version() -> str:
    """The version of kube-apiserver that was recorded."""
    return (RECORDED / "version").read_text().strip()


async def answers_of(target: Target, cases: Iterable[Case]) -> dict[str, Any]:
    """Run cases against a target, many at once, each in a namespace of its own; answers by id of the case.

    A case that raises answers with its traceback, which equals no recording.
    """
    gate = asyncio.Semaphore(AT_ONCE)
    connector = aiohttp.TCPConnector(ssl=target.trust if target.trust is not None else True, limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        chosen = list(cases)
        answers = await asyncio.gather(*(_answer(target, session, gate, case) for case in chosen))
    return dict(zip((case.id for case in chosen), answers, strict=True))


async def _answer(target: Target, session: aiohttp.ClientSession, gate: asyncio.Semaphore, case: Case) -> Any:
    async with gate:
        word = uuid.uuid4().hex[:8]
        api = Api(target, session, f"n-{word}", f"u{word}")
        try:
            async with asyncio.timeout(_CASE_SECONDS):
                made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": api.ns}}
                await api.post("/api/v1/namespaces", made)
                answer = await case.run(api)
        except Exception:  # a case may fail in any way: its traceback is its answer
            return {"raised": traceback.format_exc()}
        # Through JSON, so that tuples and lists compare equal.
        return Normaliser({api.ns: "<ns>", api.unique: "<unique>"}, api.generated).rewrite(
            json.loads(json.dumps(answer))
        )
