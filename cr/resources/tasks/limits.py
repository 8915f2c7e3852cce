"""Resource limits of a process: getrlimit(2)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from cr import log
from cr.contract.resource import ProcessResource, Stage
from cr.kernel import proc

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpThread
    from cr.contract.restoring import RestoreContext, RestoreThread
    from cr.remote.program import Program
    from images import messages as m

Limit = tuple[int, int]
"""soft, hard"""
INFINITY = (1 << 64) - 1
NAMES = (
    "cpu time", "file size", "data size", "stack size", "core file size", "resident set", "processes", "open files",
    "locked memory", "address space", "file locks", "pending signals", "msgqueue size", "nice priority",
    "realtime priority", "realtime timeout",
)  # fmt: skip
"""In the order of the RLIMIT_ numbers, as /proc/PID/limits calls them behind "Max "."""


def parse_limits(text: str) -> list[Limit]:
    """Soft and hard limits from /proc/PID/limits, which needs no right that prlimit(2) would ask for."""
    found: dict[str, Limit] = {}
    for line in text.splitlines()[1:]:
        soft, hard = line[26:].split()[:2]
        found[line[4:26].strip()] = (_number(soft), _number(hard))
    return [found[name] for name in NAMES]


def _number(text: str) -> int:
    return INFINITY if text == "unlimited" else int(text)


def attainable(wanted: Limit, current: Limit) -> Limit:
    """What of `wanted` can be set where hard limits may only be lowered."""
    hard = min(wanted[1], current[1])
    return min(wanted[0], hard), hard


class Limits(ProcessResource):
    """All sixteen.  Raising a hard limit takes CAP_SYS_RESOURCE, which not every host gives us."""

    stage = Stage.IDENTITY
    order = -30

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        for soft, hard in parse_limits(proc.read_text(thread.tid, "limits")):
            core.tc.rlimits.rlimits.add(cur=soft, max=hard)

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        current = parse_limits(proc.read_text(thread.puppet.tid, "limits"))
        may_raise = bool(int(proc.status("self")["CapEff"], 16) >> 24 & 1)  # CAP_SYS_RESOURCE
        for number, entry in enumerate(thread.core.tc.rlimits.rlimits):
            wanted = (entry.cur, entry.max)
            limit = wanted if may_raise else attainable(wanted, current[number])
            if limit != wanted:
                log.warning(
                    f"{thread.task} had a limit of {_shown(wanted)} for {NAMES[number]}, now {_shown(limit)}: "
                    "raising a hard limit takes CAP_SYS_RESOURCE"
                )
            if limit != current[number]:
                program.call("prlimit64", 0, number, program.data(struct.pack("<QQ", *limit)), 0, note=NAMES[number])


def _shown(limit: Limit) -> str:
    return "/".join("unlimited" if value == INFINITY else str(value) for value in limit)
