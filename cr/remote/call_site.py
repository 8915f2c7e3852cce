"""Where and how a single system call is made in a stopped thread that has no scratch memory (yet, or any more).

No byte of the task is there for us then.  So the thread is to find home by itself: a signal frame lies on
its stack, below everything that is in use, and the `syscall` instruction is one that returns, into the
code that ends a signal handler.  Whenever we are killed, the thread makes the call and returns to its
interrupted context.
"""

from __future__ import annotations

import struct

from cr.kernel import ptrace, vm
from cr.remote.signal_frame import UCONTEXT_SIZE, XSTATE_ALIGN, signal_xstate, ucontext
from cr.remote.tracee import Tracee
from cr.values import dataclass

RED_ZONE = 128
"""what x86-64 code may use below its stack pointer (System V ABI)"""
DATA_SIZE = 16
"""room for what an argument points to"""
DATA = -(1 << 40)
"""an argument: the address of `data`; no other number of a call's"""


@dataclass(frozen=True)
class CallSite:
    """`instruction` is the address of a `syscall` instruction of the task.

    With `restorer` (see cr.remote.gadgets; `instruction` is followed by a return then) and `stack`, the
    (start, end) of the main thread's stack, calls return home by themselves.  Without, the thread is lost
    if we are killed in the middle.
    """

    instruction: int
    restorer: int = 0
    stack: tuple[int, int] = (0, 0)

    def call(self, tracee: Tracee, number: int, *arguments: int, data: bytes = b"") -> int:
        """The raw result; registers and signal mask are as before, no byte of the task changes.

        Up to 16 bytes of `data` stand where an argument says DATA, as long as the call lasts; needs a `restorer`.
        """
        assert len(data) <= (DATA_SIZE if self.restorer else 0)
        home = _lay(tracee, self.restorer, self.stack, data) if self.restorer else None
        if home:
            place = home[0] + len(home[1]) - DATA_SIZE
            arguments = tuple(place if argument == DATA else argument for argument in arguments)
        try:
            result = tracee.system_call(self.instruction, number, *arguments, stack=home[0] if home else 0)
        finally:
            tracee.store()
        if home:
            vm.write(tracee.tid, *home)
        return result

    def has_room(self, tracee: Tracee) -> bool:
        """Whether the way home fits on the stack; ask before `call` where there is a `restorer`."""
        return _place(tracee, self.stack, len(ptrace.get_xstate(tracee.tid)) + 4) is not None


def _lay(tracee: Tracee, restorer: int, stack: tuple[int, int], data: bytes) -> tuple[int, bytes]:
    """Write the way home, and the data at its end; (its address, the bytes that were there).

    The thread may start on it at once.
    """
    xstate = signal_xstate(ptrace.get_xstate(tracee.tid))
    address = _place(tracee, stack, len(xstate))
    assert address is not None
    at = _xstate_address(address)
    frame = struct.pack("<Q", restorer) + ucontext(tracee.registers, tracee.sigmask, at)
    frame = frame.ljust(at - address, b"\0") + xstate + data.ljust(DATA_SIZE, b"\0")
    before = vm.read(tracee.tid, address, len(frame))
    vm.write(tracee.tid, address, frame)
    return address, before


def _xstate_address(address: int) -> int:
    return -(-(address + 8 + UCONTEXT_SIZE) // XSTATE_ALIGN) * XSTATE_ALIGN


def _place(tracee: Tracee, stack: tuple[int, int], size: int) -> int | None:
    """Where the way home goes: below what the thread uses of its stack; None where there is no room.

    A thread that is elsewhere (a coroutine's stack, which may be tiny, or an alternate one) gets it at the far
    end of the main stack, which the kernel makes larger than nearly all programs need.
    """
    start, end = stack
    size += 8 + UCONTEXT_SIZE + XSTATE_ALIGN + DATA_SIZE
    rsp = tracee.registers.rsp
    address = (rsp - RED_ZONE - size) & -16 if start <= rsp < end else start
    return address if start <= address and address + size <= end else None
