# ruff: noqa: E402
"""A worker in a process of its own: orders come in and reports go out as lines of JSON, as to a cluster agent."""

from __future__ import annotations

import asyncio
import base64
import sys
import time
from collections.abc import Collection, Mapping
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from pydantic import TypeAdapter
from rig import CLUSTER, LOOPBACK

from fleet.core.audit import AuditEntry, Head
from fleet.core.ids import Digest
from fleet.core.objects import Bundle
from fleet.core.rollout import Desired
from fleet.core.status import Report
from fleet.kube.connect import KubeConnector
from fleet.reconcile.limits import WorkerLimits
from fleet.reconcile.worker import Worker
from fleet.store.memory_journal import MemoryJournal

DESIRED, BUNDLE, REPORT = TypeAdapter(Desired), TypeAdapter(Bundle), TypeAdapter(Report)


class Link:
    """Feed, sink, audit, fence and credentials over standard input and output."""

    def __init__(self, kubeconfig: bytes) -> None:
        self.config = kubeconfig
        self.desired: Desired | None = None
        self.bundles: dict[Digest, Bundle] = {}
        self.news = asyncio.Event()

    async def listen(self) -> None:
        reader = asyncio.StreamReader(limit=2**24)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        async for line in reader:
            kind, _, raw = line.partition(b" ")
            if kind == b"bundle":
                bundle = BUNDLE.validate_json(raw)
                self.bundles[bundle.digest] = bundle
            else:
                self.desired = DESIRED.validate_json(raw)
                self.news.set()

    async def next(self, after: int) -> Desired:
        while self.desired is None or self.desired.sequence <= after:
            self.news.clear()
            await self.news.wait()
        return self.desired

    async def bundle(self, digest: Digest) -> Bundle:
        return self.bundles[digest]

    async def secrets(self, sealed: Collection[str]) -> Mapping[str, bytes]:
        return {}

    async def send(self, report: Report) -> None:
        sys.stdout.buffer.write(REPORT.dump_json(report) + b"\n")
        sys.stdout.buffer.flush()

    async def write(self, entry: AuditEntry) -> Head:
        return Head(1, "0" * 64)

    async def check(self) -> int:
        return 1

    async def kubeconfig(self, name: str) -> bytes:
        return self.config


async def main() -> None:
    link = Link(base64.b64decode(sys.argv[1]))
    worker = Worker(
        CLUSTER,
        feed=link,
        sink=link,
        journal=MemoryJournal(),
        audit=link,
        connector=KubeConnector(link, allowed=[LOOPBACK]),
        fence=link,
        limits=WorkerLimits(),
        wall=time.time,
    )
    listening = asyncio.create_task(link.listen())
    working = asyncio.create_task(worker.run())
    await asyncio.wait([listening, working], return_when=asyncio.FIRST_COMPLETED)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main())
