"""The machine code that runs a syscall program inside a task (x86-64).

A program is an array of 64-byte records: number (32 bits), flags (32 bits), six arguments, result
(64 bits each).  Flag bit i says that argument i is the address of the word to pass; bit 31 says that
the program goes on when the call fails.  The loop stops behind the first call that fails, or at the end,
then says so with tgkill(2) of itself and, when nobody listens any more, returns to the interrupted
context with rt_sigreturn(2).

Registers: rbx the next record, r12 the end, r14 and r15 process and thread id in the task's own
namespace, rbp the signal that says "done", rsp a struct ucontext of the interrupted context.
"""

from __future__ import annotations

RECORD_SIZE = 64
MAY_FAIL = 1 << 31

_LISTING = (
    ("4c39e3", "loop: cmp rbx, r12"),
    ("736b", "jae done"),
    ("448b6b04", "mov r13d, [rbx+4]        ; flags"),
    ("488b7b08", "mov rdi, [rbx+8]"),
    ("41f6c5017403488b3f", "if flags & 1: mov rdi, [rdi]"),
    ("488b7310", "mov rsi, [rbx+16]"),
    ("41f6c5027403488b36", "if flags & 2: mov rsi, [rsi]"),
    ("488b5318", "mov rdx, [rbx+24]"),
    ("41f6c5047403488b12", "if flags & 4: mov rdx, [rdx]"),
    ("4c8b5320", "mov r10, [rbx+32]"),
    ("41f6c50874034d8b12", "if flags & 8: mov r10, [r10]"),
    ("4c8b4328", "mov r8, [rbx+40]"),
    ("41f6c51074034d8b00", "if flags & 16: mov r8, [r8]"),
    ("4c8b4b30", "mov r9, [rbx+48]"),
    ("41f6c52074034d8b09", "if flags & 32: mov r9, [r9]"),
    ("8b03", "mov eax, [rbx]"),
    ("0f05", "syscall"),
    ("48894338", "mov [rbx+56], rax"),
    ("4883c340", "add rbx, 64"),
    ("483d01f0ffff", "cmp rax, -4095"),
    ("7295", "jb loop"),
    ("4585ed", "test r13d, r13d          ; MAY_FAIL is the sign bit"),
    ("7890", "js loop"),
    ("4c89f7", "done: mov rdi, r14"),
    ("4c89fe", "mov rsi, r15"),
    ("4889ea", "mov rdx, rbp"),
    ("b8ea0000000f05", "tgkill(rdi, rsi, rdx)"),
    ("b80f0000000f05", "rt_sigreturn()"),
    ("cc", "int3                    ; never reached"),
)

CODE = bytes.fromhex("".join(code for code, _ in _LISTING))
SYSCALL_INSTRUCTION = b"\x0f\x05"
SYSCALL_OFFSET = 0x59
"""Where in CODE the system call instruction stands."""
DONE_OFFSET = 0x70
"""Where in CODE the label `done` stands: a task that stops behind it has finished its program."""

RETURN_OFFSET = len(CODE) - 8
"""Where in CODE the return to the interrupted context begins."""

# One clone(2) in a task that is traced: the task goes on to the interrupted context by the frame at rsp, should nobody
# trace it any more; the new process ends at once, should nobody hold it.
FORK = bytes.fromhex(
    "0f05"  # syscall
    "85c07407"  # test eax, eax; jz born
    "b80f0000000f05"  # rt_sigreturn()
    "31ffb8e70000000f05"  # born: exit_group(0)
)

# What the seed runs until it is seized: it waits, and ends when the other end of its descriptor 0 is closed.  Whoever
# started it may be killed at any instant, also when the seed is not traced as yet.
IDLE = bytes.fromhex(
    "4883ec10"  # room for a struct pollfd
    "48c7042400000000"  # descriptor 0, no events: only that the other end is gone
    "4889e7be01000000baffffffffb8070000000f05"  # again: poll(rsp, 1, no timeout)
    "85c07ee8"  # interrupted: again
    "31ffb8e70000000f05"  # exit_group(0)
)
IDLE_SYSCALL_OFFSET = 30
