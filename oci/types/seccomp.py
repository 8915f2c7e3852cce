"""Seccomp profiles (config-linux.md, seccomp)."""

from __future__ import annotations

from typing import Required, TypedDict


class SyscallArg(TypedDict, total=False):
    """A condition on one argument; `valueTwo` is the right side of SCMP_CMP_MASKED_EQ."""

    index: Required[int]
    value: Required[int]
    valueTwo: int
    op: Required[str]


class Syscall(TypedDict, total=False):
    """A rule for the system calls `names`."""

    names: Required[list[str]]
    action: Required[str]
    errnoRet: int
    args: list[SyscallArg]


class Seccomp(TypedDict, total=False):
    """The profile."""

    defaultAction: Required[str]
    defaultErrnoRet: int
    architectures: list[str]
    flags: list[str]
    listenerPath: str
    listenerMetadata: str
    syscalls: list[Syscall]
