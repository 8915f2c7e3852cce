"""The context of a thread that was just frozen: led out of a restartable sequence, into a call that it was in."""

from __future__ import annotations

import errno
import struct

from cr.contract.dumping import DumpThread
from cr.kernel import proc, ptrace, vm
from cr.kernel.numbers import NUMBERS

_RSEQ_CS = struct.Struct("<IIQQQ")  # version, flags, start_ip, post_commit_offset, abort_ip

_AT_SYSINFO_EHDR = 33
_VDSO_SIZE = 0x4000  # no kernel's is larger

_ENDED_BY_ANY_STOP = frozenset(
    NUMBERS[name]
    for name in (
        *("epoll_wait", "epoll_pwait", "epoll_pwait2", "semop", "semtimedop", "io_getevents", "io_pgetevents"),
        *("rt_sigtimedwait", "recvfrom", "recvmsg", "accept", "accept4"),
    )
)
"""Calls that a mere stop makes fail with EINTR although no handler runs (signal(7)); they have done nothing then."""


def inside_vdso(registers: ptrace.Registers, pid: int) -> bool:
    """Whether a thread is in a function of the vDSO, which is no place to go on from on another kernel."""
    if not registers.orig_rax >> 63:
        return False  # in a system call
    vector = dict(struct.iter_unpack("<QQ", proc.read_bytes(pid, "auxv")))
    start = int(vector.get(_AT_SYSINFO_EHDR, 0))
    return bool(start) and 0 <= registers.rip - start < _VDSO_SIZE


def lead_out(thread: DumpThread) -> None:
    """Change the context so that the thread notices nothing of the freeze, not even if we are killed right after."""
    registers = thread.tracee.registers
    abort, ended = _abort_address(thread.tid, registers.rip), _ended_by_us(registers, thread.status)
    if abort:
        registers.rip = abort
    if ended:
        registers.rax = registers.orig_rax
        registers.rip -= 2
    if abort or ended:
        ptrace.set_registers(thread.tid, registers)


def _abort_address(tid: int, position: int) -> int:
    """Where a thread inside a restartable sequence goes on, as after any preemption (rseq(2)); 0: it is in none."""
    area = ptrace.rseq_configuration(tid)
    if not area.address:
        return 0
    (address,) = struct.unpack("<Q", vm.read(tid, area.address + 8, 8))
    if not address:
        return 0
    _, _, start, length, abort = _RSEQ_CS.unpack(vm.read(tid, address, _RSEQ_CS.size))
    return int(abort) if 0 <= position - start < length else 0


def _ended_by_us(registers: ptrace.Registers, status: dict[str, str]) -> bool:
    """Whether a call returned EINTR only because of the freeze: no handler is about to run."""
    if registers.orig_rax not in _ENDED_BY_ANY_STOP or registers.rax != (1 << 64) - errno.EINTR:
        return False
    pending = int(status["SigPnd"], 16) | int(status["ShdPnd"], 16)
    return not pending & ~int(status["SigBlk"], 16)
