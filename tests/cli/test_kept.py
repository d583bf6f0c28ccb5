"""What commands on a checkout keep between runs: nothing is believed that was not sealed here, nothing is told."""

from __future__ import annotations

import os
import pickle
import stat
from base64 import b64encode
from pathlib import Path

import pytest
from cli.planrepo import BASE, Repo

from fleet.cli import kept
from fleet.cli.kept import Kept, open_kept
from fleet.cli.plan import compare_commits
from fleet.core.fleet import Fleet
from fleet.core.ids import Digest, Revision
from fleet.errors import RefMissing
from fleet.render.cache import DiskCache, MemoryCache


@pytest.fixture
def made(
    real_kustomize: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Repo:
    """A repo whose working tree has one changed manifest."""
    monkeypatch.setenv("FLEET_KUSTOMIZE", real_kustomize)
    repo = Repo(tmp_path, capsys)
    repo.edit(f"{BASE}/web.yaml", "web:1.7.4", "web:1.8.0")
    return repo


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("FLEET_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def entries(folders: Path) -> list[Path]:
    return [path for path in (folders / "cache/fleet/builds").rglob("*") if path.is_file()]


def test_folder_and_key_are_this_users_alone(folders: Path) -> None:
    assert isinstance(open_kept(os.environ).results, DiskCache)
    assert stat.S_IMODE((folders / "cache/fleet").stat().st_mode) == 0o700
    assert stat.S_IMODE((folders / "state/fleet/cache.key").stat().st_mode) == 0o600
    assert open_kept(os.environ).key == open_kept(os.environ).key


@pytest.mark.parametrize("harm", ["folder", "key", "short", "link", "off"])
def test_where_something_is_not_private_nothing_is_kept(
    folders: Path, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_kept(os.environ)
    key = folders / "state/fleet/cache.key"
    match harm:
        case "folder":
            (folders / "cache/fleet").chmod(0o755)
        case "key":
            key.chmod(0o644)
        case "short":
            key.write_bytes(b"x" * 31)
        case "link":
            key.rename(folders / "elsewhere")
            key.symlink_to(folders / "elsewhere")
        case _:
            monkeypatch.setenv("FLEET_CACHE", "off")
    assert isinstance(open_kept(os.environ).results, MemoryCache)


async def test_what_was_read_comes_back_whole_and_only_as_values(folders: Path, made: Repo) -> None:
    await compare_commits(made.root, "HEAD", "")
    read: list[object] = []
    original = Kept.read_of

    async def reading(self: Kept, *names: str) -> object:
        read.append(await original(self, *names))
        return read[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Kept, "read_of", reading)
        await compare_commits(made.root, "HEAD", "")
    assert isinstance(read[0], kept.Read)
    assert read[0].fleet.units


class _Calls:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch called",)


async def test_a_kept_value_never_calls_anything(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_kept(os.environ)
    await store.results.put(kept._key(("x",)), pickle.dumps(_Calls()))
    assert await store.read_of("x") is None
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize("harm", ["flip", "cut", "swap", "foreign"])
async def test_a_poisoned_entry_changes_no_plan(folders: Path, made: Repo, harm: str) -> None:
    good = await compare_commits(made.root, "HEAD", "")
    found = entries(folders)
    bodies = [path.read_bytes() for path in found]
    for path, body, other in zip(found, bodies, bodies[1:] + bodies[:1], strict=True):
        match harm:
            case "flip":
                path.write_bytes(body[:-1] + bytes([body[-1] ^ 1]))
            case "cut":
                path.write_bytes(body[: len(body) // 2])
            case "swap":
                path.write_bytes(other)
            case _:  # sealed by somebody with another key
                await DiskCache(folders / "cache/fleet/builds", b"another key").put(Digest(path.name), other[32:])
    assert await compare_commits(made.root, "HEAD", "") == good


async def test_another_version_of_the_program_reads_nothing(
    folders: Path, made: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, fleet = open_kept(os.environ), kept.Read(_fleet(), {}, "clusters/", frozenset())
    await store.keep_read(fleet, "a")
    assert await store.read_of("a") == fleet
    assert await store.read_of("b") is None
    monkeypatch.setattr(kept, "_READS", ("core",))
    assert await store.read_of("a") is None


async def test_no_value_of_a_secret_is_kept(folders: Path, made: Repo) -> None:
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {word: battery-staple}\n"
    made.write({f"{BASE}/secret.yaml": secret})
    made.edit(f"{BASE}/kustomization.yaml", "cache.yaml]", "cache.yaml, secret.yaml]")
    found = await compare_commits(made.root, "HEAD", "")
    assert any(change.ref.name == "s" for unit in found.units for change in unit.objects)
    kept_bytes = b"".join(path.read_bytes() for path in entries(folders))
    assert kept_bytes
    for form in (b"battery-staple", b64encode(b"battery-staple"), b"correct-horse", b64encode(b"correct-horse")):
        assert form not in kept_bytes


async def test_the_folder_stays_below_its_cap(folders: Path) -> None:
    cache = DiskCache(folders / "small", b"k", cap_bytes=20_000, count_every=8)
    for number in range(400):
        await cache.put(Digest(f"{number:064x}"), b"x" * 500)
    assert sum(path.stat().st_size for path in (folders / "small").rglob("*") if path.is_file()) <= 20_000


async def test_a_base_that_is_gone_is_no_base_though_it_was_kept(folders: Path, made: Repo) -> None:
    await compare_commits(made.root, "HEAD", "")
    with pytest.raises(RefMissing):
        await compare_commits(made.root, "0" * 40, "")


def _fleet() -> Fleet:
    return Fleet(Revision("a" * 40))
