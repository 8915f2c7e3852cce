"""System calls that the freeze interrupted.

Most are simply made again: the image holds the context in front of the `syscall` instruction.  A relative
sleep would then start from the beginning; where the program has asked for the remaining time, the kernel has
told it at the interruption, and the restored thread is sent to sleep for just that long.  What poll(2) and futex(2)
have left is known from when the thread last ran (cr.resources.tasks.timed_waits).
"""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING

from cr.contract.resource import Stage, ThreadResource
from cr.kernel import ptrace, vm
from cr.kernel.numbers import NUMBERS
from cr.remote.program import Program
from cr.remote.tracee import wait_stop
from cr.resources.tasks.own_settings import own_entry, restored_entry
from cr.resources.tasks.timed_waits import waited

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpThread
    from cr.contract.restoring import RestoreContext, RestoreThread
    from images import messages as m

ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK = 512, 513, 514, 516
_RESTARTED = {ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK}
_WORD = 1 << 64
_CLOCK_REALTIME, _CLOCK_MONOTONIC = 0, 1
_TIMESPEC = struct.Struct("<qq")
_CLOCKS = 16
_FUTEX_COMMAND = 0x7F
_LONGEST_GAP = 24  # bytes between the instruction that loads the number and the `syscall`


def is_interrupted(registers: ptrace.Registers) -> bool:
    """Whether a system call waits to be made again."""
    return not registers.orig_rax >> 63 and _WORD - registers.rax in _RESTARTED


def rewound(registers: ptrace.Registers, tid: int) -> ptrace.Registers:
    """The context with an interrupted system call about to be made again."""
    result = registers.copy()
    if is_interrupted(registers):
        result.rax = result.orig_rax = call_number(registers, tid)
        result.rip = registers.rip - 2
    return result


def call_number(registers: ptrace.Registers, tid: int) -> int:
    """The number of the interrupted call; one that was restarted before shows as restart_syscall(2)."""
    if registers.orig_rax != NUMBERS["restart_syscall"]:
        return int(registers.orig_rax)
    start = registers.rip - 2 - _LONGEST_GAP
    return loaded_number(vm.read(tid, start, _LONGEST_GAP)) or guessed_number(registers)


def loaded_number(code: bytes) -> int:
    """The number in the last `mov eax, N` of some machine code, if N is a call that can be restarted; else 0."""
    for position in range(len(code) - 5, -1, -1):
        if code[position] == 0xB8:
            number = int.from_bytes(code[position + 1 : position + 5], "little")
            if number in (NUMBERS["poll"], NUMBERS["nanosleep"], NUMBERS["futex"], NUMBERS["clock_nanosleep"]):
                return number
    return 0


def guessed_number(registers: ptrace.Registers) -> int:
    """Which of the restartable calls these arguments fit."""
    if registers.rdi < _CLOCKS:
        return NUMBERS["clock_nanosleep"]
    if registers.rsi & _FUTEX_COMMAND == 0 and registers.rsi <= 0x100 and registers.r10:
        return NUMBERS["futex"]
    if 0 < registers.rsi < 1 << 20:
        return NUMBERS["poll"]
    return NUMBERS["nanosleep"]


class Sleep(ThreadResource):
    """nanosleep(2), clock_nanosleep(2), poll(2) and futex(2) for a while."""

    stage = Stage.SEALED
    order = 100

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        registers = thread.tracee.registers
        if not is_interrupted(registers) or _WORD - registers.rax != ERESTART_RESTARTBLOCK:
            return
        number = call_number(registers, thread.tid)
        if number == NUMBERS["nanosleep"]:
            _record_sleep(thread, _CLOCK_REALTIME, registers.rsi, context)
        elif number == NUMBERS["clock_nanosleep"]:
            _record_sleep(thread, registers.rdi, registers.r10, context)
        elif number in (NUMBERS["poll"], NUMBERS["futex"]):
            _record_wait(thread, number, context)

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        entry = restored_entry(thread, context)
        if entry is not None and entry.HasField("sleep"):
            context.at_end.append(lambda: _sleep_on(thread, entry.sleep, context))


def _record_sleep(thread: DumpThread, clock: int, address: int, context: DumpContext) -> None:
    """The kernel has written down what is left."""
    if address:
        entry = own_entry(thread, context).sleep
        entry.clock, entry.remainder_address = clock & 0xFFFFFFFF, address
        entry.remaining = _nanoseconds(thread.tid, address)


def _record_wait(thread: DumpThread, number: int, context: DumpContext) -> None:
    """The timeout without what the thread has waited already, where that is known."""
    registers, spent = thread.tracee.registers, waited(thread, context)
    if not spent:
        return
    if number == NUMBERS["poll"]:
        timeout = (registers.rdx & 0xFFFFFFFF) * 1_000_000
    else:
        timeout = _nanoseconds(thread.tid, registers.r10)
    entry = own_entry(thread, context).sleep
    entry.call, entry.clock, entry.remainder_address = number, _CLOCK_MONOTONIC, 0
    entry.remaining = max(0, timeout - spent)


def _nanoseconds(tid: int, address: int) -> int:
    seconds, nanoseconds = _TIMESPEC.unpack(vm.read(tid, address, _TIMESPEC.size))
    return int(seconds * 1_000_000_000 + nanoseconds)


def _sleep_on(thread: RestoreThread, entry: m.woodfrog_sleep_entry, context: RestoreContext) -> None:
    """Begin the sleep in the puppet and interrupt it: the kernel keeps the time of its end, as it did before."""
    program = _call_for_the_rest(thread, entry)
    puppet, home = thread.puppet, thread.puppet.registers.copy()
    context.foothold.start(puppet, thread.identity, program)
    while True:
        time.sleep(0.0001)  # let it fall asleep
        puppet.interrupt()
        stop = wait_stop(puppet.tid)
        now = ptrace.get_registers(puppet.tid)
        if not stop.event:
            return  # nothing was left to sleep: the call is made again, and ends at once
        if is_interrupted(now):
            break
        puppet.resume()
    home.rip += 2
    home.orig_rax, home.rax = now.orig_rax, now.rax
    puppet.registers = home


def _call_for_the_rest(thread: RestoreThread, entry: m.woodfrog_sleep_entry) -> Program:
    """The call that the thread was in, with the time that it had left."""
    program = Program()
    was = thread.core.thread_info.gpregs
    if entry.call == NUMBERS["poll"]:
        program.call("poll", was.di, was.si, -(-entry.remaining // 1_000_000))
        return program
    span = program.data(_TIMESPEC.pack(*divmod(entry.remaining, 1_000_000_000)))
    if entry.call == NUMBERS["futex"]:
        program.call("futex", was.di, was.si, was.dx, span, was.r8, was.r9)
    else:
        clock = entry.clock - (entry.clock >> 31 << 32)
        program.call("clock_nanosleep", clock, 0, span, entry.remainder_address)
    return program
