"""A dump whose tasks keep their pages until a lazy-pages daemon has fetched them (dump --lazy-pages)."""

from __future__ import annotations

import os
import socket
from bisect import bisect_right
from typing import TYPE_CHECKING

from cr import log
from cr.contract.dumping import DumpContext, DumpTask
from cr.dump.copier import CHUNK
from cr.dump.pages import Span
from images.pages import PAGE_SIZE

if TYPE_CHECKING:
    from cr.page_server.wire import Wire


class FrozenPages:
    """The pages that are still in the frozen tasks, by their pid in the images."""

    def __init__(self) -> None:
        self._memory: dict[int, tuple[int, list[Span]]] = {}

    def keep(self, task: DumpTask, runs: list[Span]) -> None:
        """These pages, in ascending order, stay where they are for now."""
        memory = os.open(f"/proc/{task.pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        self._memory[task.vpid] = memory, runs

    def count(self, pid: int, vaddr: int, nr_pages: int) -> int:
        _, runs = self._memory.get(pid, (-1, []))
        index = bisect_right(runs, vaddr, key=lambda run: run[0]) - 1
        end = vaddr
        while 0 <= index < len(runs) and runs[index][0] <= end < runs[index][1]:
            end, index = runs[index][1], index + 1
        return min(nr_pages, (end - vaddr) // PAGE_SIZE)

    def send(self, wire: Wire, pid: int, vaddr: int, nr_pages: int) -> None:
        memory, _ = self._memory[pid]
        end = vaddr + nr_pages * PAGE_SIZE
        while vaddr < end:
            data = os.pread(memory, min(CHUNK, end - vaddr), vaddr)
            wire.send(data)
            vaddr += len(data)

    def close(self) -> None:
        for memory, _ in self._memory.values():
            os.close(memory)
        self._memory = {}


class Lending:
    """The socket at which the daemon is waited for, and what it will ask for."""

    def __init__(self, context: DumpContext) -> None:
        self._options = context.options
        self._listening: socket.socket | None = None
        self.pages = FrozenPages()
        if self._options.ps_socket < 0:
            from cr.page_server import connect

            self._listening = connect.listen(self._options)
        context.at_end.append(self.close)

    def serve(self) -> None:
        """Until the daemon has all pages; PageServerError where it goes away before."""
        from cr.page_server import connect
        from cr.page_server.lend import lend

        self._options.notification("status-ready")
        if self._listening is None:
            wire = connect.inherited(self._options, server=True)
        else:
            log.info(f"waiting for a lazy-pages daemon at port {self._listening.getsockname()[1]}")
            wire = connect.accept(self._listening, self._options)
        wire.sock.settimeout(None)  # it may be long until a task needs another page
        try:
            lend(wire, self.pages)
        finally:
            wire.close()

    def close(self) -> None:
        self.pages.close()
        if self._listening is not None:
            self._listening.close()


def lending(context: DumpContext) -> Lending | None:
    """Where --lazy-pages is asked for."""
    if not context.options.lazy_pages:
        return None
    return context.once("lending", lambda: Lending(context))
