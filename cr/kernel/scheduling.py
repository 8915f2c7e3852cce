"""Scheduling policy, execution domain and NUMA policy of a process.

Sources: sched_setattr(2), personality(2), set_mempolicy(2); the numbers are those of linux/sched.h,
linux/sched/types.h, linux/personality.h, linux/mempolicy.h and asm/unistd_64.h.
"""

from __future__ import annotations

import contextlib
import os
import struct

from cr.kernel.libc import syscall

POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
DOMAINS = {"LINUX": 0x0, "LINUX32": 0x8}
MEMORY_MODES = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
MEMORY_FLAGS = {
    "MPOL_F_NUMA_BALANCING": 1 << 13,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_STATIC_NODES": 1 << 15,
}
# u32 size, policy; u64 flags; s32 nice; u32 priority; u64 runtime, deadline, period (nanoseconds)
_SCHED_ATTR = struct.Struct("=IIQiIQQQ")


def sched_setattr(
    pid: int, policy: int, flags: int, nice: int, priority: int, deadline: tuple[int, int, int] = (0, 0, 0)
) -> None:
    """sched_setattr(2); `deadline` is (runtime, deadline, period) in nanoseconds, for SCHED_DEADLINE."""
    attr = _SCHED_ATTR.pack(_SCHED_ATTR.size, policy, flags, nice, priority, *deadline)
    syscall("sched_setattr", 314, pid, attr, 0)


def personality(domain: int) -> None:
    """personality(2) of the calling process; exec keeps it."""
    syscall("personality", 135, domain)


def set_mempolicy(mode: int, nodes: frozenset[int]) -> None:
    """set_mempolicy(2) of the calling thread; exec keeps it."""
    if not nodes:
        syscall("set_mempolicy", 238, mode, 0, 0)
        return
    words = max(nodes) // 64 + 1
    mask = sum(1 << node for node in nodes).to_bytes(words * 8, "little")
    syscall("set_mempolicy", 238, mode, mask, words * 64 + 1)  # the kernel takes one bit less than it is told


_HIGHEST = -20


def hurry() -> int:
    """Whoever waits for us stands still: run before others (nice(2)) where we may; the nice value of before."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, _HIGHEST)
    return before


def relax(before: int) -> None:
    """The end of `hurry`: back to the nice value of before."""
    os.setpriority(os.PRIO_PROCESS, 0, before)
