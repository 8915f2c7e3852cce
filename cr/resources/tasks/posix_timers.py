"""POSIX timers of a process: timer_create(2), /proc/PID/timers."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from cr.contract.resource import ProcessResource, Stage, ThreadResource
from cr.kernel import controls, proc
from cr.model import CheckpointError
from cr.resources.tasks import timer_overruns
from cr.values import dataclass

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpThread
    from cr.contract.restoring import RestoreContext, RestoreTask, RestoreThread
    from cr.remote.program import Data, Program, Result
    from images import messages as m

_ITIMERSPEC = struct.Struct("<4q")  # interval, value: seconds, nanoseconds each
_SIGEVENT = struct.Struct("<Qiii44x")  # sigev_value, sigev_signo, sigev_notify, sigev_notify_thread_id
_NOTIFY = {"signal": 0, "none": 1, "thread": 2}
_SIGEV_THREAD_ID = 4
_CLOCK_THREAD_CPUTIME_ID = 3
_MANY = 20000


@dataclass(frozen=True)
class TimerLine:
    """What /proc/PID/timers tells about one timer; `tid` is 0 unless a thread is to be notified."""

    id: int
    signo: int
    value: int
    notify: int
    tid: int
    clock: int


def parse_timers(text: str) -> list[TimerLine]:
    """The content of /proc/PID/timers: four or more lines a timer, the first says "ID: n"."""
    found = []
    for block in f"\n{text}".split("\nID: ")[1:]:
        number, *lines = block.splitlines()
        fields = {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
        signo, _, value = fields["signal"].partition("/")
        kind, _, target = fields["notify"].partition("/")
        to_thread = target.startswith("tid.")
        notify = _SIGEV_THREAD_ID if to_thread else _NOTIFY[kind]
        tid = int(target[4:]) if to_thread else 0
        found.append(TimerLine(int(number), int(signo), int(value, 16), notify, tid, int(fields["ClockID"])))
    return found


class PosixTimers(ProcessResource):
    """What each timer does, the time it has left, and how often it ran over."""

    stage = Stage.ARMED

    def ask(self, program: Program, thread: DumpThread, context: DumpContext) -> None:
        self._found: list[tuple[TimerLine, Data, Result]] = []
        for line in parse_timers(proc.read_text(thread.tid, "timers")):
            buffer = program.buffer(_ITIMERSPEC.size)
            program.call("timer_gettime", line.id, buffer)
            self._found.append((line, buffer, program.call("timer_getoverrun", line.id, may_fail=True)))

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        inside = {other.tid: other.vtid for other in thread.task.threads}
        for line, buffer, overrun in reversed(self._found):  # /proc shows the newest first
            isec, insec, vsec, vnsec = _ITIMERSPEC.unpack(buffer.bytes)
            entry = core.tc.timers.posix.add(
                it_id=line.id, clock_id=line.clock & 0xFFFFFFFF, si_signo=line.signo, it_sigev_notify=line.notify,
                sival_ptr=line.value, overrun=max(0, overrun.value), isec=isec, insec=insec, vsec=vsec, vnsec=vnsec,
            )  # fmt: skip
            if line.tid:
                entry.notify_thread_id = inside.get(line.tid, line.tid)

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        """Made by the threads one by one, see TimersOfThread."""


class TimersOfThread(ThreadResource):
    """The timers that a thread makes: those that count its own processor time; the leader makes all others."""

    stage = Stage.ARMED

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        """All are in the leader's image, see PosixTimers."""

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        timers = [entry for entry in thread.task.core.tc.timers.posix if _maker(entry, thread.task) == thread.vtid]
        if not timers:
            return
        if controls.timer_ids_can_be_chosen():
            _make_with_ids(program, timers, thread, context)
        else:
            _make_in_turn(program, timers, thread)
        if any(entry.overrun for entry in timers):
            context.run(thread, program)  # makes them
            program.clear()
            timers = [entry for entry in timers if not timer_overruns.arm(entry, thread, context)]
        for entry in timers:
            context.make_room(thread, program)
            _arm(program, entry)


def _maker(entry: m.posix_timer_entry, task: RestoreTask) -> int:
    tids = {thread.vtid for thread in task.threads}
    if entry.clock_id == _CLOCK_THREAD_CPUTIME_ID and entry.notify_thread_id in tids:
        return int(entry.notify_thread_id)
    return task.vpid


def _make_with_ids(
    program: Program, timers: list[m.posix_timer_entry], thread: RestoreThread, context: RestoreContext
) -> None:
    option = controls.PR_TIMER_CREATE_RESTORE_IDS
    program.call("prctl", option, controls.TIMER_RESTORE_IDS_ON, 0, 0, 0)
    for entry in timers:
        context.make_room(thread, program)
        _create(program, entry, thread.task)
    program.call("prctl", option, controls.TIMER_RESTORE_IDS_OFF, 0, 0, 0)


def _make_in_turn(program: Program, timers: list[m.posix_timer_entry], thread: RestoreThread) -> None:
    """Older kernels give ids in turn: those in between are made and deleted again."""
    wanted = {entry.it_id: entry for entry in timers}
    if max(wanted) > _MANY or not thread.is_leader:
        raise CheckpointError(
            f"{thread.task} has a POSIX timer with the id {max(wanted)}, which this kernel cannot give: "
            "restore it on Linux 6.16 or later"
        )
    for number in range(max(wanted) + 1):
        if number in wanted:
            _create(program, wanted[number], thread.task)
        else:
            place = program.data(struct.pack("<i", number))
            program.call("timer_create", 1, 0, place)
            program.call("timer_delete", number)


def _create(program: Program, entry: m.posix_timer_entry, task: RestoreTask) -> None:
    """The thread to be notified by its number in the task's own pid namespace."""
    own = {thread.vtid: thread.pids[-1] for thread in task.threads}
    target = own.get(entry.notify_thread_id, entry.notify_thread_id)
    record = _SIGEVENT.pack(entry.sival_ptr, entry.si_signo, entry.it_sigev_notify, target)
    clock = entry.clock_id - (entry.clock_id >> 31 << 32)
    place = program.data(struct.pack("<i", entry.it_id))
    program.call("timer_create", clock, program.data(record), place, note=f"timer {entry.it_id}")


def _arm(program: Program, entry: m.posix_timer_entry) -> None:
    interval = (entry.isec, entry.insec)
    value = (entry.vsec, entry.vnsec) if entry.vsec or entry.vnsec else interval
    if any(value):
        program.call("timer_settime", entry.it_id, 0, program.data(_ITIMERSPEC.pack(*interval, *value)), 0)
