"""What a render worker gives up before its first build, for itself and all its children (R27).

Each measure is taken where the kernel allows it without privileges, and left out where not: the closure, the empty
environment and the limits hold without them. Linux only: a network namespace of its own, sight of its own directory,
the tool and Python alone (Landlock), and no call that reaches other machines or looks into processes (seccomp).
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

from fleet.render.measures import NO_SOCKETS, OWN_FILES, OWN_NETWORK
from fleet.render.seccomp import give_up_calls

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_NO_NEW_PRIVS = 38
# linux/landlock.h, the same numbers on all architectures
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PATH_BENEATH = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_ALL_OF_FIRST_VERSION = (1 << 13) - 1
_FILE_BYTES = 256 * 1024 * 1024
_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/dev/urandom", "/proc")


def confine(*, scratch: Path, readable: Iterable[str]) -> list[str]:
    """Give up what is not needed; returns the names of the measures in force."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower(resource.RLIMIT_FSIZE, _FILE_BYTES)
    _lower(resource.RLIMIT_NOFILE, 4096)
    if not sys.platform.startswith("linux"):
        return []
    taken: list[str] = []
    libc = ctypes.CDLL(None, use_errno=True)
    if _own_network(libc):
        taken.append(OWN_NETWORK)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return taken
    python = (sys.prefix, sys.base_prefix, str(Path(__file__).parents[2] / "fleet"), *_SYSTEM)
    if _landlock(libc, str(scratch), (*readable, *python)):
        taken.append(OWN_FILES)
    if give_up_calls(libc, os.uname().machine):
        taken.append(NO_SOCKETS)
    return taken


def _own_network(libc: ctypes.CDLL) -> bool:
    """A network that leads nowhere; an unprivileged process needs a user namespace for it, which may be forbidden."""
    return libc.unshare(_CLONE_NEWNET) == 0 or libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0


def _lower(what: int, limit: int) -> None:
    _, hard = resource.getrlimit(what)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(what, (limit, limit))


def _landlock(libc: ctypes.CDLL, scratch: str, readable: Iterable[str]) -> bool:
    rights = struct.pack("=Q", _ALL_OF_FIRST_VERSION)
    ruleset = libc.syscall(_CREATE_RULESET, rights, ctypes.c_size_t(len(rights)), 0)
    if ruleset < 0:
        return False
    try:
        _allow(libc, ruleset, scratch, _ALL_OF_FIRST_VERSION)
        _allow(libc, ruleset, os.devnull, _READ_FILE | _WRITE_FILE)
        for path in readable:
            _allow(libc, ruleset, path, _READ)
        return libc.syscall(_RESTRICT_SELF, ruleset, 0) == 0
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there needs no right
    try:
        if not Path(path).is_dir():
            rights &= _EXECUTE | _WRITE_FILE | _READ_FILE
        rule = struct.pack("=Qi", rights, opened)
        libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
    finally:
        os.close(opened)
