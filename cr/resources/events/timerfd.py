"""timerfd_create(2): a timer that is read."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from cr.contract.resource import FdResource
from cr.kernel.events import TFD_TIMER_ABSTIME, timerfd_create, timerfd_set_ticks, timerfd_settime
from cr.resources.events.anonymous_inode import common, finish

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext
    from images import messages as m

_SECOND = 1_000_000_000
_ALARM_CLOCKS = {8: time.CLOCK_REALTIME, 9: time.CLOCK_BOOTTIME}  # CLOCK_*_ALARM tell the time of these


class TimerFd(FdResource):
    """Clock, interval, the time that remains, expirations not yet read; it ticks again with the tasks."""

    type = 17
    field = "tfd"

    @classmethod
    def recognises(cls, file: OpenFile) -> bool:
        return file.link == "anon_inode:[timerfd]"

    @classmethod
    def dump(cls, file: OpenFile, context: DumpContext) -> m.timerfd_entry:
        from images import messages as m

        info = file.info
        (vsec, vnsec), (isec, insec) = (_pair(info[name]) for name in ("it_value", "it_interval"))
        ticks = int(info["ticks"])
        if ticks and (isec, insec) > (0, 0) and (vsec, vnsec) == (0, 0):
            vnsec, ticks = 1, ticks - 1  # expired, goes on when it is read: let it expire once more
        return m.timerfd_entry(
            clockid=int(info["clockid"]),
            ticks=ticks,
            settime_flags=int(info["settime flags"], 8),
            vsec=vsec,
            vnsec=vnsec,
            isec=isec,
            insec=insec,
            **common(file),
        )

    @classmethod
    def make(cls, entry: m.timerfd_entry, context: RestoreContext) -> int:
        fd = finish(timerfd_create(entry.clockid, 0), entry, context)
        context.at_end.append(lambda: _arm(fd, entry))
        return fd


def _pair(text: str) -> tuple[int, int]:
    seconds, nanoseconds = re.findall(r"\d+", text)
    return int(seconds), int(nanoseconds)


def _arm(fd: int, entry: m.timerfd_entry) -> None:
    """Start it; the image has the remaining time, also of timers that were set to a point in time."""
    remaining, ticks = entry.vsec * _SECOND + entry.vnsec, entry.ticks
    interval = (entry.isec, entry.insec)
    if any(interval) and not remaining and ticks:
        remaining, ticks = 1, ticks - 1  # it has expired and goes on when it is read: let it expire once more
    if remaining:
        flags = entry.settime_flags
        if flags & TFD_TIMER_ABSTIME:
            remaining += time.clock_gettime_ns(_ALARM_CLOCKS.get(entry.clockid, entry.clockid))
        timerfd_settime(fd, flags, divmod(remaining, _SECOND), interval)
    if ticks:
        timerfd_set_ticks(fd, ticks)
