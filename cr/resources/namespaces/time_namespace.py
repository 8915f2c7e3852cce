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
from cr.kernel import proc, visits
from cr.kernel.capabilities import has
from cr.kernel.namespaces import CLONE_NEWTIME, open_namespace
from cr.remote.program import Program

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask
    from cr.contract.restoring import RestoreContext, RestoreTask

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
    def dump(cls, task: DumpTask, ns_id: int, context: DumpContext) -> None:
        _write(ns_id, _ahead(task.pid), context)

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
        unshare_for_children(ns_id, task, context)
        fd = os.open(f"/proc/{task.puppet.tid}/ns/time_for_children", os.O_RDONLY | os.O_CLOEXEC)
        try:
            program = Program()
            context.add_joins(program, [(fd, CLONE_NEWTIME)])
            context.run(task.leader, program)
        finally:
            os.close(fd)


def dump_for_children(task: DumpTask, ns_id: int, context: DumpContext) -> None:
    """The namespace that a task's children are born in, which nobody may be in."""
    _write(ns_id, offsets(task.pid), context)


def unshare_for_children(ns_id: int, task: RestoreTask, context: RestoreContext) -> None:
    """From now on the puppet's children are born in a new namespace, with the clocks of the images."""
    entry = context.images.read_one("timens", ns_id)
    program = Program()
    program.call("unshare", CLONE_NEWTIME)
    context.run(task.leader, program)
    _set_offsets(task.puppet.tid, {name: _nanoseconds(getattr(entry, name)) for name in CLOCKS})


def _ahead(pid: int) -> dict[str, int]:
    """How much the clocks of a task's own namespace are ahead; what /proc shows is that for its children."""
    if proc.namespace_inode(pid, "time") == proc.namespace_inode(pid, "time_for_children"):
        return offsets(pid)
    with open_namespace(pid, "time") as fd:
        answer = visits.ask([(fd, CLONE_NEWTIME)], lambda: b" ".join(b"%d" % each for each in _behind_real_time()))
    here, own = _behind_real_time(), offsets("self")
    return {name: own[name] + one - int(other) for name, one, other in zip(CLOCKS, here, answer.split(), strict=True)}


def _behind_real_time() -> list[int]:
    """Nanoseconds; no namespace changes the real time."""
    return [time.clock_gettime_ns(time.CLOCK_REALTIME) - time.clock_gettime_ns(clock) for clock in CLOCKS.values()]


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
