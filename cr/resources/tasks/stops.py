"""What a parent knows of children that are stopped (waitpid(2) with WUNTRACED)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cr.contract.dumping import pid_seen_by
from cr.contract.resource import ProcessResource
from cr.resources.tasks.own_settings import own_entry

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask, DumpThread
    from cr.contract.restoring import RestoreContext, RestoreThread
    from cr.remote.program import Data, Program
    from images import messages as m

_P_PID = 1
_WNOHANG, _WSTOPPED, _WNOWAIT = 1, 2, 0x01000000
_SIGINFO_SIZE = 128


class StopNews(ProcessResource):
    """Whether the stop of each child still waits to be reported; noted with the child."""

    def ask(self, program: Program, thread: DumpThread, context: DumpContext) -> None:
        self._asked: list[tuple[DumpTask, Data]] = []
        for task in context.live_tasks:
            if task.parent is thread.task and task.leader.tracee.stopped_by:
                news = program.buffer(_SIGINFO_SIZE)
                options = _WSTOPPED | _WNOHANG | _WNOWAIT
                program.call("waitid", _P_PID, pid_seen_by(thread, task), news, options, 0, may_fail=True)
                self._asked.append((task, news))

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        for task, news in self._asked:
            if not any(news.bytes):
                own_entry(task.leader, context).stop_was_reported = True

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        """When all else is done, see cr.restore.deaths."""
