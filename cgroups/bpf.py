"""The device controller of cgroup v2: a small BPF program, assembled here and attached through bpf(2).

Sources: bpf(2), Documentation/bpf/standardization/instruction-set.rst, linux/bpf.h (bpf_cgroup_dev_ctx).
This is the one file of the package that knows ctypes.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Mapping

from cgroups.errors import CgroupError, from_os

SYS_BPF = 321
PROG_LOAD, PROG_ATTACH, PROG_DETACH, PROG_GET_FD_BY_ID, PROG_QUERY = 5, 8, 9, 13, 16
PROG_TYPE_CGROUP_DEVICE = 15
ATTACH_CGROUP_DEVICE = 6
ALLOW_MULTI = 2
ACCESS_BITS = {"m": 1, "r": 2, "w": 4}
TYPE_BITS = {"b": 1, "c": 2}
ATTR_SIZE = 120
QUERY_SLOTS = 64

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

# registers: r1 is the context {u32 access_type; u32 major; u32 minor}, r2..r5 what is taken from it
_LDX_W, _MOV32_K, _MOV32_X, _AND32_K, _RSH32_K = 0x61, 0xB4, 0xBC, 0x54, 0x74
_JNE32_K, _JEQ32_K, _EXIT = 0x56, 0x16, 0x95


def _insn(code: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    """One instruction: u8 opcode, u4 dst, u4 src, s16 offset, s32 immediate."""
    signed = imm - (1 << 32) if imm >= 1 << 31 else imm
    return struct.pack("<BBhi", code, src << 4 | dst, off, signed)


_PROLOGUE = b"".join(
    (
        _insn(_LDX_W, 2, 1, 0),  # r2 = access_type
        _insn(_MOV32_X, 3, 2),
        _insn(_AND32_K, 2, imm=0xFFFF),  # r2 = block 1, char 2
        _insn(_RSH32_K, 3, imm=16),  # r3 = mknod 1, read 2, write 4
        _insn(_LDX_W, 4, 1, 4),  # r4 = major
        _insn(_LDX_W, 5, 1, 8),  # r5 = minor
    )
)


def _answer(allow: bool) -> bytes:
    return _insn(_MOV32_K, 0, imm=int(allow)) + _insn(_EXIT)


def _exception(default: bool, kind: str, major: int, minor: int, access: str) -> bytes:
    """Leave with the opposite of the default where the access meets this exception, else fall through.

    Each test is (instructions before, opcode of the jump, register, immediate); it jumps past the block.
    """
    bits = sum(ACCESS_BITS[letter] for letter in access)
    tests: list[tuple[bytes, int, int, int]] = [(b"", _JNE32_K, 2, TYPE_BITS[kind])]
    if major >= 0:
        tests.append((b"", _JNE32_K, 4, major))
    if minor >= 0:
        tests.append((b"", _JNE32_K, 5, minor))
    if bits != 7:
        # refused by default: all letters must be within; allowed by default: any shared letter is enough
        mask, jump = (bits, _JEQ32_K) if default else (7 & ~bits, _JNE32_K)
        tests.append((_insn(_MOV32_X, 1, 3) + _insn(_AND32_K, 1, imm=mask), jump, 1, 0))
    block = _answer(not default)
    for before, jump, register, immediate in reversed(tests):
        block = before + _insn(jump, register, 0, len(block) // 8, immediate) + block
    return block


def device_program(default: bool, exceptions: Mapping[tuple[str, int, int], set[str]]) -> bytes:
    """Assemble the program for a default and exceptions {(kind b|c, major or -1, minor or -1): letters}."""
    blocks = [
        _exception(default, kind, major, minor, "".join(sorted(access)))
        for (kind, major, minor), access in exceptions.items()
    ]
    return _PROLOGUE + b"".join(blocks) + _answer(default)


def _bpf(command: int, attr: ctypes.Array[ctypes.c_char], what: str) -> int:
    result: int = _libc.syscall(ctypes.c_long(SYS_BPF), ctypes.c_long(command), attr, ctypes.c_long(ATTR_SIZE))
    if result < 0:
        raise from_os(what, OSError(ctypes.get_errno(), ""))
    return result


def _attr(layout: str, *values: int) -> ctypes.Array[ctypes.c_char]:
    """A zero-filled union bpf_attr that starts with these fields."""
    return ctypes.create_string_buffer(struct.pack(layout, *values), ATTR_SIZE)


def load(program: bytes) -> int:
    """BPF_PROG_LOAD; gives a descriptor.  Raises CgroupError, EPERM without CAP_BPF or CAP_SYS_ADMIN."""
    code = ctypes.create_string_buffer(program, len(program))
    license_text = ctypes.create_string_buffer(b"Apache-2.0")
    attr = _attr(
        "<IIQQ",
        PROG_TYPE_CGROUP_DEVICE,
        len(program) // 8,
        ctypes.addressof(code),
        ctypes.addressof(license_text),
    )
    return _bpf(PROG_LOAD, attr, "load the device program of a cgroup")


def attached(directory: int) -> list[int]:
    """BPF_PROG_QUERY: ids of the device programs attached to this cgroup itself."""
    ids = (ctypes.c_uint32 * QUERY_SLOTS)()
    # target_fd, attach_type, query_flags, attach_flags, prog_ids, prog_cnt
    attr = _attr("<IIIIQI", directory, ATTACH_CGROUP_DEVICE, 0, 0, ctypes.addressof(ids), QUERY_SLOTS)
    _bpf(PROG_QUERY, attr, "query the device programs of a cgroup")
    count = struct.unpack_from("<I", attr.raw, 24)[0]
    return list(ids[:count])


def _detach(directory: int, program_id: int) -> None:
    try:
        fd = _bpf(PROG_GET_FD_BY_ID, _attr("<I", program_id), f"open BPF program {program_id}")
    except CgroupError as err:
        if err.errno == errno.ENOENT:  # gone by itself meanwhile
            return
        raise
    try:
        attr = _attr("<III", directory, fd, ATTACH_CGROUP_DEVICE)
        _bpf(PROG_DETACH, attr, "detach the old device program of a cgroup")
    finally:
        os.close(fd)


def replace_device_program(path: str, program: bytes) -> None:
    """Attach a program to a cgroup directory and detach those that were there before.

    The new one is attached first, so that there is no instant without any rule.
    """
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        before = attached(directory)
        fd = load(program)
        try:
            attr = _attr("<IIII", directory, fd, ATTACH_CGROUP_DEVICE, ALLOW_MULTI)
            _bpf(PROG_ATTACH, attr, f"attach the device program to cgroup {path}")
        finally:
            os.close(fd)
        for program_id in before:
            _detach(directory, program_id)
    finally:
        os.close(directory)
