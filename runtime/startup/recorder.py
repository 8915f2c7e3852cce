"""An interpreter is started, imports everything, is stopped, and becomes the program.

Its stack is moved before its first instruction: the kernel puts the stack of a new process at a random place at the
top of the address space, where it must not meet the old one.  The address of the vDSO, which is another one in each
process, is taken out of its auxiliary vector: the C library asks the kernel itself then.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
import time

from cr.kernel import mman, proc, ptrace, vm
from cr.kernel.numbers import NUMBERS
from cr.remote.foothold import find_system_call
from cr.remote.tracee import Tracee, wait_stop
from runtime.errors import ContainerError
from runtime.startup import entrance, executable
from runtime.startup.layout import CODE, SOCKET, STACK, STACK_SIZE, WORDS, fallback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_AT_NULL, _AT_IGNORE, _AT_SYSINFO_EHDR = 0, 1, 33
_ADDRESSES = frozenset({15, 24, 25, 31})  # AT_PLATFORM, AT_BASE_PLATFORM, AT_RANDOM, AT_EXECFN: they lie on the stack
_ARGUMENTS = ("-I", "-X", "utf8", "-m", "runtime.startup.recorded")
# No restartable sequences: the kernel would have to be told of them anew.
_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "GLIBC_TUNABLES": "glibc.pthread.rseq=0"}
_PATIENCE = 120  # seconds for all imports, on a slow machine without compiled modules


def record(fd: int) -> None:
    """Write the program into an empty file; ContainerError where this interpreter cannot be recorded."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        pid = _start(theirs.fileno())
        try:
            _move_stack(pid)
            theirs.close()
            _write(fd, pid, _await(ours))
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _start(control: int) -> int:
    """The interpreter, stopped before its first instruction and traced."""
    pid = os.fork()
    if pid == 0:
        try:
            null = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1):
                os.dup2(null, number)
            os.dup2(control, SOCKET)
            os.closerange(SOCKET + 1, 1 << 16)
            os.kill(os.getpid(), signal.SIGSTOP)
            os.execve(sys.executable, [sys.executable, *_ARGUMENTS], _ENVIRONMENT)
        finally:
            os._exit(127)
    os.waitpid(pid, os.WUNTRACED)
    Tracee.seize(pid, ptrace.O_TRACEEXEC | ptrace.O_EXITKILL)
    os.kill(pid, signal.SIGCONT)
    while (stop := wait_stop(pid)).event != ptrace.EVENT_EXEC:
        ptrace.ptrace(ptrace.CONT, pid, 0, 0 if stop.event or stop.signo == signal.SIGCONT else stop.signo)
    return pid


def _move_stack(pid: int) -> None:
    tracee = Tracee(pid)
    tracee.resume(ptrace.SYSCALL)
    tracee.expect_syscall_stop()  # the end of execve(2)
    tracee.load()
    flags = mman.MAP_PRIVATE | mman.MAP_ANONYMOUS | mman.MAP_FIXED_NOREPLACE
    words = STACK, STACK_SIZE, mman.PROT_READ | mman.PROT_WRITE, flags, -1, 0
    if tracee.system_call(_instruction(pid), NUMBERS["mmap"], *words) != STACK:
        raise ContainerError(f"no room for a stack at {STACK:#x}")
    old = next(mapping for mapping in proc.plain_mappings(pid) if mapping.path == "[stack]")
    start = tracee.registers.rsp
    moved = relocated(vm.read(pid, start, old.end - start), start, STACK + STACK_SIZE - old.end)
    tracee.registers.rsp += STACK + STACK_SIZE - old.end
    vm.write(pid, tracee.registers.rsp, moved)
    tracee.store()
    tracee.detach()


def _instruction(pid: int) -> int:
    for mapping in proc.plain_mappings(pid):
        if "x" in mapping.perms and mapping.path.startswith("/"):
            found = find_system_call(pid, mapping.start, mapping.end)
            if found is not None:
                return found
    raise ContainerError(f"{sys.executable} has no system call instruction")


def relocated(stack: bytes, start: int, distance: int) -> bytes:
    """What the kernel laid on a new stack (argc, argv, envp, auxv, texts) for a place `distance` bytes higher."""
    words = list(struct.unpack_from(f"<{len(stack) // 8}Q", stack))
    inside = range(start, start + len(stack))
    position = 1
    for _ in ("argv", "envp"):
        while words[position]:
            words[position] += distance
            position += 1
        position += 1
    while words[position] != _AT_NULL:
        if words[position] == _AT_SYSINFO_EHDR:
            words[position] = _AT_IGNORE
        elif words[position] in _ADDRESSES and words[position + 1] in inside:
            words[position + 1] += distance
        position += 2
    return struct.pack(f"<{len(words)}Q", *words) + stack[8 * len(words) :]


def _await(control: socket.socket) -> dict[str, Any]:
    """What the interpreter says when it is ready: addresses."""
    control.settimeout(_PATIENCE)
    try:
        text = control.recv(1 << 16)
    except TimeoutError as err:
        raise ContainerError(f"{sys.executable} did not import the project within {_PATIENCE} s") from err
    if not text:
        raise ContainerError(f"{sys.executable} could not import the project; its standard error says why")
    message: dict[str, Any] = json.loads(text)
    if message["threads"] > 1:
        raise ContainerError("a module that was imported has started a thread; a snapshot holds one only")
    return message


def _stop_asleep(pid: int) -> ptrace.Registers:
    """Stop it in read(2), and not on the way there: in another process the call must not be made."""
    tracee = Tracee.seize(pid, ptrace.O_EXITKILL)
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        tracee.interrupt()
        tracee.settle()
        if tracee.registers.orig_rax == NUMBERS["read"] and tracee.registers.rax >> 63:
            return tracee.registers
        tracee.resume()
        time.sleep(0.01)
    raise ContainerError(f"{sys.executable} does not wait where it should")


def _write(fd: int, pid: int, message: dict[str, Any]) -> None:
    registers = _stop_asleep(pid)
    kept = {name: getattr(registers, name) for name in ("rsp", "rbp", "rbx", "r12", "r13", "r14", "r15", "rip")}
    addresses = message["clear_child_tid"], message["robust_list"]
    thread = entrance.Thread(registers.fs_base, *addresses, **kept)
    vm.write(pid, message["curbrk"], bytes(8))  # the C library asks anew where the heap ends
    words = entrance.page(WORDS, thread, entrance.Processor.here(), *fallback())
    pages = [
        executable.Segment(CODE, CODE + executable.PAGE, 5, entrance.code(WORDS)),
        executable.Segment(WORDS, WORDS + executable.PAGE, 6, words),
    ]
    executable.write(fd, pid, executable.segments_of(pid) + pages, CODE)
