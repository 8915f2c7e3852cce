"""clone3(2): its flags and its argument record."""

from __future__ import annotations

import ctypes
import struct

from cr.kernel.libc import syscall
from cr.kernel.numbers import NUMBERS

CLONE_VM = 0x00000100
CLONE_FS = 0x00000200
CLONE_FILES = 0x00000400
CLONE_SIGHAND = 0x00000800
CLONE_PIDFD = 0x00001000
CLONE_PTRACE = 0x00002000
CLONE_VFORK = 0x00004000
CLONE_PARENT = 0x00008000
CLONE_THREAD = 0x00010000
CLONE_SYSVSEM = 0x00040000
CLONE_SETTLS = 0x00080000
CLONE_PARENT_SETTID = 0x00100000
CLONE_CHILD_CLEARTID = 0x00200000
CLONE_CHILD_SETTID = 0x01000000
CLONE_IO = 0x80000000
CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

CLONE_ARGS_SIZE = 88
THREAD_FLAGS = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM


def clone_args(flags: int, *, exit_signal: int, stack: int = 0, set_tid: int = 0, set_tid_size: int = 0) -> bytes:
    """struct clone_args (88 bytes, version 2); `set_tid` is the address of an array of pids, innermost first."""
    return struct.pack("<11Q", flags, 0, 0, 0, exit_signal, stack, 4096 if stack else 0, 0, set_tid, set_tid_size, 0)


def fork_sibling(namespaces: int = 0, pid: int = 0) -> int:
    """fork(2), but the new process is a child of our parent; its pid, or 0 in the new process.

    It has the pid `pid`, in its innermost pid namespace, if that is not 0, and new namespaces (CLONE_NEW*).
    """
    return _fork(CLONE_PARENT | namespaces, pid)


def fork_as(pid: int) -> int:
    """fork(2) of a child that has this pid, and tells nobody when it ends; 0 in the new process."""
    return _fork(0, pid)


def _fork(flags: int, pid: int) -> int:
    wanted = (ctypes.c_int * 1)(pid)
    place = {"set_tid": ctypes.addressof(wanted), "set_tid_size": 1} if pid else {}
    args = clone_args(flags, exit_signal=0, **place)
    return syscall("clone3", NUMBERS["clone3"], ctypes.create_string_buffer(args, len(args)), CLONE_ARGS_SIZE)
