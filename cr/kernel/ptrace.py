"""ptrace(2): requests, events, register sets.

The tracer is a thread: every call for a tracee comes from the thread that seized it.
"""

from __future__ import annotations

import ctypes
import errno
import struct

from cr.kernel.libc import syscall
from cr.values import dataclass

CONT = 7
SINGLESTEP = 9
DETACH = 17
SYSCALL = 24
SETOPTIONS = 0x4200
GETEVENTMSG = 0x4201
GETSIGINFO = 0x4202
GETREGSET = 0x4204
SETREGSET = 0x4205
SEIZE = 0x4206
INTERRUPT = 0x4207
LISTEN = 0x4208
PEEKSIGINFO = 0x4209
GETSIGMASK = 0x420A
SETSIGMASK = 0x420B
SECCOMP_GET_FILTER = 0x420C
SECCOMP_GET_METADATA = 0x420D
GET_SYSCALL_INFO = 0x420E
GET_RSEQ_CONFIGURATION = 0x420F
GET_SYSCALL_USER_DISPATCH_CONFIG = 0x4211

O_TRACESYSGOOD = 1
O_TRACEFORK = 1 << 1
O_TRACEVFORK = 1 << 2
O_TRACECLONE = 1 << 3
O_TRACEEXEC = 1 << 4
O_EXITKILL = 1 << 20
O_SUSPEND_SECCOMP = 1 << 21

EVENT_FORK = 1
EVENT_VFORK = 2
EVENT_CLONE = 3
EVENT_EXEC = 4
EVENT_STOP = 128

NT_PRSTATUS = 1
NT_X86_XSTATE = 0x202

PEEKSIGINFO_SHARED = 1
SIGINFO_SIZE = 128

_REGISTERS = (
    *("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi"),
    *("orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs"),
)


class Registers(ctypes.Structure):
    """struct user_regs_struct of x86-64: 27 words of 64 bits (arch/x86/include/asm/user_64.h)."""

    _fields_ = [(name, ctypes.c_uint64) for name in _REGISTERS]

    def copy(self) -> Registers:
        return Registers.from_buffer_copy(self)

    def __getattr__(self, name: str) -> int:  # for the type checker: fields are made above
        raise AttributeError(name)


class _Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]


def ptrace(request: int, tid: int, address: int = 0, data: object = 0) -> int:
    return syscall("ptrace", 101, request, tid, address, data)


def get_registers(tid: int) -> Registers:
    registers = Registers()
    vector = _Iovec(ctypes.addressof(registers), ctypes.sizeof(registers))
    ptrace(GETREGSET, tid, NT_PRSTATUS, ctypes.byref(vector))
    return registers


def set_registers(tid: int, registers: Registers) -> None:
    vector = _Iovec(ctypes.addressof(registers), ctypes.sizeof(registers))
    ptrace(SETREGSET, tid, NT_PRSTATUS, ctypes.byref(vector))


def get_xstate(tid: int) -> bytes:
    """The XSAVE area of a stopped task, as the kernel lays it out (Documentation/arch/x86/xstate.rst)."""
    area = ctypes.create_string_buffer(16384)
    vector = _Iovec(ctypes.addressof(area), 16384)
    ptrace(GETREGSET, tid, NT_X86_XSTATE, ctypes.byref(vector))
    return area.raw[: vector.size]


def set_xstate(tid: int, area: bytes) -> None:
    buffer = ctypes.create_string_buffer(area, len(area))
    vector = _Iovec(ctypes.addressof(buffer), len(area))
    ptrace(SETREGSET, tid, NT_X86_XSTATE, ctypes.byref(vector))


def get_sigmask(tid: int) -> int:
    mask = ctypes.c_uint64()
    ptrace(GETSIGMASK, tid, 8, ctypes.byref(mask))
    return mask.value


def set_sigmask(tid: int, mask: int) -> None:
    ptrace(SETSIGMASK, tid, 8, ctypes.byref(ctypes.c_uint64(mask)))


def pending_signals(tid: int, *, shared: bool) -> list[bytes]:
    """The queued siginfo records (128 bytes each) of a thread, or of its process where `shared`."""
    found: list[bytes] = []
    buffer = ctypes.create_string_buffer(SIGINFO_SIZE * 32)
    while True:
        args = struct.pack("<QIi", len(found), PEEKSIGINFO_SHARED if shared else 0, 32)
        count = syscall("ptrace", 101, PEEKSIGINFO, tid, ctypes.c_char_p(args), buffer)
        found += [buffer.raw[i * SIGINFO_SIZE : (i + 1) * SIGINFO_SIZE] for i in range(count)]
        if count < 32:
            return found


def event_message(tid: int) -> int:
    message = ctypes.c_ulong()
    ptrace(GETEVENTMSG, tid, 0, ctypes.byref(message))
    return message.value


@dataclass(frozen=True)
class RseqConfiguration:
    """Where and how a thread registered restartable sequences (rseq(2)); address 0: it did not."""

    address: int
    size: int
    signature: int


def rseq_configuration(tid: int) -> RseqConfiguration:
    buffer = ctypes.create_string_buffer(24)
    syscall("ptrace", 101, GET_RSEQ_CONFIGURATION, tid, 24, buffer)
    address, size, signature, _flags, _pad = struct.unpack("<QIIII", buffer.raw)
    return RseqConfiguration(address, size, signature)


def dispatches_system_calls(tid: int) -> bool:
    """Whether a thread gets its system calls as signals (prctl(2) PR_SET_SYSCALL_USER_DISPATCH).

    Kernels before 6.4 do not tell.
    """
    buffer = ctypes.create_string_buffer(32)
    try:
        syscall("ptrace", 101, GET_SYSCALL_USER_DISPATCH_CONFIG, tid, 32, buffer)
    except OSError as error:
        if error.errno in (errno.EIO, errno.EINVAL):
            return False
        raise
    return bool(struct.unpack_from("<Q", buffer.raw)[0])


def seccomp_filter(tid: int, index: int) -> bytes | None:
    """The classic BPF program of filter `index` (0: newest), or None where there is no such filter."""
    try:
        count = syscall("ptrace", 101, SECCOMP_GET_FILTER, tid, index, None)
    except FileNotFoundError:
        return None
    program = ctypes.create_string_buffer(count * 8)
    syscall("ptrace", 101, SECCOMP_GET_FILTER, tid, index, program)
    return program.raw


def seccomp_flags(tid: int, index: int) -> int:
    """Flags (SECCOMP_FILTER_FLAG_LOG, ...) that filter `index` was installed with."""
    buffer = ctypes.create_string_buffer(struct.pack("<QQ", index, 0), 16)
    syscall("ptrace", 101, SECCOMP_GET_METADATA, tid, 16, buffer)
    flags: int = struct.unpack("<QQ", buffer.raw)[1]
    return flags


GET_THREAD_AREA, SET_THREAD_AREA = 25, 26


def get_thread_area(tid: int, number: int) -> bytes | None:
    """struct user_desc (16 bytes) of a descriptor; None where the kernel cannot tell."""
    buffer = ctypes.create_string_buffer(16)
    try:
        syscall("ptrace", 101, GET_THREAD_AREA, tid, number, buffer)
    except OSError as error:
        if error.errno == errno.EIO:
            return None
        raise
    return buffer.raw


def set_thread_area(tid: int, number: int, record: bytes) -> None:
    syscall("ptrace", 101, SET_THREAD_AREA, tid, number, ctypes.create_string_buffer(record, 16))
