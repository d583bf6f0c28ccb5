"""Which binary renders, and what is said when there is none."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from fleet.errors import RendererMissing
from fleet.render.scratch import make_scratch, sweep
from fleet.render.tools import find_tool


def program(directory: Path, name: str, says: str) -> Path:
    path = directory / name
    path.write_text(f"#!/bin/sh\ncat <<'EOF'\n{says}\nEOF\n")
    path.chmod(0o755)
    return path


def kubectl(version: str) -> str:
    return f'{{"clientVersion": {{"gitVersion": "{version}"}}, "kustomizeVersion": "v5.5.0"}}'


async def test_the_variable_beats_the_path(tmp_path: Path) -> None:
    named = program(tmp_path, "mine", "v5.1.0")
    program(tmp_path, "kustomize", "v5.8.1")
    path = f"{tmp_path}:/bin:/usr/bin"
    assert (await find_tool({"FLEET_KUSTOMIZE": str(named), "PATH": path})).name == "kustomize v5.1.0"
    assert (await find_tool({"PATH": path})).name == "kustomize v5.8.1"


async def test_an_old_kustomize_gives_way_to_kubectl(tmp_path: Path) -> None:
    program(tmp_path, "kustomize", "{Version:kustomize/v4.5.7 GitCommit:x}")
    program(tmp_path, "kubectl", kubectl("v1.32.4"))
    tool = await find_tool({"PATH": str(tmp_path)})
    assert tool.name == "kubectl v1.32.4 (kustomize v5.5.0)"
    assert tool.argv("x")[1:] == ["kustomize", "x", "--load-restrictor", "LoadRestrictionsNone"]


async def test_nothing_that_fits_is_an_error_with_what_was_tried(tmp_path: Path) -> None:
    program(tmp_path, "kustomize", "v4.9.9")
    program(tmp_path, "kubectl", kubectl("v1.26.0"))
    with pytest.raises(RendererMissing) as caught:
        await find_tool({"PATH": str(tmp_path)})
    assert "older than 5" in caught.value.why
    assert "older than 1.27" in caught.value.why
    assert "install" in caught.value.next_step


async def test_a_variable_that_names_nothing_is_an_error_and_no_fallback(tmp_path: Path) -> None:
    with pytest.raises(RendererMissing, match="FLEET_KUSTOMIZE"):
        await find_tool({"FLEET_KUSTOMIZE": str(tmp_path / "gone"), "PATH": "/bin"})


async def test_another_binary_has_another_digest(tmp_path: Path) -> None:
    one = await find_tool({"FLEET_KUSTOMIZE": str(program(tmp_path, "one", "v5.8.1"))})
    two = await find_tool({"FLEET_KUSTOMIZE": str(program(tmp_path, "two", "v5.8.1 "))})
    assert one.digest != two.digest


async def test_the_real_kustomize_is_found(kustomize: str) -> None:
    tool = await find_tool({"FLEET_KUSTOMIZE": kustomize})
    assert tool.kustomize.startswith("v5.")


async def test_the_real_kubectl_is_found() -> None:
    found = shutil.which("kubectl")
    if found is None:
        pytest.skip("no kubectl on this machine")
    assert (await find_tool({"FLEET_KUSTOMIZE": found})).name.startswith("kubectl v1.")


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    left = tmp_path / "render"
    (left / "build-x" / "repo").mkdir(parents=True)
    sweep(left)
    assert list(left.iterdir()) == []


def test_what_a_running_process_uses_is_not_swept() -> None:
    mine = make_scratch(None)
    dead = mine.with_name(mine.name.replace(f"-{os.getpid()}-", "-999999999-"))
    dead.mkdir()
    sweep(None)
    assert mine.exists()
    assert not dead.exists()
    mine.rmdir()


def test_a_scratch_directory_is_private(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    assert make_scratch(tmp_path / "open").stat().st_mode & 0o777 == 0o700
    (tmp_path / "link").symlink_to(tmp_path / "open")
    with pytest.raises((PermissionError, FileExistsError)):
        make_scratch(tmp_path / "link")
