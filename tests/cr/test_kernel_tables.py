"""Our tables of the kernel's ABI against python-ptrace's, which were made by others."""

from __future__ import annotations

import ctypes
import warnings

from cr.kernel import ptrace
from cr.kernel.numbers import NUMBERS
from cr.remote import machine


def test_system_call_numbers() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ptrace.syscall.linux.x86_64 import SYSCALL_NAMES

    theirs = {name: number for number, name in SYSCALL_NAMES.items() if number < 512}
    common = theirs.keys() & NUMBERS.keys()
    assert len(common) > 300
    assert {name: NUMBERS[name] for name in common} == {name: theirs[name] for name in common}


def test_register_layout() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ptrace.binding.linux_struct import user_regs_struct

    names = {"eflags": "eflags", "orig_rax": "orig_rax"}
    ours = [names.get(name, name) for name, *_ in ptrace.Registers._fields_]
    assert ours == [name for name, *_ in user_regs_struct._fields_]
    assert ctypes.sizeof(ptrace.Registers) == ctypes.sizeof(user_regs_struct) == 27 * 8


def test_ptrace_requests() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ptrace.binding import func

    assert func.PTRACE_CONT == ptrace.CONT
    assert func.PTRACE_DETACH == ptrace.DETACH
    assert func.PTRACE_SYSCALL == ptrace.SYSCALL
    assert func.PTRACE_GETEVENTMSG == ptrace.GETEVENTMSG


def test_the_loop_is_where_we_say() -> None:
    assert machine.CODE[machine.SYSCALL_OFFSET :].startswith(machine.SYSCALL_INSTRUCTION)
    assert machine.CODE[machine.DONE_OFFSET :].startswith(bytes.fromhex("4c89f7"))
    assert machine.IDLE[machine.IDLE_SYSCALL_OFFSET :].startswith(machine.SYSCALL_INSTRUCTION)
    assert len(machine.CODE) == 0x88
