"""Writing one saved property back: each file has its own way to be written."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from cgroups.errors import CgroupError, from_os
from cgroups.model import CgroupProperty, Perms
from cgroups.node import Node
from cgroups.properties import OWNER_ONLY
from cgroups.undo import UndoStep

SUBTREE_CONTROL = "cgroup.subtree_control"


def _devices(node: Node, value: str, steps: list[UndoStep]) -> None:
    """devices.list is read-only: take everything away, then allow line by line."""
    if node.read("devices.list") == value:
        return
    old = node.read("devices.list")
    steps.extend(UndoStep("write", node.file("devices.allow"), line) for line in reversed(old.splitlines()))
    steps.append(UndoStep("write", node.file("devices.deny"), "a"))
    node.write("devices.deny", "a")
    for line in value.splitlines():
        # "a *:* rwm" and "a" are the same to the kernel
        node.write("devices.allow", line)


def _words_with_plus(node: Node, value: str, steps: list[UndoStep]) -> None:
    """cgroup.subtree_control is read as names and written as "+name"."""
    name = SUBTREE_CONTROL
    missing = [word for word in value.split() if word not in node.read(name).split()]
    if missing:
        node.write(name, " ".join(f"+{word}" for word in missing))
        steps.append(UndoStep("write", node.file(name), " ".join(f"-{word}" for word in missing)))


def _lines(name: str) -> Callable[[Node, str, list[UndoStep]], None]:
    """Files with a line a device take one line a write."""

    def write(node: Node, value: str, steps: list[UndoStep]) -> None:
        old = set(node.read(name).splitlines())
        for line in value.splitlines():
            if line not in old:
                node.write(name, line)

    return write


def _freezer(node: Node, value: str, steps: list[UndoStep]) -> None:
    """FREEZING (a state seen in passing) means that it was told to freeze."""
    state = "THAWED" if value == "THAWED" else "FROZEN"
    if node.read("freezer.state") != state:
        node.write("freezer.state", state)
        steps.append(UndoStep("write", node.file("freezer.state"), "THAWED" if state == "FROZEN" else "FROZEN"))


def _oom_control(node: Node, value: str, steps: list[UndoStep]) -> None:
    """One number; a table, as the kernel shows it, is understood too.  0 is what a new cgroup has."""
    words = value.split()
    wanted = words[words.index("oom_kill_disable") + 1] if "oom_kill_disable" in words else value
    now = str(node.pairs("memory.oom_control").get("oom_kill_disable", 0))
    if wanted != now:
        node.write("memory.oom_control", wanted)
        steps.append(UndoStep("write", node.file("memory.oom_control"), now))


def _type(node: Node, value: str, steps: list[UndoStep]) -> None:
    """Only "threaded" can be written; the other types follow from it."""
    if value == "threaded" and node.read("cgroup.type") != "threaded":
        node.write("cgroup.type", "threaded")


_SPECIAL: dict[str, Callable[[Node, str, list[UndoStep]], None]] = {
    "devices.list": _devices,
    SUBTREE_CONTROL: _words_with_plus,
    "freezer.state": _freezer,
    "memory.oom_control": _oom_control,
    "cgroup.type": _type,
}
_BY_LINE = (
    "blkio.throttle.",
    "io.max",
    "io.latency",
    "io.bfq.weight",
    "io.weight",
    "net_prio.ifpriomap",
    "rdma.max",
)
_RETIRED = {
    "memory.move_charge_at_immigrate": "0",
    "memory.use_hierarchy": "1",
    "memory.kmem.limit_in_bytes": "",
}
"""Files that newer kernels keep only for show, with the value that is harmless ("" for any)."""


def write_property(node: Node, prop: CgroupProperty, steps: list[UndoStep]) -> None:
    """Write a property unless the file says it already; the old value is added to `steps`.

    A file that this kernel lacks is an error, since a limit would be lost, unless the value is the one that
    means "nothing set".  Raises CgroupError.
    """
    name, value = prop.name, prop.value
    if name in OWNER_ONLY or _RETIRED.get(name) in ("", value):
        return
    if not node.exists(name):
        if not _means_nothing(value):
            raise CgroupError(
                f"cgroup property {name} = {value!r} cannot be restored: {node.path} has no such file; "
                "leave it out with --cgroup-props when dumping, or restore with --manage-cgroups=none"
            )
    elif name in _SPECIAL:
        _SPECIAL[name](node, value, steps)
    elif name.startswith(_BY_LINE):
        _lines(name)(node, value, steps)
    else:
        _plain(node, name, value, steps)


def _means_nothing(value: str) -> bool:
    return value in ("", "0", "max", "-1", "default 100") or (value.isdigit() and int(value) >= 2**62)


def _plain(node: Node, name: str, value: str, steps: list[UndoStep]) -> None:
    old = node.read(name).strip()
    if old == value:
        return
    try:
        node.write(name, value)
    except CgroupError as err:
        # memory may not exceed memory and swap: where both grow, the sum has to go first
        if name != "memory.limit_in_bytes" or err.errno != errno.EINVAL:
            raise
        memsw = "memory.memsw.limit_in_bytes"
        steps.append(UndoStep("write", node.file(memsw), node.read(memsw)))
        node.write(memsw, value)
        node.write(name, value)
    steps.append(UndoStep("write", node.file(name), old))


def set_perms(path: str, perms: Perms) -> None:
    """chown and chmod where they differ.  Raises CgroupError."""
    try:
        now = os.stat(path)  # noqa: PTH116
        if (now.st_uid, now.st_gid) != (perms.uid, perms.gid):
            os.chown(path, perms.uid, perms.gid)
        if stat.S_IMODE(now.st_mode) != stat.S_IMODE(perms.mode):
            os.chmod(path, stat.S_IMODE(perms.mode))  # noqa: PTH101
    except OSError as err:
        raise from_os(f"give {path} its owner {perms.uid}:{perms.gid} and mode {perms.mode & 0o7777:o}", err) from err
