"""Which system calls a render worker gives up, for itself and all its children (R27): a seccomp filter.

A build reads files, starts a program and writes to a pipe. What reaches other machines, the memory of other processes
or the kernel's own parts answers EPERM; no privilege is needed for that, and no namespace that a container may not
make. Where a call can be made in several ways all of them are named: io_uring would open sockets, and calls of a
32-bit program have other numbers, so that it finds none (ENOSYS). Signals stay: a build's own end is one.

Source: seccomp(2), bpf(2) (classic), the kernel's syscall tables.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Mapping

from fleet.values import dataclass

_PR_SET_SECCOMP, _FILTER = 22, 2
_ERRNO, _ALLOW = 0x00050000, 0x7FFF0000
# struct seccomp_data: the call's number, the architecture, and the low half of its first argument
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_X32 = 0x40000000  # numbers from here on are those of x86-64's third table
_NEW_NAMESPACES = 0x00020000 | 0x7E000000  # CLONE_NEWNS; NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_CLONE3 = 435  # its flags are in memory, where no filter looks; libc and Go take clone instead where it is missing

# From number 424 on all architectures have the same ones.
_SAME_EVERYWHERE = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "pidfd_getfd": 438, "mount_setattr": 442,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Table:
    """Numbers of one architecture. audit: its AUDIT_ARCH constant; clone: a call whose flags are judged."""

    audit: int
    clone: int
    refused: Mapping[str, int]


TABLES: Mapping[str, Table] = {
    "x86_64": Table(0xC000003E, 56, {
        "socket": 41, "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312,
        "unshare": 272, "setns": 308, "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161,
        "open_by_handle_at": 304, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323,
        "add_key": 248, "request_key": 249, "keyctl": 250, "reboot": 169,
        "init_module": 175, "finit_module": 313, "delete_module": 176, "kexec_load": 246, "kexec_file_load": 320,
    }),
    "aarch64": Table(0xC00000B7, 220, {
        "socket": 198, "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272,
        "unshare": 97, "setns": 268, "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51,
        "open_by_handle_at": 265, "bpf": 280, "perf_event_open": 241, "userfaultfd": 282,
        "add_key": 217, "request_key": 218, "keyctl": 219, "reboot": 142,
        "init_module": 105, "finit_module": 273, "delete_module": 106, "kexec_load": 104, "kexec_file_load": 294,
    }),
}  # fmt: skip


def filter_of(table: Table) -> bytes:
    """The filter as struct sock_filter[]: code u16, jump if true u8, jump if false u8, value u32."""
    refused = (*table.refused.values(), *_SAME_EVERYWHERE.values())
    deny = len(refused) + 4  # lines between the test of the first refused number and the answer EPERM
    lines = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_IF_EQUAL, 1, 0, table.audit),
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
        (_LOAD, 0, 0, _NUMBER),
        (_IF_AT_LEAST, deny + 1, 0, _X32),
        *((_IF_EQUAL, deny - place, 0, number) for place, number in enumerate(refused)),
        (_IF_EQUAL, 5, 0, _CLONE3),
        (_IF_EQUAL, 0, 2, table.clone),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_IF_ANY_BIT, 1, 0, _NEW_NAMESPACES),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
    ]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("lines", ctypes.c_char_p))


def give_up_calls(libc: ctypes.CDLL, machine: str) -> bool:
    """Put the filter in force; False where the kernel has none, or nobody wrote down this machine's numbers.

    The process must have given up new privileges before (PR_SET_NO_NEW_PRIVS). machine: as `uname -m` says it, which
    is the kernel's; a 32-bit Python on it has other numbers.
    """
    table = TABLES.get(machine)
    if table is None or struct.calcsize("P") != 8:
        return False
    lines = filter_of(table)
    program = _Program(len(lines) // 8, lines)
    return libc.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0) == 0
