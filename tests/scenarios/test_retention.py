"""What grows keeps to the limits that the settings give."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from testbed.gitrepo import GitRepo

from fleet.core.ids import ClusterName, Digest, Revision, UnitName
from fleet.core.status import Event, EventKind
from fleet.hub.assembly import open_hub
from fleet.ports.state import ReleasedBundle
from fleet.settings import Settings
from fleet.wiring import mirror_of, open_adapters

DAY = 86_400.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    repo = GitRepo.create(tmp_path / "fleet.git")
    repo.commit({"fleet.yaml": "apiVersion: fleet.internal/v1\nkind: Fleet\nmetadata: {name: acme}\n"})
    return Settings(
        repo=str(repo.path), data_dir=tmp_path / "data", events_kept=1_000, cache_limit_mib=64, mirror_keep_days=30
    )


async def test_the_oldest_events_go_first(settings: Settings) -> None:
    adapters = await open_adapters(settings)
    events = [
        Event(at=float(n), kind=EventKind.NOTE, cluster=ClusterName("eu-1"), unit=None, message=str(n))
        for n in range(1_300)
    ]
    await adapters.state.add_events(events)
    await adapters.state.flush()
    kept = await adapters.state.events(limit=2_000)
    assert [row.event.message for row in kept] == [str(n) for n in range(300, 1_300)]
    await adapters.close()


async def test_rendered_results_stay_below_their_limit(settings: Settings) -> None:
    adapters = await open_adapters(settings)
    cache = adapters.renderer._results._cache  # type: ignore[attr-defined]
    names = [Digest(f"{n:064x}") for n in range(20)]
    for name in names:
        await cache.put(name, os.urandom(4 << 20))
    size = sum(path.stat().st_size for path in (settings.data_dir / "cache").rglob("*") if path.is_file())
    assert size <= 64 << 20
    assert await cache.get(names[-1]) is not None
    await adapters.close()


async def test_what_a_unit_holds_stays_whatever_a_hub_renders(settings: Settings) -> None:
    held, *others = [Digest(f"{n:064x}") for n in range(20)]
    adapters = await open_adapters(settings)
    await adapters.state.put_released([ReleasedBundle(UnitName.parse("web@eu-1"), Revision("c" * 40), held)])
    await adapters.close()
    opened = await open_hub(settings)
    cache = opened.adapters.renderer._results._cache  # type: ignore[attr-defined]
    await cache.put(held, b"held")
    for name in others:
        await cache.put(name, os.urandom(4 << 20))
    assert await cache.get(held) == b"held"
    assert await cache.get(others[0]) is None
    await opened.adapters.close()


async def test_a_mirror_of_an_earlier_url_goes_when_nobody_used_it_for_long(settings: Settings) -> None:
    home = settings.data_dir / "mirror"
    for name, days in (("old", 31), ("lately", 29)):
        folder = home / f"{name}.git"
        folder.mkdir(parents=True)
        (folder / "HEAD").write_text("ref: refs/heads/main\n")
        os.utime(folder, (time.time() - days * DAY,) * 2)
    for _ in range(2):
        mirror = mirror_of(settings)
        used = (await mirror.fetch()).snapshot.revision
        await mirror.close()
        mine = next(path for path in home.glob("*.git") if path.name not in ("old.git", "lately.git"))
        os.utime(mine, (time.time() - 90 * DAY,) * 2)  # the one in use stays, however old
    assert used
    assert {path.name for path in home.glob("*.git")} == {mine.name, "lately.git"}
