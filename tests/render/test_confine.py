"""What a build cannot do although a program in it tries: each attack runs inside a real worker, and outside of it."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from render.world import SETTINGS, SMALL, commit, script_tool

from fleet.errors import RenderFailed
from fleet.ports.render import RenderRequest
from fleet.render import seccomp, workers
from fleet.render.measures import NO_SOCKETS, OWN_FILES, OWN_NETWORK, lacking
from fleet.render.seccomp import TABLES, filter_of
from fleet.render.service import Renderer
from fleet.render.workers import WorkerPool

Make = Callable[..., Renderer]
_GIVING_UP_THE_NETWORK = (("unshare", "--net"), ("unshare", "--map-root-user", "--net"))
_THREADS = """
import subprocess, threading
said = []
each = threading.Thread(target=lambda: said.append(subprocess.run(["/bin/echo", "done"], capture_output=True).stdout))
each.start()
each.join()
raise SystemExit(said != [b"done\\n"])
"""
_CALLS = """
import ctypes, errno, sys
libc = ctypes.CDLL(None, use_errno=True)
for call in sys.argv[1:]:
    number, _, rest = call.partition(":")
    arguments = [int(word) for word in rest.split(",")]
    if libc.syscall(int(number), *arguments) >= 0 or ctypes.get_errno() != errno.EPERM:
        raise SystemExit(f"{call}: {ctypes.get_errno()}")
