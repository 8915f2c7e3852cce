"""Which character devices can be opened again as if nothing had happened."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile

TTY_MAJORS = frozenset({4, 5, *range(136, 144)})
_MEMORY = 1
_MISC = 10
_STATELESS = {
    _MEMORY: {3: "null", 5: "zero", 7: "full", 8: "random", 9: "urandom", 11: "kmsg"},
    _MISC: {135: "rtc", 183: "hwrng", 235: "autofs", 237: "loop-control"},
}
"""by major and minor number"""
NET_TUN = os.makedev(_MISC, 200)


def is_terminal(status: os.stat_result) -> bool:
    """Terminals have a resource of their own (tty)."""
    return stat.S_ISCHR(status.st_mode) and os.major(status.st_rdev) in TTY_MAJORS


def obstacles(file: OpenFile) -> Iterator[str]:
    """A driver may keep state behind an open character device that nobody can read out."""
    device = file.stat.st_rdev
    if not stat.S_ISCHR(file.stat.st_mode) or file.flags & os.O_PATH or file.fd < 0:
        return
    if os.minor(device) in _STATELESS.get(os.major(device), ()):
        return
    yield (
        f"{file} is a character device ({os.major(device)}:{os.minor(device)}) whose driver may hold state for it: "
        f"close it, or leave it out with --external file[{file.mnt_id:x}:{file.stat.st_ino:x}], a plug-in or --stub"
    )


def other_name(file: OpenFile, context: DumpContext, root: int) -> str | None:
    """--evasive-devices: any name under /dev of the device of a file whose own name is gone."""
    if not context.options.evasive_devices or not _is_device(file.stat.st_mode):
        return None
    for directory, _, names in os.walk(f"/proc/self/fd/{root}/dev"):
        for name in names:
            status = os.stat(os.path.join(directory, name), follow_symlinks=False)
            if _is_device(status.st_mode) and _kind(status) == _kind(file.stat):
                return os.path.join(directory, name).removeprefix(f"/proc/self/fd/{root}")
    return None


def _is_device(mode: int) -> bool:
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def _kind(status: os.stat_result) -> tuple[int, int]:
    return stat.S_IFMT(status.st_mode), status.st_rdev
