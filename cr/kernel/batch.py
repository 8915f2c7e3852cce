"""Many system calls in one go, in this process, without the interpreter between them.

Each call made by Python gives up the interpreter's lock and must get it back, for which other threads make it wait. A
batch gives it up once. Its machine code (x86-64) is mapped at the first use.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from functools import cache

from cr.kernel.libc import syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Argument = int | ctypes.Array[ctypes.c_uint64]

_RECORD = struct.Struct("<7Qq")
"""number, six arguments, the result that is expected and then found"""

# record *run(record *first, record *behind): where a call does not return what is expected, or `behind`.
_LISTING = (
    ("5355", "push rbx; push rbp"),
    ("4889fb", "mov rbx, rdi"),
    ("4889f5", "mov rbp, rsi"),
    ("4839eb", "loop: cmp rbx, rbp"),
    ("732d", "jae done"),
    ("488b03", "mov rax, [rbx]"),
    ("488b7b08", "mov rdi, [rbx+8]"),
    ("488b7310", "mov rsi, [rbx+16]"),
    ("488b5318", "mov rdx, [rbx+24]"),
    ("4c8b5320", "mov r10, [rbx+32]"),
    ("4c8b4328", "mov r8, [rbx+40]"),
    ("4c8b4b30", "mov r9, [rbx+48]"),
    ("0f05", "syscall"),
    ("483b4338", "cmp rax, [rbx+56]"),
    ("48894338", "mov [rbx+56], rax"),
    ("7506", "jne done"),
    ("4883c340", "add rbx, 64"),
    ("ebce", "jmp loop"),
    ("4889d8", "done: mov rax, rbx"),
    ("5d5b", "pop rbp; pop rbx"),
    ("c3", "ret"),
)
_CODE = bytes.fromhex("".join(code for code, _ in _LISTING))


@cache
def _run() -> Callable[[int, int], int]:
    """The machine code as a function; OSError where this process may not make memory executable (SELinux execmem)."""
    page = mmap.mmap(-1, mmap.PAGESIZE)
    page.write(_CODE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    syscall("mprotect", 10, address, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC)
    function = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(address)
    function.page = page  # type: ignore[attr-defined]  # lives as long
    return function


def possible() -> bool:
    """Whether this process can run batches; asked once, it is so from then on."""
    try:
        _run()
    except OSError:
        return False
    return True


class Batch:
    """Calls in order, each with the result that it must have for the next one to be made."""

    def __init__(self) -> None:
        self._records = bytearray()
        self._kept: list[object] = []

    def call(self, number: int, *arguments: Argument, expect: int) -> None:
        """Append a call: integers are passed as they are, arrays by their address."""
        words = [argument if isinstance(argument, int) else self._keep(argument) for argument in arguments]
        self._records += _RECORD.pack(number, *words, *(0,) * (6 - len(words)), expect)

    def _keep(self, array: ctypes.Array[ctypes.c_uint64]) -> int:
        self._kept.append(array)
        return ctypes.addressof(array)

    def __len__(self) -> int:
        return len(self._records) // _RECORD.size

    def run(self) -> int:
        """How many calls returned what was expected; the one behind them did not, and none was made after it."""
        first = ctypes.addressof(ctypes.c_char.from_buffer(self._records))
        stopped = _run()(first, first + len(self._records))
        return (stopped - first) // _RECORD.size
