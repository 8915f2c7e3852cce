"""Process controls: prctl(2) by name, and the loading of a seccomp filter (seccomp(2))."""

from __future__ import annotations

import ctypes
import os

from cr.kernel.libc import syscall

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_KEEPCAPS = 8
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38

_SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_LOG = 0x2
SECCOMP_FILTER_FLAG_SPEC_ALLOW = 0x4
SECCOMP_FILTER_FLAG_NEW_LISTENER = 0x8
SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = 0x20

CLOSE_RANGE_CLOEXEC = 0x4


class _SockFprog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def prctl(option: int, *args: object) -> int:
    """prctl(2); arguments that are not given are 0, as newer options demand."""
    padded = (*args, 0, 0, 0, 0)[:4]
    return syscall("prctl", 157, option, *padded)


def set_parent_death_signal(signal: int) -> None:
    """PR_SET_PDEATHSIG: the signal that we get when the thread that made us ends (0: none)."""
    prctl(_PR_SET_PDEATHSIG, signal)


def set_dumpable(dumpable: bool) -> None:
    """PR_SET_DUMPABLE: whether others of our user may look into us by /proc and ptrace."""
    prctl(_PR_SET_DUMPABLE, int(dumpable))


def set_keep_capabilities(keep: bool) -> None:
    """PR_SET_KEEPCAPS: whether the permitted set outlives the change from uid 0."""
    prctl(_PR_SET_KEEPCAPS, int(keep))


def set_name(name: str) -> None:
    """PR_SET_NAME: the name of the calling thread, cut to 15 bytes."""
    prctl(_PR_SET_NAME, os.fsencode(name)[:15] + b"\0")


def set_child_subreaper(enable: bool) -> None:
    """PR_SET_CHILD_SUBREAPER: whether orphaned descendants become our children."""
    prctl(_PR_SET_CHILD_SUBREAPER, int(enable))


def set_no_new_privs() -> None:
    """PR_SET_NO_NEW_PRIVS: execve gives no privileges from now on; cannot be undone."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


def close_range_on_exec(first: int) -> None:
    """close_range(2): mark every descriptor from `first` on close-on-exec."""
    syscall("close_range", 436, first, 0xFFFFFFFF, CLOSE_RANGE_CLOEXEC)


def load_seccomp_filter(program: bytes, flags: int = 0) -> int:
    """seccomp(2): install a BPF program (8-byte struct sock_filter records); a listener if asked for."""
    fprog = _SockFprog(len(program) // 8, program)
    return syscall("seccomp", 317, _SECCOMP_SET_MODE_FILTER, flags, ctypes.byref(fprog))
