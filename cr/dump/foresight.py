"""Mappings as they were seen before the freeze, taken for what they are after it, and verified beside the other work.

For what smaps tells, the kernel looks at each single page: a tenth of a second for a GiB.  maps is told at once; only
the flags of a mapping (madvise(2), mlock(2)) can have changed where it is the same.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue

from cr.contract.dumping import DumpContext, DumpTask
from cr.kernel import proc
from cr.kernel.patterns import pattern
from cr.model import CheckpointError
from cr.values import dataclass

_REST = pattern(r"(?m)^(?:[0-9a-f]+-|VmFlags:|KernelPageSize:|ProtectionKey:).*$")


class ChangedMeanwhile(CheckpointError):
    """A program changed something of its mappings between the look from outside and the freeze."""


@dataclass
class _Seen:
    start_time: int
    maps: str
    mappings: list[proc.Mapping]
    rest: list[str]
    """all that smaps tells besides, but how many pages there are"""


class Foresight:
    """`note` before the freeze, `recall` and `check` after it, `verify` before anybody relies on the images."""

    def __init__(self, context: DumpContext, *, trusted: bool) -> None:
        self._trusted = trusted
        self._seen: dict[int, _Seen] = {}
        self._wrong: list[str] = []
        self._queue: SimpleQueue[DumpTask | None] = SimpleQueue()
        self._worker: threading.Thread | None = None
        if trusted:
            self._worker = threading.Thread(target=self._serve, daemon=True)
            self._worker.start()
            context.at_end.append(self._end)

    def note(self, task: DumpTask) -> None:
        """Read the mappings of a task that runs; before anybody else does."""
        maps = proc.read_text(task.pid, "maps")  # first: what changes from now on shows
        smaps = proc.read_text(task.pid, "smaps")
        task.mappings = proc.parse_smaps(smaps)
        self._seen[task.pid] = _Seen(task.stat.start_time, maps, task.mappings, _REST.findall(smaps))

    def recall(self, task: DumpTask) -> None:
        """Give a frozen task the mappings it had, where they look the same."""
        seen = self._seen.get(task.pid)
        if not self._trusted or seen is None or seen.start_time != task.stat.start_time:
            return
        if proc.read_text(task.pid, "maps") == seen.maps:
            task.mappings = seen.mappings
        else:
            del self._seen[task.pid]

    def check(self, task: DumpTask, *, now: bool) -> None:
        """Compare with what they are, `now` or in the background; there must be no mapping of ours in the task."""
        if self._worker is None or task.pid not in self._seen:
            return
        if now:
            self._compare(task)
        else:
            self._queue.put(task)

    def verify(self) -> None:
        """Wait for that; ChangedMeanwhile where a mapping is not what it was taken for."""
        self._end()
        if self._wrong:
            raise ChangedMeanwhile(self._wrong[0])

    def _end(self) -> None:
        if self._worker is not None:
            self._queue.put(None)
            self._worker.join()
            self._worker = None

    def _serve(self) -> None:
        while (task := self._queue.get()) is not None:
            self._compare(task)

    def _compare(self, task: DumpTask) -> None:
        try:
            if _REST.findall(proc.read_text(task.pid, "smaps")) != self._seen[task.pid].rest:
                self._wrong.append(f"{task} changed its mappings right before the freeze")
        except OSError as error:
            self._wrong.append(f"the mappings of {task} cannot be read again ({error})")


def begin(context: DumpContext, *, trusted: bool = True) -> Foresight:
    """That of this dump; `trusted` counts at the first call."""
    return context.once("foresight", lambda: Foresight(context, trusted=trusted))
