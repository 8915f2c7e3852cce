"""The first instructions of a program with a snapshot in it (x86-64): into the thread that was recorded.

They work on a page of words (`Words`), find out whether this is the processor of the recording (the C library has
chosen its functions for it), give the kernel the thread's addresses and load its registers.  On another processor
they run the command with an ordinary interpreter: `PYTHON SCRIPT` goes in front of the argument vector.
"""

from __future__ import annotations

import struct

from cr.kernel.cpuid import cpuid, enabled_state
from cr.values import dataclass, fields

_LISTING = (
    ("498920", "mov [r8], rsp"),
    ("b801000000 31c9 0fa2", "mov eax, 1; xor ecx, ecx; cpuid"),
    ("413b4060 0f8581000000", "cmp eax, [r8+0x60]; jne plain"),
    ("413b4864 757b", "cmp ecx, [r8+0x64]; jne plain"),
    ("413b5068 7575", "cmp edx, [r8+0x68]; jne plain"),
    ("b807000000 31c9 0fa2", "mov eax, 7; xor ecx, ecx; cpuid"),
    ("413b586c 7566", "cmp ebx, [r8+0x6c]; jne plain"),
    ("413b4870 7560", "cmp ecx, [r8+0x70]; jne plain"),
    ("413b5074 755a", "cmp edx, [r8+0x74]; jne plain"),
    ("31c9 0f01d0", "xor ecx, ecx; xgetbv"),
    ("413b4078 754f", "cmp eax, [r8+0x78]; jne plain"),
    ("bf02100000 498b7008 b89e000000 0f05", "arch_prctl(ARCH_SET_FS, [r8+0x08])"),
    ("498b7810 b8da000000 0f05", "set_tid_address([r8+0x10])"),
    ("8907", "mov [rdi], eax        ; the C library's own note of the thread id"),
    ("498b7818 be18000000 b811010000 0f05", "set_robust_list([r8+0x18], 24)"),
    ("498b6020", "mov rsp, [r8+0x20]"),
    ("498b6828", "mov rbp, [r8+0x28]"),
    ("498b5830", "mov rbx, [r8+0x30]"),
    ("4d8b6038", "mov r12, [r8+0x38]"),
    ("4d8b6840", "mov r13, [r8+0x40]"),
    ("4d8b7048", "mov r14, [r8+0x48]"),
    ("4d8b7850", "mov r15, [r8+0x50]"),
    ("31c0", "xor eax, eax          ; the result of the call in which it was stopped"),
    ("41ff6058", "jmp [r8+0x58]"),
    ("488b0424", "plain: mov rax, [rsp] ; argc"),
    ("488d54c410", "lea rdx, [rsp+rax*8+16]"),
    ("498bb880000000", "mov rdi, [r8+0x80]"),
    ("48897c24f8", "mov [rsp-8], rdi"),
    ("498b8088000000", "mov rax, [r8+0x88]"),
    ("48890424", "mov [rsp], rax"),
    ("488d7424f8", "lea rsi, [rsp-8]"),
    ("b83b000000 0f05", "execve(rdi, rsi, rdx)"),
    ("bf7f000000 b8e7000000 0f05", "exit_group(127)"),
)
_CODE = bytes.fromhex("".join(code for code, _ in _LISTING))


@dataclass(frozen=True)
class Processor:
    """What CPUID leaves 1 (eax, ecx, edx) and 7 (ebx, ecx, edx) and XCR0 say: seven words of 32 bits."""

    words: tuple[int, ...]

    @classmethod
    def here(cls) -> Processor:
        one, seven = cpuid(1), cpuid(7)
        return cls((one.eax, one.ecx, one.edx, seven.ebx, seven.ecx, seven.edx, enabled_state()))


@dataclass(frozen=True)
class Thread:
    """The recorded thread: addresses that the kernel must know, and the registers that a call leaves as they are."""

    fs_base: int
    clear_child_tid: int
    robust_list: int
    rsp: int
    rbp: int
    rbx: int
    r12: int
    r13: int
    r14: int
    r15: int
    rip: int


def code(words: int) -> bytes:
    """The instructions, for a page of words at address `words`."""
    return b"\x49\xb8" + words.to_bytes(8, "little") + _CODE  # mov r8, words


def page(words: int, thread: Thread, processor: Processor, python: str, script: str) -> bytes:
    """The page of words; the first one receives the address of the argument vector (argc, argv, envp, auxv)."""
    numbers = [getattr(thread, entry.name) for entry in fields(Thread)]
    head = struct.pack("<12Q", 0, *numbers) + struct.pack("<7I4x", *processor.words)
    first = words + len(head) + 16
    texts = [name.encode(errors="surrogateescape") + b"\0" for name in (python, script)]
    return head + struct.pack("<QQ", first, first + len(texts[0])) + b"".join(texts)
