"""Syscall programs: arrays of calls that a task runs in one go.

    program = Program()
    fd = program.call("openat", AT_FDCWD, program.cstr("/etc/passwd"), os.O_RDONLY)
    program.call("dup3", fd, 7, 0)

An argument is a number, a piece of the program's own memory (`Data`), or the result of an earlier
call (`Result`).  Results and output buffers are read after the run.
"""

from __future__ import annotations

import os
import struct

from cr.kernel.numbers import NUMBERS
from cr.remote.machine import MAY_FAIL, RECORD_SIZE
from cr.values import dataclass, field

_RECORD = struct.Struct("<II6QQ")
_WORD = (1 << 64) - 1


class ProgramError(OSError):
    """A call of a program failed: errno, and a sentence naming the call and its task."""


@dataclass(frozen=True)
class Data:
    """A piece of the program's memory, `offset` bytes behind its records."""

    program: Program
    offset: int
    size: int

    @property
    def bytes(self) -> bytes:
        """Content after the run."""
        return self.program.output[self.offset : self.offset + self.size]

    def at(self, offset: int) -> Data:
        return Data(self.program, self.offset + offset, self.size - offset)


@dataclass(frozen=True)
class Result:
    """What call number `index` of the program returned."""

    program: Program
    index: int

    @property
    def value(self) -> int:
        """The call's result after the run: negative errno where it failed."""
        return self.program.results[self.index]


Argument = int | Data | Result


@dataclass
class Call:
    name: str
    arguments: tuple[Argument, ...]
    may_fail: bool
    note: str

    def describe(self) -> str:
        shown = ", ".join(_show(a) for a in self.arguments)
        return f"{self.name}({shown})" + (f"  # {self.note}" if self.note else "")


def _show(argument: Argument) -> str:
    if isinstance(argument, Result):
        return f"<result of call {argument.index}>"
    if isinstance(argument, Data):
        content = bytes(argument.program.content[argument.offset : argument.offset + min(argument.size, 64)])
        text = content.rstrip(b"\0")
        return repr(text.decode()) if text.isascii() and text.decode().isprintable() else f"<{argument.size} bytes>"
    return str(argument) if argument < 4096 else hex(argument)


@dataclass
class Program:
    """Calls with their memory; pure until something runs it."""

    calls: list[Call] = field(default_factory=list)
    content: bytearray = field(default_factory=bytearray)
    results: list[int] = field(default_factory=list)
    output: bytes = b""
    _links: list[tuple[int, Argument]] = field(default_factory=list)

    def call(self, name: str, *arguments: Argument, may_fail: bool = False, note: str = "") -> Result:
        """Append a system call; a failure ends the program unless it `may_fail`."""
        self.calls.append(Call(name, arguments, may_fail, note))
        return Result(self, len(self.calls) - 1)

    def data(self, content: bytes, align: int = 8) -> Data:
        """Memory with this content."""
        self.content += bytes(-len(self.content) % align)
        piece = Data(self, len(self.content), len(content))
        self.content += content
        return piece

    def buffer(self, size: int) -> Data:
        """Memory to be filled by a call."""
        return self.data(bytes(size), 16)

    def cstr(self, text: str | bytes) -> Data:
        return self.data(os.fsencode(text) + b"\0", 1)

    def words(self, *values: Argument) -> Data:
        """An array of 64-bit words, which may be addresses of other pieces."""
        piece = self.data(bytes(8 * len(values)))
        for index, value in enumerate(values):
            if isinstance(value, int):
                struct.pack_into("<Q", self.content, piece.offset + 8 * index, value & _WORD)
            else:
                self._links.append((piece.offset + 8 * index, value))
        return piece

    def link(self, place: Data, target: Data) -> None:
        """Store the address of `target` in the word at `place` (pointers inside structures)."""
        self._links.append((place.offset, target))

    def clear(self) -> None:
        """Begin anew, after a run."""
        for part in (self.calls, self.content, self._links):
            part.clear()

    @property
    def size(self) -> int:
        return len(self.calls) * RECORD_SIZE + len(self.content)

    def assemble(self, base: int) -> bytes:
        """Records and memory as they stand at address `base` of the task."""
        memory = base + len(self.calls) * RECORD_SIZE
        content = bytearray(self.content)
        for offset, target in self._links:
            struct.pack_into("<Q", content, offset, _address(target, base, memory))
        records = bytearray()
        for call in self.calls:
            flags = MAY_FAIL if call.may_fail else 0
            words = [0] * 6
            for index, argument in enumerate(call.arguments):
                if isinstance(argument, int):
                    words[index] = argument & _WORD
                else:
                    words[index] = _address(argument, base, memory)
                    flags |= (1 << index) if isinstance(argument, Result) else 0
            records += _RECORD.pack(NUMBERS[call.name], flags, *words, 0)
        return bytes(records + content)

    def absorb(self, memory: bytes, done: int, task: str) -> None:
        """Take results and buffers from the task's memory after `done` calls; ProgramError where one failed."""
        length = len(self.calls) * RECORD_SIZE
        self.results = [value[0] for value in struct.iter_unpack("<56xq", memory[:length])]
        self.output = memory[length:]
        for index, call in enumerate(self.calls[:done]):
            code = -self.results[index]
            if 0 < code < 4096 and not call.may_fail:
                raise ProgramError(code, f"{call.describe()} in {task}: {os.strerror(code)}")

    def describe(self) -> str:
        return "\n".join(call.describe() for call in self.calls)


def _address(argument: Argument, base: int, memory: int) -> int:
    if isinstance(argument, Result):
        return base + argument.index * RECORD_SIZE + 56
    assert isinstance(argument, Data)
    return memory + argument.offset
