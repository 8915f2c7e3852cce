"""A thread under our ptrace: seized, stopped, read, written, let go."""

from __future__ import annotations

import os
import signal
import time

from cr.kernel import ptrace
from cr.values import dataclass, field

WALL = 0x40000000
STOP_SIGNALS = frozenset({signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})


_BIRTHS = frozenset({ptrace.EVENT_FORK, ptrace.EVENT_VFORK, ptrace.EVENT_CLONE})


class TaskGone(ProcessLookupError):
    """The task ended while we held it."""


@dataclass(frozen=True)
class Stop:
    """Why a tracee stopped: the signal, and the PTRACE_EVENT_* number (0: a signal is being delivered)."""

    signo: int
    event: int


def wait_stop(tid: int, deadline: float = float("inf")) -> Stop:
    """Wait for the next stop of a tracee."""
    status = _wait(tid) if deadline == float("inf") else _wait_until(tid, deadline)
    if not os.WIFSTOPPED(status):
        raise TaskGone(3, f"task {tid} ended while it was held (status {status:#x})")
    return Stop(os.WSTOPSIG(status), status >> 16)


def _wait(tid: int) -> int:
    return os.waitpid(tid, WALL)[1]


def _wait_until(tid: int, deadline: float) -> int:
    """waitpid(2) has no timeout: look, look away for longer and longer."""
    pause = 0.0
    while True:
        found, status = os.waitpid(tid, WALL | os.WNOHANG)
        if found:
            return status
        if time.monotonic() > deadline:
            raise TimeoutError(f"task {tid} does not stop")
        time.sleep(pause)
        pause = min(pause + 0.00002, 0.002)


@dataclass
class Tracee:
    """One seized thread.  `stopped_by` is its job-control stop signal, 0 where it was running."""

    tid: int
    stopped_by: int = 0
    registers: ptrace.Registers = field(default_factory=ptrace.Registers)
    sigmask: int = 0
    held_back: list[int] = field(default_factory=list)
    born: list[int] = field(default_factory=list)
    """tids, as we see them, of the tasks it created under our eyes"""

    @classmethod
    def seize(cls, tid: int, options: int = 0) -> Tracee:
        ptrace.ptrace(ptrace.SEIZE, tid, 0, options)
        return cls(tid)

    def interrupt(self) -> None:
        ptrace.ptrace(ptrace.INTERRUPT, self.tid)

    def settle(self, deadline: float = float("inf")) -> None:
        """After `interrupt`: wait until the thread stands still; signals on their way are delivered first.

        TimeoutError where it does not come to a stop until `deadline` (of time.monotonic).
        """
        while True:
            stop = wait_stop(self.tid, deadline)
            if stop.event == ptrace.EVENT_STOP:
                self.stopped_by = stop.signo if stop.signo in STOP_SIGNALS else 0
                break
            ptrace.ptrace(ptrace.CONT, self.tid, 0, 0 if stop.event else stop.signo)
        self.load()

    def load(self) -> None:
        """Remember the context to come back to."""
        self.registers = ptrace.get_registers(self.tid)
        self.sigmask = ptrace.get_sigmask(self.tid)

    def store(self) -> None:
        """Put the remembered context back; the mask first, while foreign code still finds home by itself."""
        ptrace.set_sigmask(self.tid, self.sigmask)
        ptrace.set_registers(self.tid, self.registers)

    def options(self, options: int) -> None:
        ptrace.ptrace(ptrace.SETOPTIONS, self.tid, 0, options)

    def block_signals(self, *, but: int = 0) -> None:
        """Nothing is delivered while foreign code runs; what arrives stays pending for the task."""
        allowed = 1 << (but - 1) if but else 0
        ptrace.set_sigmask(self.tid, ((1 << 64) - 1) & ~allowed)

    def detach(self) -> None:
        """Let the thread go on; a stop signal that came while foreign code ran is sent again."""
        for signo in self.held_back:
            os.kill(self.tid, signo)
        ptrace.ptrace(ptrace.DETACH, self.tid)

    def system_call(self, instruction: int, number: int, *arguments: int, stack: int = 0) -> int:
        """Run one system call with the `syscall` instruction at address `instruction`; its raw result.

        `stack` is the stack pointer for it, where not the thread's own.  Changes no byte of the task;
        registers and signal mask are put back by `store`.
        """
        registers = self.registers.copy()
        words = [*arguments, 0, 0, 0, 0, 0, 0]
        for name, word in zip(("rdi", "rsi", "rdx", "r10", "r8", "r9"), words, strict=False):
            setattr(registers, name, word & ((1 << 64) - 1))
        registers.rax = number
        registers.rip = instruction
        registers.rsp = stack or registers.rsp
        registers.orig_rax = (1 << 64) - 1
        ptrace.set_registers(self.tid, registers)
        self.block_signals()  # from here on the thread finds home, where it can at all
        for _ in ("entry", "exit"):
            self.resume(ptrace.SYSCALL)
            self.expect_syscall_stop()
        result = int(ptrace.get_registers(self.tid).rax)
        return result - (1 << 64) if result >> 63 else result

    def resume(self, request: int = ptrace.CONT) -> None:
        ptrace.ptrace(request, self.tid)

    def expect_syscall_stop(self) -> None:
        """After `resume(SYSCALL)`: wait until the thread enters or leaves a system call."""
        while (stop := wait_stop(self.tid)).event or stop.signo & ~0x80 != signal.SIGTRAP:
            self.pass_by(stop)
            self.resume(ptrace.SYSCALL)

    def pass_by(self, stop: Stop) -> None:
        """A stop on the way: note a new task's birth; SIGSTOP cannot be blocked, it is sent again at the end."""
        if stop.event in _BIRTHS:
            self.born.append(ptrace.event_message(self.tid))
        elif not stop.event:
            self.held_back.append(stop.signo)
