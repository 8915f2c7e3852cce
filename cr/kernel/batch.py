"""Many system calls in one go, in this process, without the interpreter between them.

Each call made by Python gives up the interpreter's lock and must get it back, for which other threads make it wait. A
batch gives it up once.
"""

from __future__ import annotations

import ctypes
import struct
from array import array
from itertools import chain

from cr.kernel import own_code

TYPE_CHECKING = False
if TYPE_CHECKING:
    Argument = int | bytes | ctypes.Array[ctypes.c_uint64]

_RECORD = struct.Struct("<II6Qq")
"""number, whether the first argument is the address of what is to be passed, arguments, result expected and found"""
_BUNDLE = 32
_MANY = struct.Struct("<" + _RECORD.format[1:] * _BUNDLE)
_RESULT = 56
"""offset of the result"""
_WORDS = 8
"""64-bit words of a record; the result is the last"""
ANY = -1 << 63
"""the result expected of a call that may return whatever is no error"""

# record *run(record *first, record *behind): where a call does not return what is expected, or `behind`.
_LISTING = (
    ("5355", "push rbx; push rbp"),
    ("4889fb", "mov rbx, rdi"),
    ("4889f5", "mov rbp, rsi"),
    ("4839eb", "loop: cmp rbx, rbp"),
    ("7342", "jae done"),
    ("488b7b08", "mov rdi, [rbx+8]"),
    ("807b0400", "cmp byte [rbx+4], 0"),
    ("7403", "je plain"),
    ("488b3f", "mov rdi, [rdi]"),
    ("488b7310", "plain: mov rsi, [rbx+16]"),
    ("488b5318", "mov rdx, [rbx+24]"),
    ("4c8b5320", "mov r10, [rbx+32]"),
    ("4c8b4328", "mov r8, [rbx+40]"),
    ("4c8b4b30", "mov r9, [rbx+48]"),
    ("8b03", "mov eax, [rbx]"),
    ("0f05", "syscall"),
    ("488b4b38", "mov rcx, [rbx+56]"),
    ("48894338", "mov [rbx+56], rax"),
    ("4839c8", "cmp rax, rcx"),
    ("740a", "je next"),
    ("4885c0", "test rax, rax"),
    ("780b", "js done"),
    ("4885c9", "test rcx, rcx"),
    ("7906", "jns done"),
    ("4883c340", "next: add rbx, 64"),
    ("ebb9", "jmp loop"),
    ("4889d8", "done: mov rax, rbx"),
    ("5d5b", "pop rbp; pop rbx"),
    ("c3", "ret"),
)
_CODE = bytes.fromhex("".join(code for code, _ in _LISTING))


def possible() -> bool:
    """Whether this process can run batches."""
    return own_code.possible()


class Room:
    """Memory that calls fill."""

    def __init__(self, size: int) -> None:
        self._buffer = (ctypes.c_char * size)()
        self.address = ctypes.addressof(self._buffer)

    @property
    def content(self) -> bytes:
        return self._buffer.raw


class Batch:
    """Calls in order, each with the result that it must have for the next one to be made; it can run again."""

    def __init__(self) -> None:
        self._records = bytearray()
        self._expected = array("q")
        self._kept: list[object] = []
        self._links: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self._expected)

    def call(self, number: int, *arguments: Argument, expect: int) -> int:
        """Append a call, and tell its index: integers are passed as they are, arrays and bytes by their address."""
        words = [argument if isinstance(argument, int) else self._keep(argument) for argument in arguments]
        self._records += _RECORD.pack(number, 0, *words, *(0,) * (6 - len(words)), expect)
        self._expected.append(expect)
        return len(self._expected) - 1

    def extend(self, calls: list[tuple[int, int, int, int, int, int, int, int]]) -> None:
        """Append many calls: number, six integers, the result expected."""
        rows = [(number, 0, *rest) for number, *rest in calls]
        self._expected.extend([row[-1] for row in rows])
        while rows:
            self._records += (
                _MANY.pack(*chain.from_iterable(rows[:_BUNDLE]))
                if len(rows) >= _BUNDLE
                else b"".join(_RECORD.pack(*row) for row in rows)
            )
            rows = rows[_BUNDLE:]

    def call_on(self, result: int, number: int, *arguments: Argument, expect: int) -> int:
        """The same; the result of the call with that index is passed before the other arguments."""
        index = self.call(number, 0, *arguments, expect=expect)
        self._links.append((index, result))
        return index

    def _keep(self, thing: ctypes.Array[ctypes.c_uint64] | bytes) -> int:
        self._kept.append(thing)
        if isinstance(thing, bytes):
            return ctypes.cast(ctypes.c_char_p(thing), ctypes.c_void_p).value or 0
        return ctypes.addressof(thing)

    def run(self, start: int = 0) -> int:
        """The index of the first call from `start` on that did not return what it should, else the number of calls."""
        if start >= len(self):
            return len(self)
        first = ctypes.addressof(ctypes.c_char.from_buffer(self._records))
        with memoryview(self._records) as view, view.cast("q") as words:
            words[start * _WORDS + _WORDS - 1 :: _WORDS] = memoryview(self._expected)[start:]
        for index, result in reversed(self._links):
            if index < start:
                break
            struct.pack_into("<IQ", self._records, index * _RECORD.size + 4, 1, first + result * _RECORD.size + _RESULT)
        stopped = own_code.function(_CODE, 2)(first + start * _RECORD.size, first + len(self._records))
        return (stopped - first) // _RECORD.size

    def result(self, index: int) -> int:
        """What a call returned in the last run: a negative errno where it failed."""
        return int(struct.unpack_from("<q", self._records, index * _RECORD.size + _RESULT)[0])
