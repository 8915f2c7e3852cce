"""A scratch mapping inside a task's address space, in which syscall programs run.

In a dumped task the mapping is made by one system call through code of the task (see cr.remote.call_site),
and unmapped the same way: no byte of the task changes.  Were the engine killed in the middle, a program still
ends by itself and returns to the interrupted context by the signal frame that stands ready.
"""

from __future__ import annotations

import os
import signal

from cr.kernel import mman, ptrace, vm
from cr.kernel.numbers import NUMBERS
from cr.remote.call_site import CallSite
from cr.remote.machine import CODE, DONE_OFFSET, FORK, RECORD_SIZE, RETURN_OFFSET, SYSCALL_INSTRUCTION, SYSCALL_OFFSET
from cr.remote.program import Program
from cr.remote.signal_frame import signal_xstate, ucontext
from cr.remote.tracee import Tracee, wait_stop
from cr.values import dataclass

FRAME_OFFSET = 0x3000  # struct ucontext; the room below serves as stack for a signal handler
XSTATE_OFFSET = 0x3400
PROGRAM_OFFSET = 0x8000
DUMP_SIZE = 0x20000
DEFAULT_IGNORED = (signal.SIGURG, signal.SIGWINCH, signal.SIGCHLD)

_PROT_ALL = mman.PROT_READ | mman.PROT_WRITE | mman.PROT_EXEC


@dataclass(frozen=True)
class Identity:
    """A thread as it knows itself: ids in its own pid namespace, and the signal that says "done"."""

    tgid: int
    tid: int
    notify: int = signal.SIGURG


@dataclass
class Foothold:
    """The scratch mapping of one address space: its address and size."""

    address: int
    size: int

    @classmethod
    def make(cls, tracee: Tracee, site: CallSite, *, address: int = 0, size: int = DUMP_SIZE) -> Foothold:
        """Map it, at `address` where given."""
        flags = mman.MAP_PRIVATE | mman.MAP_ANONYMOUS | (mman.MAP_FIXED_NOREPLACE if address else 0)
        found = site.call(tracee, NUMBERS["mmap"], address, size, _PROT_ALL, flags, -1, 0)
        if found < 0:
            raise OSError(-found, f"cannot map {size} bytes of scratch memory in task {tracee.tid}")
        vm.write(tracee.tid, found, CODE)
        return cls(found, size)

    def remove(self, tracee: Tracee, site: CallSite) -> None:
        """Unmap it."""
        result = site.call(tracee, NUMBERS["munmap"], self.address, self.size)
        if result < 0:
            raise OSError(-result, f"cannot unmap the scratch memory of task {tracee.tid}")

    @property
    def instruction(self) -> int:
        """A `syscall` instruction of our own, inside the mapping."""
        return self.address + SYSCALL_OFFSET

    def run(self, tracee: Tracee, who: Identity, program: Program) -> None:
        """Run the program in a stopped thread of this address space; ProgramError where a call fails."""
        self.start(tracee, who, program)
        self.finish(tracee, program)

    def start(self, tracee: Tracee, who: Identity, program: Program, request: int = ptrace.CONT) -> None:
        """Set it going; `request` SYSCALL lets it stop at each call."""
        base = self.address + PROGRAM_OFFSET
        if program.size > self.size - PROGRAM_OFFSET:
            raise MemoryError(f"a program of {program.size} bytes is too large for {self.size} bytes of scratch")
        vm.write(tracee.tid, base, program.assemble(base))
        registers = tracee.registers.copy()
        registers.rsp = self.address + FRAME_OFFSET
        registers.rip = self.address + RETURN_OFFSET  # on the way home, before signals are blocked
        registers.orig_rax = (1 << 64) - 1
        ptrace.set_registers(tracee.tid, registers)
        tracee.block_signals(but=who.notify)
        registers.rbx = base
        registers.r12 = base + len(program.calls) * RECORD_SIZE
        registers.r14, registers.r15, registers.rbp = who.tgid, who.tid, who.notify
        registers.rip = self.address
        ptrace.set_registers(tracee.tid, registers)
        tracee.resume(request)

    def fork(self, tracee: Tracee, flags: int, options: int) -> int:
        """clone(2) with a copy of the address space: the new process' tid as we see it; it is traced and stands still.

        Lay the way home before; the registers are to be stored afterwards.  `options` are the tracee's own.  The new
        process has inherited them, with O_TRACECLONE: it ends by itself if we end before it gets better ones.
        """
        address = self.address + PROGRAM_OFFSET
        vm.write(tracee.tid, address, FORK)
        tracee.options(options | ptrace.O_TRACECLONE)
        try:
            stack = self.address + FRAME_OFFSET
            result = tracee.system_call(address, NUMBERS["clone"], flags, 0, 0, 0, 0, stack=stack)
        finally:
            tracee.options(options)
        if result < 0:
            raise OSError(-result, f"task {tracee.tid} cannot be forked: {os.strerror(-result)}")
        return tracee.born.pop()

    def finish(self, tracee: Tracee, program: Program) -> None:
        """Wait for the program's end; its results are in the program afterwards."""
        done = range(self.address + DONE_OFFSET, self.address + len(CODE))
        while (stop := wait_stop(tracee.tid)).event or ptrace.get_registers(tracee.tid).rip not in done:
            tracee.pass_by(stop)
            tracee.resume()
        registers = ptrace.get_registers(tracee.tid)
        base = self.address + PROGRAM_OFFSET
        memory = vm.read(tracee.tid, base, program.size)
        program.absorb(memory, (registers.rbx - base) // RECORD_SIZE, f"task {tracee.tid}")

    def lay_way_home(self, tracee: Tracee) -> None:
        """Write the signal frame by which the thread returns to where it was, without any tracer."""
        area = ptrace.get_xstate(tracee.tid)
        vm.write(tracee.tid, self.address + XSTATE_OFFSET, signal_xstate(area))
        frame = ucontext(tracee.registers, tracee.sigmask, self.address + XSTATE_OFFSET)
        vm.write(tracee.tid, self.address + FRAME_OFFSET, frame)


def find_system_call(pid: int, start: int, end: int) -> int | None:
    """Address of a `syscall` instruction in an executable mapping (the vDSO has one)."""
    position = vm.read(pid, start, end - start).find(SYSCALL_INSTRUCTION)
    return None if position < 0 else start + position
