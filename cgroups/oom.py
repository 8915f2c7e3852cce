"""Being told of OOM kills: an eventfd on v1, a pollable file on v2."""

from __future__ import annotations

import os
import select

from cgroups.errors import from_os
from cgroups.node import Node
from values import dataclass


@dataclass(frozen=True)
class OomWatch:
    """Poll `fd` for `events`, then ask `kills()`; `close()` when done."""

    fd: int
    events: int
    node: Node

    def kills(self) -> int:
        """How many tasks the kernel has killed for lack of memory; rearms the descriptor."""
        if self.node.version == 2:
            text = os.pread(self.fd, 4096, 0).decode()
            return {key: int(value) for key, value in map(str.split, text.splitlines())}["oom_kill"]
        return self.node.pairs("memory.oom_control").get("oom_kill", 0)

    def close(self) -> None:
        os.close(self.fd)


def watch(node: Node) -> OomWatch:
    """v1: an eventfd registered in cgroup.event_control.  v2: memory.events, signalled by POLLPRI."""
    if node.version == 2:
        try:
            fd = os.open(node.file("memory.events"), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as err:
            raise from_os(f"watch {node.file('memory.events')}", err) from err
        return OomWatch(fd, select.POLLPRI, node)
    fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    try:
        with open(node.file("memory.oom_control")) as control:
            node.write("cgroup.event_control", f"{fd} {control.fileno()}")
    except BaseException:
        os.close(fd)
        raise
    return OomWatch(fd, select.POLLIN, node)
