"""What rt_sigreturn(2) takes a thread back by: its whole context as a signal frame of x86-64."""

from __future__ import annotations

import struct

from cr.kernel import ptrace

UCONTEXT_SIZE = 304
XSTATE_ALIGN = 64

_FP_XSTATE_MAGIC1 = 0x46505853
_FP_XSTATE_MAGIC2 = 0x46505845
_UC_FP_XSTATE, _UC_SIGCONTEXT_SS = 1, 2
_RESTART_ERRORS = range(-516, -511)


def signal_xstate(area: bytes) -> bytes:
    """The register set as a signal frame carries it (struct _fpx_sw_bytes at 464, a magic at the end)."""
    features = struct.unpack_from("<Q", area, 464)[0]
    software = struct.pack("<IIQI", _FP_XSTATE_MAGIC1, len(area) + 4, features, len(area)).ljust(48, b"\0")
    return area[:464] + software + area[512:] + struct.pack("<I", _FP_XSTATE_MAGIC2)


def ucontext(registers: ptrace.Registers, sigmask: int, xstate: int) -> bytes:
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
    frame = head + struct.pack("<18Q", *general) + segments + tail + struct.pack("<Q", sigmask)
    return frame.ljust(UCONTEXT_SIZE, b"\0")
