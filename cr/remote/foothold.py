"""A scratch mapping inside a task's address space, in which syscall programs run.

In a dumped task the mapping is made by one system call through the task's own vDSO, and unmapped the
same way: no byte of the task changes.  Were the engine killed in the middle, a program still ends by
itself and returns to the interrupted context by the signal frame that stands ready.
"""

from __future__ import annotations

import signal
import struct

from cr.kernel import mman, ptrace, vm
from cr.kernel.numbers import NUMBERS
from cr.remote.machine import CODE, DONE_OFFSET, RECORD_SIZE, SYSCALL_INSTRUCTION, SYSCALL_OFFSET
from cr.remote.program import Program
from cr.remote.tracee import Tracee, wait_stop
from cr.values import dataclass

FRAME_OFFSET = 0x3000  # struct ucontext; the room below serves as stack for a signal handler
XSTATE_OFFSET = 0x3400
PROGRAM_OFFSET = 0x8000
DUMP_SIZE = 0x20000
DEFAULT_IGNORED = (signal.SIGURG, signal.SIGWINCH, signal.SIGCHLD)

_PROT_ALL = mman.PROT_READ | mman.PROT_WRITE | mman.PROT_EXEC
_FP_XSTATE_MAGIC1 = 0x46505853
_FP_XSTATE_MAGIC2 = 0x46505845
_UC_FP_XSTATE, _UC_SIGCONTEXT_SS = 1, 2
_RESTART_ERRORS = range(-516, -511)


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
    def make(cls, tracee: Tracee, instruction: int, *, address: int = 0, size: int = DUMP_SIZE) -> Foothold:
        """Map it, at `address` where given; `instruction` is where the task has a `syscall` instruction."""
        tracee.block_signals()
        flags = mman.MAP_PRIVATE | mman.MAP_ANONYMOUS | (mman.MAP_FIXED_NOREPLACE if address else 0)
        found = tracee.system_call(instruction, NUMBERS["mmap"], address, size, _PROT_ALL, flags, -1, 0)
        tracee.store()  # at once: until then the task could not go on without us
        if found < 0:
            raise OSError(-found, f"cannot map {size} bytes of scratch memory in task {tracee.tid}")
        vm.write(tracee.tid, found, CODE)
        return cls(found, size)

    def remove(self, tracee: Tracee, instruction: int) -> None:
        tracee.block_signals()
        tracee.system_call(instruction, NUMBERS["munmap"], self.address, self.size)

    @property
    def instruction(self) -> int:
        """A `syscall` instruction of our own, inside the mapping."""
        return self.address + SYSCALL_OFFSET

    def run(self, tracee: Tracee, who: Identity, program: Program) -> None:
        """Run the program in a stopped thread of this address space; ProgramError where a call fails."""
        self.start(tracee, who, program)
        self.finish(tracee, program)

    def start(self, tracee: Tracee, who: Identity, program: Program) -> None:
        base = self.address + PROGRAM_OFFSET
        if program.size > self.size - PROGRAM_OFFSET:
            raise MemoryError(f"a program of {program.size} bytes is too large for {self.size} bytes of scratch")
        vm.write(tracee.tid, base, program.assemble(base))
        registers = tracee.registers.copy()
        registers.rbx = base
        registers.r12 = base + len(program.calls) * RECORD_SIZE
        registers.r14, registers.r15, registers.rbp = who.tgid, who.tid, who.notify
        registers.rsp = self.address + FRAME_OFFSET
        registers.rip = self.address
        registers.orig_rax = (1 << 64) - 1
        ptrace.set_registers(tracee.tid, registers)
        tracee.block_signals(but=who.notify)
        tracee.resume()

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
        vm.write(tracee.tid, self.address + XSTATE_OFFSET, _signal_xstate(area))
        frame = _ucontext(tracee.registers, tracee.sigmask, self.address + XSTATE_OFFSET)
        vm.write(tracee.tid, self.address + FRAME_OFFSET, frame)


def _signal_xstate(area: bytes) -> bytes:
    """The register set as a signal frame carries it (struct _fpx_sw_bytes at 464, a magic at the end)."""
    features = struct.unpack_from("<Q", area, 464)[0]
    software = struct.pack("<IIQI", _FP_XSTATE_MAGIC1, len(area) + 4, features, len(area)).ljust(48, b"\0")
    return area[:464] + software + area[512:] + struct.pack("<I", _FP_XSTATE_MAGIC2)


def _ucontext(registers: ptrace.Registers, sigmask: int, xstate: int) -> bytes:
    """struct ucontext of x86-64 (arch/x86/include/uapi/asm/sigcontext.h); the system call is restarted."""
    rax, rip = registers.rax, registers.rip
    signed = rax - (1 << 64) if rax >> 63 else rax
    if registers.orig_rax >> 63 == 0 and signed in _RESTART_ERRORS:
        rax, rip = registers.orig_rax, rip - 2
    r = registers
    head = struct.pack("<QQQIIQ", _UC_FP_XSTATE | _UC_SIGCONTEXT_SS, 0, 0, 0x7F00, 0, 0)  # stack flags: leave it
    general: tuple[int, ...] = (r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15)
    general += (r.rdi, r.rsi, r.rbp, r.rbx, r.rdx, rax, r.rcx, r.rsp, rip, r.eflags)
    segments = struct.pack("<4H", r.cs & 0xFFFF, 0, 0, r.ss & 0xFFFF)
    tail = struct.pack("<4QQ8Q", 0, 0, 0, 0, xstate, *(0,) * 8)
    return head + struct.pack("<18Q", *general) + segments + tail + struct.pack("<Q", sigmask)


def find_system_call(pid: int, start: int, end: int) -> int | None:
    """Address of a `syscall` instruction in an executable mapping (the vDSO has one)."""
    position = vm.read(pid, start, end - start).find(SYSCALL_INSTRUCTION)
    return None if position < 0 else start + position
