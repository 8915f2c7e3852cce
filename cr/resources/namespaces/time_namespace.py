"""Time namespaces: monotonic and boot time go on where they stopped (time_namespaces(7)).

A tree in the host's time namespace is restored into one of its own as well: its clocks would jump by the time
between dump and restore, on another machine by the difference of the uptimes.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from cr import log
from cr.contract.resource import NamespaceResource
from cr.kernel import proc
from cr.kernel.capabilities import has
from cr.kernel.namespaces import CLONE_NEWTIME
from cr.remote.program import Program

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask
    from cr.contract.restoring import RestoreContext

SECOND = 1_000_000_000
CLOCKS = {"monotonic": time.CLOCK_MONOTONIC, "boottime": time.CLOCK_BOOTTIME}
SHARED = 0
"""Id in the file name of the clocks of a tree that shares the host's time namespace."""


def offsets(pid: int | str) -> dict[str, int]:
    """/proc/PID/timens_offsets: nanoseconds that each clock is ahead of the machine's own."""
    rows = (line.split() for line in proc.read_text(pid, "timens_offsets").splitlines())
    return {name: int(seconds) * SECOND + int(nanoseconds) for name, seconds, nanoseconds in rows}


def machine_clocks() -> dict[str, int]:
    """What the clocks show outside of all time namespaces, in nanoseconds, wherever we are ourselves."""
    ours = offsets("self")
    return {name: time.clock_gettime_ns(clock) - ours[name] for name, clock in CLOCKS.items()}


class TimeNamespace(NamespaceResource):
    """CLOCK_MONOTONIC and CLOCK_BOOTTIME as the tasks see them."""

    name = "time"
    clone_flag = CLONE_NEWTIME
    ids_field = "time_ns_id"
    order = -10
    at_birth = False

    @classmethod
    def obstacles(cls, task: DumpTask, context: DumpContext) -> list[str]:
        own = proc.namespace_inode(task.pid, "time")
        found = []
        if own != proc.namespace_inode(task.pid, "time_for_children"):
            found.append(f"{task} has another time namespace for its children: let it start them before the dump")
        if own != proc.namespace_inode(context.root_pid, "time"):
            found.append(f"{task} is in a time namespace below the root task's: dump that container by itself")
        return found

    @classmethod
    def dump(cls, task: DumpTask, ns_id: int, context: DumpContext) -> None:
        _write(ns_id, offsets(task.pid), context)

    @classmethod
    def dump_shared(cls, context: DumpContext) -> None:
        if _supported():
            _write(SHARED, offsets("self"), context)

    @classmethod
    def shared_image(cls, context: RestoreContext) -> bool:
        if not _supported() or not context.images.exists("timens", SHARED):
            return False
        if context.options.unprivileged and not has("CAP_SYS_ADMIN"):
            log.warning("without CAP_SYS_ADMIN there is no time namespace: monotonic clocks jump")
            return False
        return True

    @classmethod
    def restore(cls, ns_id: int, context: RestoreContext) -> None:
        """The puppet unshares, we set the offsets, then it joins: after that they are fixed."""
        task = context.first_in(cls.ids_field, ns_id)
        entry = context.images.read_one("timens", ns_id)
        program = Program()
        program.call("unshare", CLONE_NEWTIME)
        context.run(task.leader, program)
        _set_offsets(task.puppet.tid, {name: _nanoseconds(getattr(entry, name)) for name in CLOCKS})
        fd = os.open(f"/proc/{task.puppet.tid}/ns/time_for_children", os.O_RDONLY | os.O_CLOEXEC)
        try:
            program = Program()
            context.add_joins(program, [(fd, CLONE_NEWTIME)])
            context.run(task.leader, program)
        finally:
            os.close(fd)


def _supported() -> bool:
    return os.path.exists("/proc/self/timens_offsets")


def _write(ns_id: int, ahead: dict[str, int], context: DumpContext) -> None:
    from images import messages as m

    entry = m.timens_entry()
    for name, now in machine_clocks().items():
        field = getattr(entry, name)
        field.tv_sec, field.tv_nsec = divmod(now + ahead[name], SECOND)
    context.images.write("timens", ns_id, entries=[entry])


def _nanoseconds(value: object) -> int:
    return int(value.tv_sec * SECOND + value.tv_nsec)  # type: ignore[attr-defined]


def _set_offsets(pid: int, wanted: dict[str, int]) -> None:
    text = ""
    for name, now in machine_clocks().items():
        seconds, nanoseconds = divmod(wanted[name] - now, SECOND)
        text += f"{name} {seconds} {nanoseconds}\n"
    proc.write_file(f"/proc/{pid}/timens_offsets", text)
