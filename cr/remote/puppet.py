"""Puppets: empty processes that system calls from outside turn into the tasks of an image.

The first one, the seed, is a few hundred bytes of ELF in a memfd; all others are its descendants.
"""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import Callable

from cr.kernel import ptrace
from cr.remote.machine import IDLE, IDLE_SYSCALL_OFFSET
from cr.remote.tracee import WALL, TaskGone, Tracee

LOAD_ADDRESS = 0x400000
_HEADER_SIZE = 64 + 56
SEED_INSTRUCTION = LOAD_ADDRESS + _HEADER_SIZE + IDLE_SYSCALL_OFFSET
"""Where the seed has a `syscall` instruction."""
SURVIVING = ptrace.O_TRACESYSGOOD | ptrace.O_TRACECLONE | ptrace.O_TRACEFORK | ptrace.O_TRACEVFORK
OPTIONS = SURVIVING | ptrace.O_EXITKILL


def elf(code: bytes = IDLE) -> bytes:
    """A static executable, by default one that only waits (ELF-64, one loadable segment of read-only code)."""
    entry = LOAD_ADDRESS + _HEADER_SIZE
    size = _HEADER_SIZE + len(code)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, LOAD_ADDRESS, LOAD_ADDRESS, size, size, 0x1000)
    return header + segment + code


def spawn_seed(control: int, *, options: int = OPTIONS, birth: Callable[[], int] | None = None) -> Tracee:
    """Start the seed, a child of ours, seized and standing still; it has `control` as descriptor 0 only.

    `control` has another end, which we hold and nobody who outlives us: a seed that is not traced yet ends with that.
    From then on, with O_EXITKILL in `options`, no puppet outlives us.  Another `birth` forks differently (fork_sibling:
    a child of our parent, which will have to reap it).
    """
    memory = os.memfd_create("woodfrog-seed", os.MFD_CLOEXEC)
    try:
        os.write(memory, elf())
        program = f"/proc/self/fd/{memory}"
        pid = _spawn_by(birth, program, control) if birth else _spawn(program, control)
    finally:
        os.close(memory)
    try:
        return _seized(pid, options)
    except TaskGone:
        raise
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        while birth is None and os.WIFSTOPPED(os.waitpid(pid, WALL)[1]):
            pass  # a stop that came before the end
        raise


def _seized(pid: int, options: int) -> Tracee:
    tracee = Tracee.seize(pid, options)
    tracee.interrupt()
    tracee.settle()
    return tracee


def _spawn(program: str, control: int) -> int:
    actions = [(os.POSIX_SPAWN_DUP2, control, 0), (os.POSIX_SPAWN_CLOSE, 1), (os.POSIX_SPAWN_CLOSE, 2)]
    return os.posix_spawn(program, ["woodfrog-seed"], {}, file_actions=actions, setsigdef=signal.valid_signals())


def _spawn_by(birth: Callable[[], int], program: str, control: int) -> int:
    """A fork of another kind, exec; comes back when the exec is done."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        pid = birth()
    except OSError:
        os.close(reading)
        os.close(writing)
        raise
    if pid == 0:
        try:
            os.dup2(control, 0)
            os.execve(program, ["woodfrog-seed"], {})
        finally:
            os._exit(127)
    os.close(writing)
    os.read(reading, 1)  # its end of the pipe is closed by the exec
    os.close(reading)
    return pid


def adopt(tid: int) -> Tracee:
    """Take over a task that a puppet has just created: it is seized already and comes to its first stop."""
    tracee = Tracee(tid)
    tracee.settle()
    return tracee
