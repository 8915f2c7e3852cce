"""Capabilities: names, capget and capset, the bounding and the ambient set.

Sources: capabilities(7), capget(2), prctl(2); names and numbers of linux/capability.h.  A set is an int whose
bit n stands for capability n.
"""

from __future__ import annotations

import ctypes

from cr.kernel.libc import syscall
from cr.kernel.prctl import prctl

NAMES: tuple[str, ...] = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL",
    "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT",
    "CAP_SYS_NICE", "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE",
    "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG",
    "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)  # fmt: skip
NUMBERS: dict[str, int] = {name: number for number, name in enumerate(NAMES)}

_VERSION_3 = 0x20080522
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_PR_CAP_AMBIENT_CLEAR_ALL = 4


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


def as_set(names: list[str]) -> int:
    """The set of these names; a name that is not in `NAMES` is a KeyError."""
    mask = 0
    for name in names:
        mask |= 1 << NUMBERS[name]
    return mask


def as_names(mask: int) -> list[str]:
    """The names of a set, in the kernel's order; a number without a name is shown as CAP_<n>."""
    numbers = (n for n in range(64) if mask >> n & 1)
    return [NAMES[n] if n < len(NAMES) else f"CAP_{n}" for n in numbers]


def capget(pid: int = 0) -> tuple[int, int, int]:
    """capget(2): the effective, permitted and inheritable set of a thread (0: of the caller)."""
    data = (ctypes.c_uint32 * 6)()
    syscall("capget", 125, ctypes.byref(_Header(_VERSION_3, pid)), ctypes.byref(data))
    return data[0] | data[3] << 32, data[1] | data[4] << 32, data[2] | data[5] << 32


def has(name: str) -> bool:
    """Whether the calling thread can use this capability."""
    return bool(capget()[0] >> NUMBERS[name] & 1)


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """capset(2): set the three sets of the calling thread."""
    sets = (effective, permitted, inheritable)
    data = (ctypes.c_uint32 * 6)(*(s & 0xFFFFFFFF for s in sets), *(s >> 32 for s in sets))
    syscall("capset", 126, ctypes.byref(_Header(_VERSION_3, 0)), ctypes.byref(data))


def bounding() -> int:
    """The bounding set of the caller, as far as this kernel knows capabilities."""
    mask = 0
    for number in range(64):
        try:
            mask |= prctl(_PR_CAPBSET_READ, number) << number
        except OSError:
            break
    return mask


def drop_bounding(keep: int) -> None:
    """Drop every capability that is not in `keep` from the bounding set."""
    gone = bounding() & ~keep
    for number in range(64):
        if gone >> number & 1:
            prctl(_PR_CAPBSET_DROP, number)


def set_ambient(mask: int) -> None:
    """Make `mask` the ambient set; each must be permitted and inheritable already."""
    prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    for number in range(64):
        if mask >> number & 1:
            prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number)
