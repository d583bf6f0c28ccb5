"""The key of the store is exchanged beside a running hub by the commands of docs/operating.md."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from hubworld import make_world

from fleet.core.ids import Digest
from fleet.render.cache import DiskCache
from fleet.store.crypto import find_key, name_of_key

PAGE = (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## Exchange the key\n")[2].partition("\n## ")[0]
FIRST, SECOND = re.findall(r"```bash\n(.*?)```", SECTION, re.DOTALL)

FORGED = Digest("f" * 64)


def cache_of(world: Any) -> DiskCache:
    return world.opened.adapters.renderer._results._cache


async def test_the_key_is_exchanged_as_the_page_says(tmp_path: Path) -> None:
    async with make_world(tmp_path, ("eu-1",)) as world:
        async with world.run():
            state, data = world.opened.adapters.state, world.data_dir
            await state.put_credential("us-1", b"seeded-credential", 1.0)
            old = find_key(data, {})
            assert old is not None
            await DiskCache(data / "cache", old.key).put(FORGED, b"by who has the old key")
            assert await cache_of(world).get(FORGED) == b"by who has the old key"
            environment = {**os.environ, "FLEET_DATA_DIR": str(data), "HOME": str(tmp_path)}
            environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

            async def run(script: str) -> str:
                done = await asyncio.to_thread(
                    subprocess.run, ["bash", "-e", "-c", f"key=$FLEET_DATA_DIR/key\n{script}"], cwd=tmp_path,
                    env=environment, capture_output=True, text=True, timeout=120, check=True,
                )  # fmt: skip
                return done.stdout

            await run(FIRST)
            both = find_key(data, {})
            assert both is not None
            assert both.keys[1:] == old.keys
            assert name_of_key(old.key) in await run(SECOND)
            one = find_key(data, {})
            assert one is not None
            assert one.keys == both.keys[:1]
            turned = [link.entry.outcome for link in await state.audit_entries() if link.entry.action == "turn-key"]
            assert turned[:2] == ["", "done"]
            assert await state.credential("us-1") == b"seeded-credential"
        async with world.run():
            assert await world.opened.adapters.state.credential("us-1") == b"seeded-credential"
            assert await cache_of(world).get(FORGED) is None
