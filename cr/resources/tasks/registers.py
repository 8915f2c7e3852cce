"""General and floating-point registers of a thread (x86-64)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from cr.contract.resource import ThreadResource
from cr.kernel import ptrace
from cr.kernel.cpuid import xsave_component
from cr.resources.tasks.interrupted_calls import rewound

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpThread
    from cr.contract.restoring import RestoreContext, RestoreThread
    from cr.remote.program import Program
    from images import messages as m

# image name -> register of struct user_regs_struct
GENERAL = {
    "r15": "r15", "r14": "r14", "r13": "r13", "r12": "r12", "bp": "rbp", "bx": "rbx", "r11": "r11", "r10": "r10",
    "r9": "r9", "r8": "r8", "ax": "rax", "cx": "rcx", "dx": "rdx", "si": "rsi", "di": "rdi", "orig_ax": "orig_rax",
    "ip": "rip", "cs": "cs", "flags": "eflags", "sp": "rsp", "ss": "ss", "fs_base": "fs_base",
    "gs_base": "gs_base", "ds": "ds", "es": "es", "fs": "fs", "gs": "gs",
}  # fmt: skip

# Extended state: field of user_x86_xsave_entry -> (component number, struct format of one element)
_COMPONENTS = {
    "ymmh_space": (2, "I"),
    "bndreg_state": (3, "Q"),
    "bndcsr_state": (4, "Q"),
    "opmask_reg": (5, "Q"),
    "zmm_upper": (6, "Q"),
    "hi16_zmm": (7, "Q"),
    "pkru": (9, "I"),
}
_LEGACY = struct.Struct("<HHHHQQII32I64I24I")
_XSTATE_BV = 512
_HEADER_SIZE = 64
_FEATURES_OFFSET = 464


class Registers(ThreadResource):
    """struct user_regs_struct and the XSAVE area."""

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        from images import messages as m

        tracee = thread.tracee
        if tracee.registers.cs != 0x33:
            context.refuse(f"{thread.task} is a 32-bit task, which is not supported: run a 64-bit build of it")
        registers = rewound(tracee.registers, thread.tid)
        core.mtype = m.core_entry.march.X86_64
        info = core.thread_info
        for name, register in GENERAL.items():
            setattr(info.gpregs, name, getattr(registers, register))
        info.gpregs.mode = m.user_x86_regs_mode.NATIVE
        _record_floating_point(ptrace.get_xstate(thread.tid), info.fpregs)

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        context.at_end.append(lambda: _load(thread))


def _load(thread: RestoreThread) -> None:
    puppet = thread.puppet
    info = thread.core.thread_info
    for name, register in GENERAL.items():
        setattr(puppet.registers, register, getattr(info.gpregs, name))
    puppet.registers.orig_rax = (1 << 64) - 1
    ptrace.set_xstate(puppet.tid, _floating_point(info.fpregs, ptrace.get_xstate(puppet.tid)))


def _record_floating_point(area: bytes, entry: m.user_x86_fpregs_entry) -> None:
    legacy = _LEGACY.unpack_from(area)
    entry.cwd, entry.swd, entry.twd, entry.fop, entry.rip, entry.rdp, entry.mxcsr, entry.mxcsr_mask = legacy[:8]
    entry.st_space.extend(legacy[8:40])
    entry.xmm_space.extend(legacy[40:104])
    entry.padding.extend(legacy[104:])
    features = struct.unpack_from("<Q", area, _FEATURES_OFFSET)[0]
    entry.xsave.xstate_bv = struct.unpack_from("<Q", area, _XSTATE_BV)[0]
    for name, (number, code) in _COMPONENTS.items():
        if features >> number & 1:
            getattr(entry.xsave, name).extend(_unpack(area, number, code))


def _unpack(area: bytes, number: int, code: str) -> tuple[Any, ...]:
    offset, size = xsave_component(number)
    return struct.unpack_from(f"<{size // struct.calcsize(code)}{code}", area, offset)


def _floating_point(entry: m.user_x86_fpregs_entry, current: bytes) -> bytes:
    """The XSAVE area for this machine: `current` gives its size and which components it has."""
    area = bytearray(len(current))
    head = (entry.cwd, entry.swd, entry.twd, entry.fop, entry.rip, entry.rdp, entry.mxcsr, entry.mxcsr_mask)
    _LEGACY.pack_into(area, 0, *head, *entry.st_space, *entry.xmm_space, *[*entry.padding, *bytes(24)][:24])
    area[_FEATURES_OFFSET : _FEATURES_OFFSET + 48] = current[_FEATURES_OFFSET : _FEATURES_OFFSET + 48]
    features = struct.unpack_from("<Q", current, _FEATURES_OFFSET)[0]
    struct.pack_into("<Q", area, _XSTATE_BV, (entry.xsave.xstate_bv if entry.HasField("xsave") else 3) & features)
    for name, (number, code) in _COMPONENTS.items():
        values = getattr(entry.xsave, name)
        if values and features >> number & 1:
            struct.pack_into(f"<{len(values)}{code}", area, xsave_component(number)[0], *values)
    return bytes(area)
