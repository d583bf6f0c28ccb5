"""The least that the same work can cost in Python: bodies ready made, one connection pool, no decisions.

`python -m bench.rawloop`, told by JSON on standard input, is the raw watcher: it re-applies what others change.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections.abc import Sequence

import aiohttp

PATCH = {"Content-Type": "application/apply-patch+yaml", "User-Agent": "rawloop"}
QUERY = "?fieldManager=rawloop&force=true"


async def apply_all(url: str, trust: ssl.SSLContext, token: str, work: Sequence[tuple[str, bytes]], wide: int) -> None:
    """Apply (path, body) pairs in order, `wide` at a time; raises on the first refusal."""
    rest = iter(work)
    headers = {**PATCH, "Authorization": f"Bearer {token}"}
    connector = aiohttp.TCPConnector(ssl=trust, limit=wide)
    async with aiohttp.ClientSession(url, connector=connector, headers=headers) as session:

        async def run() -> None:
            for path, body in rest:
                async with session.patch(path + QUERY, data=body) as answer:
                    text = await answer.read()
                    if answer.status >= 300:
                        raise RuntimeError(f"{answer.status} {path}: {text[:300]!r}")

        await asyncio.gather(*(run() for _ in range(wide)))


async def watch(url: str, trust: ssl.SSLContext, token: str, bodies: dict[str, tuple[str, str]]) -> None:
    """Watch all kinds of the bodies (UID to path and body); what others modify or delete is applied again."""
    headers = {**PATCH, "Authorization": f"Bearer {token}"}
    connector = aiohttp.TCPConnector(ssl=trust, limit=0)
    async with aiohttp.ClientSession(url, connector=connector, headers=headers) as session:
        ours: dict[str, str] = {}

        async def follow(listed: str) -> None:
            async with session.get(f"{listed}?watch=true", timeout=aiohttp.ClientTimeout(None)) as stream:
                async for line in stream.content:
                    event = json.loads(line)
                    metadata = event["object"]["metadata"]
                    uid, version = metadata["uid"], metadata["resourceVersion"]
                    if uid not in bodies or event["type"] == "ADDED" or ours.get(uid) == version:
                        continue
                    path, body = bodies[uid]
                    async with session.patch(path + QUERY, data=body) as answer:
                        ours[uid] = json.loads(await answer.read())["metadata"]["resourceVersion"]

        await asyncio.gather(*(follow(listed) for listed in sorted({p.rpartition("/")[0] for p, _ in bodies.values()})))


if __name__ == "__main__":
    given = json.load(sys.stdin)
    context = ssl.create_default_context(cafile=given["ca"])
    asyncio.run(watch(given["url"], context, given["token"], given["bodies"]))