"""


def passes(script: str) -> bool:
    """Whether a shell script ends with 0 outside of a build."""
    return subprocess.run(["/bin/sh", "-c", script], check=False, stderr=subprocess.DEVNULL).returncode == 0


def python(program: str, *words: str) -> str:
    quoted = program.strip().replace('"', '\\"')
    return f'{sys.executable} -I -c "{quoted}" {" ".join(words)}'


async def fails_in_a_build(make: Make, tmp_path: Path, attack: str) -> bool:
    """Whether the attack ends with another code than 0 there; the build itself says so by what it builds."""
    look = f"if ( {attack} ) >/dev/null 2>&1; then echo 'it passed' >&2; exit 1; fi\n/bin/cat {SETTINGS}"
    try:
        bundle = await make(used=script_tool(tmp_path, look)).render(commit(SMALL), RenderRequest("app"))
    except RenderFailed:
        return False
    return len(bundle.objects) == 1


async def test_a_build_cannot_see_foreign_files(make_renderer: Make, tmp_path: Path) -> None:
    secret = tmp_path / "hub-secret"
    secret.write_text("hunter2")
    attack = f"/bin/cat {secret}"
    assert passes(attack)
    if ctypes.CDLL(None).syscall(444, None, 0, 1) < 1:  # landlock_create_ruleset, asked for its version
        pytest.skip("this kernel has no Landlock")
    assert await fails_in_a_build(make_renderer, tmp_path, attack)


async def test_a_build_has_no_network(make_renderer: Make, tmp_path: Path) -> None:
    attack = f'test "$(/bin/readlink /proc/self/ns/net)" = "{Path("/proc/self/ns/net").readlink()}"'
    assert passes(attack)
    if not any(subprocess.run([*line, "true"], check=False).returncode == 0 for line in _GIVING_UP_THE_NETWORK):
        pytest.skip("this kernel does not let a process have a network of its own")
    assert await fails_in_a_build(make_renderer, tmp_path, attack)


@pytest.mark.skipif(platform.machine() not in TABLES, reason="no numbers of system calls for this machine")
async def test_a_build_makes_no_socket_of_any_kind(make_renderer: Make, tmp_path: Path) -> None:
    beside = tmp_path / "s"  # a path, which no network namespace keeps apart
    with socket.socket(socket.AF_UNIX) as unix, socket.create_server(("127.0.0.1", 0)) as inet:
        unix.bind(str(beside))
        unix.listen()
        for family, address in (("AF_UNIX", f"'{beside}'"), ("AF_INET", f"{inet.getsockname()}")):
            attack = python(f"import socket; socket.socket(socket.{family}).connect({address})")
            assert passes(attack)
            made = python(f"import socket; socket.socket(socket.{family})")
            assert await fails_in_a_build(make_renderer, tmp_path, attack)
            assert await fails_in_a_build(make_renderer, tmp_path, made)


@pytest.mark.skipif(platform.machine() not in TABLES, reason="no numbers of system calls for this machine")
async def test_a_build_looks_into_no_process_and_makes_no_namespace(make_renderer: Make, tmp_path: Path) -> None:
    table = TABLES[platform.machine()]
    calls = [f"{table.refused[name]}:{arguments}" for name, arguments in (
        ("ptrace", "0,0,0,0"), ("process_vm_readv", f"{os.getpid()},0,0,0,0,0"), ("unshare", f"{0x10000000}"),
        ("keyctl", "0,-3,1"), ("mount", "0,0,0,0,0"), ("bpf", "0,0,0"),
    )]  # fmt: skip
    refused = python(_CALLS, *calls, f"{table.clone}:{0x10000000 | 17},0,0,0,0", "425:8,0")
    assert not passes(refused), "outside of a build one of them is allowed, or fails otherwise"
    tool = script_tool(tmp_path, f"{refused} || exit 1\n/bin/cat {SETTINGS}")
    assert len((await make_renderer(used=tool).render(commit(SMALL), RenderRequest("app"))).objects) == 1


async def test_a_build_starts_programs_and_threads(make_renderer: Make, tmp_path: Path) -> None:
    works = f"{python(_THREADS)} && /bin/echo a | /bin/grep -q a"
    assert passes(works)
    assert not await fails_in_a_build(make_renderer, tmp_path, works)


def verdict(lines: bytes, architecture: int, number: int, first: int) -> int:
    """What the kernel would make of a call: classic BPF as far as the filter uses it, written from bpf(2)."""
    data = {0: number, 4: architecture, 16: first & 0xFFFFFFFF}
    program: Sequence[tuple[int, int, int, int]] = list(struct.iter_unpack("=HBBI", lines))
    loaded = at = 0
    while True:
        code, if_true, if_false, value = program[at]
        at += 1
        if code == 0x06:
            return value
        if code == 0x20:
            loaded = data[value]
        else:
            holds = {0x15: loaded == value, 0x35: loaded >= value, 0x45: bool(loaded & value)}[code]
            at += if_true if holds else if_false


ALLOW, EPERM, ENOSYS = 0x7FFF0000, 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
NAMESPACES = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)
THREAD, FORK, VFORK = 0x3D0F00, 0x1200011, 0x4111  # flags of clone as libc gives them, and Go


@pytest.mark.parametrize("machine", sorted(TABLES))
class TestFilter:
    @given(number=st.integers(0, 500), first=st.integers(0, 2**64 - 1))
    def test_a_call_is_refused_if_it_is_on_the_list(self, machine: str, number: int, first: int) -> None:
        table = TABLES[machine]
        listed = {*table.refused.values(), 425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 442}
        said = verdict(filter_of(table), table.audit, number, first)
        if number == table.clone:
            assert said == (EPERM if any(first & flag for flag in NAMESPACES) else ALLOW)
        else:
            assert said == (ENOSYS if number == 435 else EPERM if number in listed else ALLOW)

    def test_threads_and_children_are_no_namespaces(self, machine: str) -> None:
        table = TABLES[machine]
        lines = filter_of(table)
        assert {verdict(lines, table.audit, table.clone, flags) for flags in (THREAD, FORK, VFORK)} == {ALLOW}
        made = [verdict(lines, table.audit, table.clone, FORK | flag) for flag in NAMESPACES]
        assert set(made) == {EPERM}

    @given(number=st.integers(0, 2**32 - 1))
    def test_no_other_table_of_numbers_is_a_way_around(self, machine: str, number: int) -> None:
        table = TABLES[machine]
        for other in (0x40000003, 0x40000028, 0):  # i386, arm, nonsense
            assert verdict(filter_of(table), other, number, 0) == ENOSYS
        assert verdict(filter_of(table), table.audit, 0x40000000 | number, 0) == EPERM


def test_a_32_bit_python_on_a_64_bit_kernel_takes_no_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "struct", SimpleNamespace(calcsize=lambda _: 4, pack=struct.pack))
    never = cast("ctypes.CDLL", SimpleNamespace())  # has no call to make
    assert not seccomp.give_up_calls(never, platform.machine())


@pytest.mark.parametrize(
    ("measures", "could"),
    [
        ((), "reach the network and read what the hub's user can read"),
        ((OWN_FILES,), "reach the network"),
        ((OWN_FILES, NO_SOCKETS), ""),
        ((OWN_FILES, OWN_NETWORK), ""),
        ((OWN_NETWORK, NO_SOCKETS), "read what the hub's user can read"),
    ],
)
def test_what_builds_could_do_is_said(measures: Sequence[str], could: str) -> None:
    assert lacking(measures) == could


async def test_a_pool_warns_once_where_builds_are_not_shut_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here: list[str] = []
    pool = WorkerPool(b"k" * 32, tmp_path / "a", (), 2, here.append)
    assert here == [could for could in [lacking(await pool.measured())] if could]
    await pool.close()

    bare = "from fleet.render import worker; worker.confine = lambda **_: []; worker.main()"
    monkeypatch.setattr(workers, "_PROGRAM", f"import sys; sys.path.insert(0, sys.argv[1]); {bare}")
    warned: list[str] = []
    pool = WorkerPool(b"k" * 32, tmp_path / "b", (), 2, warned.append)
    for _ in range(2):
        assert await pool.measured() == ()
        await pool._start()
    await pool.close()
    assert warned == ["reach the network and read what the hub's user can read"]
