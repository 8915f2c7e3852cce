"""System call filters of a thread: seccomp(2); seccomp.img.

Filters form a chain, each with the one that was installed before it.  The image holds every distinct chain
once, oldest filters first, and a thread names its newest.  While a puppet is held its filters are suspended,
so they can be installed while it still has the right to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cr.contract.resource import Stage, ThreadResource
from cr.kernel import controls, ptrace
from cr.model import BadImages
from cr.remote.puppet import OPTIONS
from cr.values import dataclass, field

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpThread
    from cr.contract.restoring import RestoreContext, RestoreTask, RestoreThread
    from cr.remote.program import Program
    from images import messages as m

Filter = tuple[bytes, int]
"""classic BPF program, flags"""
Chain = tuple[Filter, ...]
"""oldest first"""


@dataclass
class ChainTable:
    """The distinct filters of a tree; equal chains share their entries."""

    numbers: dict[Chain, int] = field(default_factory=dict)
    entries: list[tuple[Filter, int | None]] = field(default_factory=list)
    """(filter, number of the one before it)"""

    def number(self, chain: Chain) -> int:
        """The number of the newest filter of a chain."""
        if chain not in self.numbers:
            before = self.number(chain[:-1]) if len(chain) > 1 else None
            self.numbers[chain] = len(self.entries)
            self.entries.append((chain[-1], before))
        return self.numbers[chain]


def chain_of(number: int, filters: list[m.seccomp_filter]) -> Chain:
    """The chain that ends with filter `number` of the image."""
    found: list[Filter] = []
    while True:
        if number >= len(filters) or len(found) > len(filters):
            raise BadImages(f"seccomp.img has no filter {number}, or its filters follow each other in a circle")
        entry = filters[number]
        found.append((bytes(entry.filter), entry.flags))
        if not entry.HasField("prev"):
            return tuple(reversed(found))
        number = entry.prev


class Seccomp(ThreadResource):
    """Mode and filters."""

    stage = Stage.IDENTITY
    order = -10

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        from images import messages as m

        mode = int(thread.status["Seccomp"])
        if not mode:
            return
        core.thread_core.seccomp_mode = (
            m.seccomp_mode.strict if mode == controls.SECCOMP_MODE_STRICT else m.seccomp_mode.filter
        )
        if mode == controls.SECCOMP_MODE_FILTER:
            core.thread_core.seccomp_filter = _note(_installed(thread.tid), context)

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        mode = thread.core.thread_core.seccomp_mode
        if not mode:
            return
        thread.puppet.options(OPTIONS | ptrace.O_SUSPEND_SECCOMP)
        if mode == controls.SECCOMP_MODE_STRICT:
            program.call("prctl", controls.PR_SET_SECCOMP, controls.SECCOMP_MODE_STRICT, 0, 0, 0)
            return
        shared = len(_common(thread.task, context))
        chain = _chain(thread, context)
        start = 0 if thread.is_leader else shared
        for position in range(start, len(chain)):
            _install(program, chain[position], to_all=position < shared)


def _installed(tid: int) -> Chain:
    found: list[Filter] = []
    while (code := ptrace.seccomp_filter(tid, len(found))) is not None:
        found.append((code, ptrace.seccomp_flags(tid, len(found))))
    return tuple(found)


def _note(chain: Chain, context: DumpContext) -> int:
    """The chain's number; seccomp.img is written whenever a new chain is met."""
    from images import messages as m

    table = context.once("seccomp", ChainTable)
    known = len(table.entries)
    number = table.number(chain)
    if len(table.entries) > known:
        image = m.seccomp_entry()
        for (code, flags), before in table.entries:
            entry = image.seccomp_filters.add(filter=code, flags=flags)
            if before is not None:
                entry.prev = before
        context.images.write("seccomp", entries=[image])
    return number


def _chain(thread: RestoreThread, context: RestoreContext) -> Chain:
    entry = thread.core.thread_core
    if entry.seccomp_mode != controls.SECCOMP_MODE_FILTER:
        return ()
    image: m.seccomp_entry = context.once("seccomp", lambda: context.images.read_one("seccomp"))
    return chain_of(entry.seccomp_filter, list(image.seccomp_filters))


def _common(task: RestoreTask, context: RestoreContext) -> Chain:
    """What the chains of all threads begin with: the kernel knows it as the same for all of them."""

    def find() -> Chain:
        chains = [_chain(thread, context) for thread in task.threads]
        shared: list[Filter] = []
        for filters in zip(*chains, strict=False):
            if any(one != filters[0] for one in filters):
                break
            shared.append(filters[0])
        return tuple(shared)

    return context.once(("seccomp chain", task.vpid), find)


def _install(program: Program, filter_: Filter, *, to_all: bool) -> None:
    code, flags = filter_
    pointer = program.words(len(code) // 8, program.data(code))
    flags |= controls.SECCOMP_FILTER_FLAG_TSYNC if to_all else 0
    program.call("seccomp", controls.SECCOMP_SET_MODE_FILTER, flags, pointer, note=f"{len(code) // 8} instructions")
