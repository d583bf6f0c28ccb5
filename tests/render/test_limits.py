"""One build inside its limits: each breach ends the whole process group and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from render.world import SETTINGS, SMALL, commit, script_tool

from fleet.errors import (
    DocumentInvalid,
    PathEscapes,
    RenderFailed,
    RenderInterrupted,
    RenderTimeout,
    RenderTooLarge,
    ResourceMissing,
)
from fleet.ports.render import RenderRequest
from fleet.render.limits import HubGone, RunLimits, run_limited
from fleet.render.service import Renderer

MIB = 1024 * 1024


def run(script: str, tmp_path: Path, parent_fd: int | None = None, **limits: float):
    argv = ["/bin/sh", "-c", script]
    asked = RunLimits(**limits)  # type: ignore[arg-type]
    return run_limited(argv, cwd=tmp_path, env={"PATH": os.defpath}, limits=asked, parent_fd=parent_fd)


def children_of(marker: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if marker.encode() in line:
                found.append(int(entry.name))
    return found


def test_a_process_that_ends_is_reported_whole(tmp_path: Path) -> None:
    done = run("echo out; echo err >&2; exit 3", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")


def test_a_process_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    marker = f"{tmp_path}/marker"
    with pytest.raises(RenderTimeout):
        run(f": {marker}; sleep 600 & sleep 600", tmp_path, seconds=0.3)
    eventually(lambda: not children_of(marker))


def test_a_process_that_hangs_with_closed_output_is_ended_too(tmp_path: Path) -> None:
    with pytest.raises(RenderTimeout):
        run("exec >&- 2>&-; sleep 600", tmp_path, seconds=0.3)


def test_endless_output_is_cut_off(tmp_path: Path) -> None:
    with pytest.raises(RenderTooLarge, match="output"):
        run("yes", tmp_path, output_bytes=MIB)


def test_memory_is_watched(tmp_path: Path) -> None:
    script = "exec python3 -c 'import time; held = bytearray(200_000_000); time.sleep(60)'"
    with pytest.raises(RenderTooLarge, match="memory"):
        run(script, tmp_path, memory_bytes=64 * MIB)


@pytest.mark.parametrize(("size", "is_ended"), [(60_000_000, True), (1_000_000, False)])
def test_memory_of_children_is_watched_in_sum(tmp_path: Path, size: int, is_ended: bool) -> None:
    child = f"python3 -c 'import time; held = bytearray({size}); time.sleep({20 if is_ended else 0.3})'"
    script = f"{child} & {child} & {child} & wait"
    limit = 120 * MIB  # more than two have
    if is_ended:
        with pytest.raises(RenderTooLarge, match="memory"):
            run(script, tmp_path, memory_bytes=limit, seconds=15)
    else:
        assert run(script, tmp_path, memory_bytes=limit, seconds=15).returncode == 0


def test_processes_are_counted_and_all_of_them_are_ended(tmp_path: Path) -> None:
    marker = f"{tmp_path}/marker"
    many = f"i=0; while [ $i -lt 200 ]; do (: {marker}; sleep 600) & i=$((i+1)); done; wait"
    with pytest.raises(RenderTooLarge, match=r"more processes than it may.*the limit is 20;"):
        run(many, tmp_path, processes=20)
    eventually(lambda: not children_of(marker))
    few = run("for i in 1 2 3 4 5; do (sleep 0.2; echo $i) & done; wait", tmp_path, processes=20)
    assert sorted(few.stdout.split()) == [b"1", b"2", b"3", b"4", b"5"]


def test_what_the_system_ended_beyond_the_limit_is_too_large(tmp_path: Path) -> None:
    script = "exec python3 -c 'import os; held = bytearray({}); os.kill(os.getpid(), 9)' >&- 2>&-"
    # A child's peak begins with what its parent held: other tests may have held much in this process.
    limit = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + 64 * MIB
    with pytest.raises(RenderTooLarge, match="memory"):
        run(script.format(limit + 64 * MIB), tmp_path, memory_bytes=limit)
    assert run(script.format(MIB), tmp_path, memory_bytes=limit).returncode == -9


def test_a_child_left_behind_ends_with_the_build(tmp_path: Path) -> None:
    marker = f"{tmp_path}/marker"
    done = run(f"sh -c ': {marker}; sleep 600' >/dev/null 2>&1 & echo done", tmp_path)
    assert done.stdout == b"done\n"
    eventually(lambda: not children_of(marker))


def test_the_build_ends_when_the_hub_is_gone(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(writer)
    with pytest.raises(HubGone):
        run("sleep 600", tmp_path, parent_fd=reader)
    os.close(reader)


async def test_a_hanging_build_is_a_timeout_and_the_next_one_works(
    make_renderer: Callable[..., Renderer], tmp_path: Path
) -> None:
    hang = script_tool(tmp_path, f"/bin/grep -q small {SETTINGS} && exec /bin/sleep 600; /bin/cat {SETTINGS}")
    renderer = make_renderer(used=hang, limits=RunLimits(seconds=0.5))
    with pytest.raises(RenderTimeout):
        await renderer.render(commit(SMALL), RenderRequest("app"))
    assert list(renderer._scratch.iterdir()) == []
    other = {**SMALL, "app/settings.yaml": SMALL["app/settings.yaml"].replace("small", "large")}
    script_tool(tmp_path, f"/bin/cat {SETTINGS}")
    assert len((await renderer.render(commit(other), RenderRequest("app"))).objects) == 1


@pytest.mark.parametrize("sign", ["KILL", "TERM"])
async def test_a_build_that_was_ended_from_outside_is_tried_again(
    make_renderer: Callable[..., Renderer], tmp_path: Path, sign: str
) -> None:
    renderer = make_renderer(used=script_tool(tmp_path, f"kill -{sign} $$"))
    with pytest.raises(RenderInterrupted):
        await renderer.render(commit(SMALL), RenderRequest("app"))
    script_tool(tmp_path, f"/bin/cat {SETTINGS}")
    assert len((await renderer.render(commit(SMALL), RenderRequest("app"))).objects) == 1


async def test_a_build_beyond_its_limits_is_not_tried_again(
    make_renderer: Callable[..., Renderer], tmp_path: Path
) -> None:
    held = bytearray(300 * MIB)  # what a worker's parent holds says nothing of what the worker's child held
    held[::4096] = b"x" * len(held[::4096])
    bomb = f"exec {sys.executable} -I -c 'import os; held = bytearray(100_000_000); os.kill(os.getpid(), 9)' >&- 2>&-"
    renderer = make_renderer(used=script_tool(tmp_path, bomb), limits=RunLimits(memory_bytes=64 * MIB))
    for _ in range(3):
        with pytest.raises(RenderTooLarge, match="memory"):
            await renderer.render(commit(SMALL), RenderRequest("app"))
    assert renderer.stats.builds == 1


async def test_a_name_that_no_system_takes_is_not_tried_again(make_renderer: Callable[..., Renderer]) -> None:
    name = "x" * 300
    generator = f"configMapGenerator: [{{name: a, namespace: x, files: [k={name}]}}]\n"
    renderer = make_renderer()
    for _ in range(3):
        with pytest.raises(RenderFailed, match="name too long"):
            await renderer.render(
                commit({"app/kustomization.yaml": generator, f"app/{name}": "x"}), RenderRequest("app")
            )
    assert renderer.stats.builds == 1


@pytest.mark.parametrize("target", ["\udcff", "settings.yaml\0", ""])
@pytest.mark.parametrize("more", ["", "fieldOfTomorrow: x\n"])
async def test_a_link_to_a_name_that_no_system_takes_is_refused_or_left_out(
    make_renderer: Callable[..., Renderer], tmp_path: Path, target: str, more: str
) -> None:
    texts = {**SMALL, "app/kustomization.yaml": SMALL["app/kustomization.yaml"] + more}
    renderer = make_renderer(used=script_tool(tmp_path, f"/bin/cat {SETTINGS}"))
    beside = commit(texts, {"other/link": target})
    in_place = commit(texts, {"app/Kustomization": target})
    assert len((await renderer.render(beside, RenderRequest("app"))).objects) == 1
    for _ in range(3):
        with pytest.raises(PathEscapes, match="no name that can be followed"):
            await renderer.render(in_place, RenderRequest("app"))
    assert renderer.stats.builds == 1


async def test_a_scratch_directory_that_is_gone_stops_one_build(make_renderer: Callable[..., Renderer]) -> None:
    renderer = make_renderer()
    await renderer.render(commit(SMALL), RenderRequest("app"))
    renderer._scratch.rmdir()
    other = {**SMALL, "app/settings.yaml": SMALL["app/settings.yaml"].replace("small", "large")}
    with pytest.raises(RenderInterrupted):
        await renderer.render(commit(other), RenderRequest("app"))
    assert len((await renderer.render(commit(other), RenderRequest("app"))).objects) == 1


async def test_an_input_beyond_its_limits_is_refused(make_renderer: Callable[..., Renderer]) -> None:
    renderer = make_renderer(limits=RunLimits(input_bytes=10))
    with pytest.raises(RenderTooLarge):
        await renderer.render(commit(SMALL), RenderRequest("app"))


async def test_an_input_beyond_its_limits_is_not_read_to_its_end(make_renderer: Callable[..., Renderer]) -> None:
    parts = {f"app/part-{number}": "x" * 10 for number in range(500)}
    names = ", ".join(path.removeprefix("app/") for path in parts)
    generator = f"configMapGenerator: [{{name: big, namespace: x, files: [{names}]}}]\n"
    texts = {"app/kustomization.yaml": generator, **parts}
    large = commit(texts)
    with pytest.raises(RenderTooLarge):
        await make_renderer(limits=RunLimits(input_bytes=1000)).render(large, RenderRequest("app"))
    assert len(parts.keys() & set(large.reads)) < 20
    assert len((await make_renderer().render(large, RenderRequest("app"))).objects) == 1
    assert parts.keys() <= set(large.reads)


async def test_a_build_that_waits_for_its_turn_holds_no_input(make_renderer: Callable[..., Renderer]) -> None:
    directories = [f"app-{number}" for number in range(4)]
    texts: dict[str, str] = {}
    for directory in directories:
        texts |= moved(SMALL, directory)
    snapshot, renderer = commit(texts), make_renderer(workers=1)
    async with renderer._pool._turn:
        waiting = [asyncio.create_task(renderer.render(snapshot, RenderRequest(each))) for each in directories]
        for _ in range(100):
            await asyncio.sleep(0)
        assert not {f"{directory}/settings.yaml" for directory in directories} & set(snapshot.reads)
    assert [len(bundle.objects) for bundle in await asyncio.gather(*waiting)] == [1, 1, 1, 1]


def of_clusters(count: int) -> list[RenderRequest]:
    return [RenderRequest("app", facts=b'{"name":"eu-%d"}' % number) for number in range(count)]


async def test_a_kustomization_beyond_its_limit_is_refused_unparsed(make_renderer: Callable[..., Renderer]) -> None:
    padding = "# a remark\n" * (2 * MIB // 11)
    large = commit({**SMALL, "app/kustomization.yaml": padding + "resources: [\n", **moved(SMALL, "other")})
    renderer = make_renderer()
    for request in of_clusters(20):
        with pytest.raises(DocumentInvalid, match=f"the limit is {MIB}") as caught:
            await renderer.render(large, request)
        assert caught.value.where == "app/kustomization.yaml"
    assert large.reads.count("app/kustomization.yaml") == 1
    assert len((await renderer.render(large, RenderRequest("other"))).objects) == 1


async def test_a_kustomization_that_cannot_be_read_is_parsed_once(make_renderer: Callable[..., Renderer]) -> None:
    broken = {**SMALL, "app/kustomization.yaml": "resources: [\n"}
    renderer, before, after = make_renderer(), commit(broken), commit({**broken, "README.md": "words"})
    for snapshot in (before, after):
        for request in of_clusters(20):
            with pytest.raises(DocumentInvalid, match="not valid YAML") as caught:
                await renderer.render(snapshot, request)
            assert caught.value.where == "app/kustomization.yaml:2"
    assert [*before.reads, *after.reads].count("app/kustomization.yaml") == 1
    assert len((await renderer.render(commit(SMALL), of_clusters(1)[0])).objects) == 1


async def test_a_large_kustomization_within_its_limit_builds(make_renderer: Callable[..., Renderer]) -> None:
    text = "# a remark\n" * (200 * 1024 // 11) + SMALL["app/kustomization.yaml"]
    large = commit({**SMALL, "app/kustomization.yaml": text})
    assert len((await make_renderer().render(large, RenderRequest("app"))).objects) == 1


def moved(texts: dict[str, str], directory: str) -> dict[str, str]:
    return {path.replace("app/", f"{directory}/"): text for path, text in texts.items()}


async def test_an_object_that_no_cluster_takes_is_refused(make_renderer: Callable[..., Renderer]) -> None:
    texts = {
        "app/kustomization.yaml": "namespace: x\nconfigMapGenerator: [{name: big, files: [big.txt]}]\n",
        "app/big.txt": "x" * 1_600_000,
    }
    renderer = make_renderer()
    with pytest.raises(RenderTooLarge, match="big"):
        await renderer.render(commit(texts), RenderRequest("app"))
    texts["app/big.txt"] = "x" * 1_000_000
    assert len((await renderer.render(commit(texts), RenderRequest("app"))).objects) == 1


async def test_a_closed_renderer_leaves_no_process(make_renderer: Callable[..., Renderer]) -> None:
    renderer = make_renderer(workers=2)
    with pytest.raises(ResourceMissing):
        await renderer.render(commit({"app/kustomization.yaml": "resources: [x]"}), RenderRequest("app"))
    await renderer.render(commit(SMALL), RenderRequest("app"))
    processes = [worker.process for worker in renderer._pool._all]
    await renderer.close()
    assert processes
    assert all(process.returncode is not None for process in processes)


HUB = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from render.world import SMALL, MemoryVault, commit
from fleet.core.ids import Digest
from fleet.ports.render import RenderRequest
from fleet.render.cache import MemoryCache
from fleet.render.service import Renderer
from fleet.render.tools import Tool

async def main():
    tool = Tool(sys.argv[2], ("build",), "kustomize v5.9.9", "v5.9.9", Digest("1" * 64))
    renderer = Renderer(MemoryCache(), MemoryVault(), b"k", tool, scratch=Path(sys.argv[3]))
    await renderer.render(commit(SMALL), RenderRequest("app"))

asyncio.run(main())
"""


def test_a_killed_hub_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    scratch, tests = tmp_path / "scratch", Path(__file__).parents[1]
    tool = script_tool(tmp_path, f"echo started > {tmp_path}/scratch/started; exec /bin/sleep 600")
    hub = subprocess.Popen([sys.executable, "-c", HUB, str(tests), tool.path, str(scratch)])
    eventually(lambda: (scratch / "started").exists())
    hub.kill()
    hub.wait()
    eventually(lambda: not children_of(tool.path) and not children_of(f"{scratch}"))
    eventually(lambda: [path.name for path in scratch.iterdir()] == ["started"])


def eventually(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
