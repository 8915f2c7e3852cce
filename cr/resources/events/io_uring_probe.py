"""What only the tasks themselves are told of their io_uring rings, and what no ring can be restored with."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from cr.contract.resource import ThreadResource
from cr.kernel import io_uring as kernel

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpThread
    from cr.contract.restoring import RestoreContext, RestoreThread
    from cr.remote.program import Program, Result
    from images import messages as m

_GROUPS = 256
"""provided buffer groups are looked for up to this number"""
_REGISTERED_RINGS = 16
_FIXED = {
    errno.EBADFD: "is an io_uring that is not enabled yet (IORING_SETUP_R_DISABLED): enable it",
    errno.EACCES: "is an io_uring with restrictions (IORING_REGISTER_RESTRICTIONS), which cannot be read out",
    errno.EBUSY: "is an io_uring that reports to an eventfd (IORING_REGISTER_EVENTFD): unregister that",
}


class IoUringSecrets(ThreadResource):
    """Asked with calls that change nothing; of a ring with a single issuer only that thread gets an answer."""

    def ask(self, program: Program, thread: DumpThread, context: DumpContext) -> None:
        self._questions: list[tuple[int, list[Result]]] = []
        self._registered: list[Result] = []
        for fd in holders(context).get(thread.task.pid, ()):
            answers = [program.call("io_uring_enter", fd, 0, 0, 0, 0, 0, may_fail=True)]
            answers.append(program.call("io_uring_register", fd, kernel.REGISTER_EVENTFD, 0, 1, may_fail=True))
            for group in range(_GROUPS):
                question = program.data(struct.pack("<I36x", group))
                call = program.call("io_uring_register", fd, kernel.REGISTER_PBUF_STATUS, question, 1, may_fail=True)
                answers.append(call)
            self._questions.append((fd, answers))
        if self._questions:
            for index in range(_REGISTERED_RINGS):
                call = program.call("io_uring_enter", index, 0, 0, kernel.ENTER_REGISTERED_RING, 0, 0, may_fail=True)
                self._registered.append(call)

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        for fd, (entered, event, *groups) in self._questions:
            reasons = [_FIXED[-answer.value] for answer in (entered, event) if -answer.value in _FIXED]
            if any(group.value == 0 for group in groups):
                reasons.append(
                    "is an io_uring with buffers to choose from (IORING_REGISTER_PBUF_RING): unregister them"
                )
            for reason in reasons:
                context.refuse(f"fd {fd} of {thread.task} {reason}")
        if any(answer.value >= 0 for answer in self._registered):
            context.refuse(
                f"thread {thread.tid} of {thread.task} has registered the descriptor of an io_uring "
                "(IORING_REGISTER_RING_FDS): unregister it"
            )

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        """Whatever is asked for here is refused."""


def holders(context: DumpContext) -> dict[int, list[int]]:
    """pid -> its descriptors of rings, once all descriptor tables are known."""
    return context.once("io_uring holders", dict)
