"""The disk cache: what is damaged is a miss, never something shorter or another entry's."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from render.world import KEY

from fleet.core.documents import digest_of_bytes
from fleet.core.ids import Digest
from fleet.errors import StateNotWritable
from fleet.render.cache import DiskCache

ONE, TWO = digest_of_bytes(b"one"), digest_of_bytes(b"two")


def entry(root: Path, key: str) -> Path:
    return root / key[:2] / key


async def test_what_was_put_comes_back_also_in_another_process(tmp_path: Path) -> None:
    await DiskCache(tmp_path, KEY).put(ONE, b"value")
    assert await DiskCache(tmp_path, KEY).get(ONE) == b"value"
    assert await DiskCache(tmp_path, KEY).get(TWO) is None


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "grow", "moved"])
async def test_a_damaged_entry_is_a_miss(tmp_path: Path, damage: str) -> None:
    cache = DiskCache(tmp_path, KEY)
    await cache.put(ONE, b"a value of some length")
    await cache.put(TWO, b"the other value")
    path = entry(tmp_path, ONE)
    content = path.read_bytes()
    damaged = {
        "cut": content[:-1],
        "flip": content[:-1] + bytes([content[-1] ^ 1]),
        "empty": b"",
        "grow": content + b"x",
        "moved": entry(tmp_path, TWO).read_bytes(),
    }[damage]
    path.write_bytes(damaged)
    assert await cache.get(ONE) is None
    assert await cache.get(TWO) == b"the other value"


@pytest.mark.parametrize("key", ["", "b1", "../../../etc/passwd", "A" * 64, "a" * 65, f"{'a' * 62}/.", f"{'a' * 63}\0"])
async def test_what_is_no_digest_is_a_miss_as_any_that_nobody_put(tmp_path: Path, key: str) -> None:
    """A hub that lost its data reads digests off the clusters, and whoever may edit a ConfigMap there writes them."""
    cache = DiskCache(tmp_path, KEY)
    assert await cache.get(Digest(key)) is None
    with pytest.raises(ValueError, match="no digest"):
        await cache.put(Digest(key), b"value")


async def test_an_entry_under_another_key_is_a_miss(tmp_path: Path) -> None:
    await DiskCache(tmp_path, KEY).put(ONE, b"value")
    assert await DiskCache(tmp_path, b"another").get(ONE) is None


async def test_a_full_cache_drops_what_was_used_longest_ago(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, KEY, cap_bytes=10_000)
    keys = [digest_of_bytes(bytes([number])) for number in range(12)]
    for number, key in enumerate(keys):
        await cache.put(key, b"x" * 1000)
        if entry(tmp_path, key).exists():
            os.utime(entry(tmp_path, key), (number, number))
    left = [key for key in keys if entry(tmp_path, key).exists()]
    assert left == keys[-len(left) :]
    assert 1 <= len(left) < 12


def filled_bytes(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


async def fill(root: Path, cache: DiskCache, keys: Sequence[Digest]) -> None:
    """332 bytes each, the first of them used longest ago."""
    for number, key in enumerate(keys):
        await cache.put(key, b"x" * 300)
        os.utime(entry(root, key), (number, number))


@pytest.fixture
def keys() -> list[Digest]:
    return [digest_of_bytes(bytes([number])) for number in range(60)]


async def test_what_is_in_use_stays_however_long_ago_it_was_read(tmp_path: Path, keys: list[Digest]) -> None:
    cache, asked = DiskCache(tmp_path, KEY, cap_bytes=10_000), list[int]()

    def in_use() -> set[Digest]:
        asked.append(len(asked))
        return {keys[0], keys[3], digest_of_bytes(b"of another hub")}

    cache.spare(in_use)
    await fill(tmp_path, cache, keys)
    left = [key for key in keys if entry(tmp_path, key).exists()]
    assert left[:2] == [keys[0], keys[3]]
    assert left[2:] == keys[-len(left) + 2 :], "what nobody holds goes as ever"
    assert filled_bytes(tmp_path) <= 10_000
    assert 0 < len(asked) < len(keys) / 2, "asked once per sweep, not with each write"


async def test_where_what_is_in_use_is_more_than_the_limit_the_newest_stays_beside_it(
    tmp_path: Path, keys: list[Digest]
) -> None:
    cache, asked = DiskCache(tmp_path, KEY, cap_bytes=10_000), list[int]()

    def in_use() -> list[Digest]:
        asked.append(len(asked))
        return keys[:40]

    cache.spare(in_use)
    await fill(tmp_path, cache, keys)
    left = [key for key in keys if entry(tmp_path, key).exists()]
    assert left[:40] == keys[:40]
    assert keys[-1] in left, "what was just made is not in use yet"
    assert filled_bytes(tmp_path) <= 40 * 332 + 10_000 / 5
    assert len(asked) < len(keys) / 2


async def test_where_nobody_can_say_what_is_in_use_nothing_goes_and_nothing_fails(
    tmp_path: Path, keys: list[Digest]
) -> None:
    cache = DiskCache(tmp_path, KEY, cap_bytes=10_000)

    def in_use() -> list[Digest]:
        raise RuntimeError("dictionary changed size during iteration")

    cache.spare(in_use)
    await fill(tmp_path, cache, keys)
    assert all(entry(tmp_path, key).exists() for key in keys)


async def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateNotWritable):
        await DiskCache(tmp_path / "file" / "below", KEY).put(ONE, b"value")


async def test_no_half_written_file_counts(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, KEY)
    await cache.put(ONE, b"value")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [ONE]
