"""/proc/PID/mountinfo (proc_pid_mountinfo(5)), as far as files need it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cr.kernel import proc

if TYPE_CHECKING:
    from cr.contract.dumping import DumpTask


@dataclass(frozen=True)
class Mount:
    """`device` as the kernel numbers it inside, `root` within the filesystem, `point` in the namespace."""

    id: int
    device: int
    root: str
    point: str


def mounts(task: DumpTask) -> list[Mount]:
    """The mounts that the task sees."""
    found = []
    for line in proc.read_text(task.pid, "mountinfo").splitlines():
        number, _, device, root, point = line.split(" ")[:5]
        major, _, minor = device.partition(":")
        found.append(Mount(int(number), int(major) << 20 | int(minor), _plain(root), _plain(point)))
    return found


def _plain(text: str) -> str:
    """Undo the octal escapes for blanks, tabs, line ends and backslashes."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
