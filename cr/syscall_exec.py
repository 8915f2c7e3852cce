"""`exec`: one system call in another task, named on the command line.

    woodfrog-criu exec -t PID open '&/foo/bar' 2

What begins with & is copied into the task's memory, and the call gets its address; the rest are numbers as strtol(3)
reads them.  The task is stopped for the call, and goes on as if nothing had happened.
"""

from __future__ import annotations

import errno
import os
import time

from cr.kernel.numbers import NUMBERS
from cr.model import CheckpointError
from cr.options import Options
from cr.remote.program import Argument, Data, Program

_NOT_THESE = frozenset(["execve", "execveat", "exit", "exit_group", "fork", "vfork", "clone", "clone3", "rt_sigreturn"])
"""calls that do not come back, or come back twice"""


def run(options: Options) -> int:
    """0 where the call succeeded, 1 where it failed; what it gave is printed."""
    from cr.guard import held

    if not options.tree:
        raise CheckpointError("exec needs the pid of the task: use -t PID")
    program, pieces = build(options.operands)
    result, output = held(lambda _: _in_task(options, program), None)
    program.results, program.output = [result], output
    print(describe(options.operands, result, [piece.bytes for piece in pieces]))
    return 1 if -4096 < result < 0 else 0


def build(words: list[str]) -> tuple[Program, list[Data]]:
    """The call, and the pieces of memory that it is given.  CheckpointError where the words are none."""
    if not words:
        raise CheckpointError("exec needs the name of a system call: exec -t PID NAME ARGUMENT ...")
    name, *arguments = words
    if name not in NUMBERS:
        from difflib import get_close_matches

        close = get_close_matches(name, NUMBERS, 1)
        raise CheckpointError(f"there is no system call {name!r}" + (f"; is {close[0]} meant?" if close else ""))
    if name in _NOT_THESE:
        raise CheckpointError(f"{name} does not return into the task that it is called from: it cannot be run there")
    if len(arguments) > 6:
        raise CheckpointError(f"a system call has six arguments at most, not {len(arguments)}")
    program = Program()
    pieces: list[Data] = []
    program.call(name, *(_argument(word, program, pieces) for word in arguments), may_fail=True)
    return program, pieces


def _argument(word: str, program: Program, pieces: list[Data]) -> Argument:
    if not word.startswith("&"):
        return _number(word)
    pieces.append(program.cstr(word[1:]))
    return pieces[-1]


def _number(word: str) -> int:
    """As strtol(3) with base 0."""
    digits = word.lstrip("+-")
    octal = len(digits) > 1 and digits.isdigit() and digits[0] == "0"
    try:
        value = int(word, 8 if octal else 0)
    except ValueError:
        raise CheckpointError(f"{word!r} is not a number; text for the task's memory begins with &") from None
    if not -(1 << 63) <= value < 1 << 64:
        raise CheckpointError(f"{word} does not fit into 64 bits")
    return value


def _in_task(options: Options, program: Program) -> tuple[int, bytes]:
    """(what the call gave, the memory it was given as it is afterwards)"""
    from cr.contract.dumping import identity
    from cr.dump import scratch
    from cr.dump.freeze import FrozenTree
    from cr.remote.critical import critical
    from cr.remote.foothold import PROGRAM_OFFSET

    tree = FrozenTree(options.tree, time.monotonic() + options.timeout)
    tree.freeze()
    try:
        task = next(iter(tree.tasks.values()))
        if task.is_zombie:
            raise CheckpointError(f"{task} has ended: nothing can be called in it")
        leader = task.leader
        size = (PROGRAM_OFFSET + program.size + 0xFFF) & ~0xFFF
        with critical(), scratch.foothold(task, size) as foothold:
            foothold.lay_way_home(leader.tracee)
            try:
                foothold.run(leader.tracee, identity(leader), program)
            finally:
                leader.tracee.store()
        return program.results[0], program.output
    finally:
        tree.release()


def describe(words: list[str], result: int, contents: list[bytes]) -> str:
    """The call as strace(1) shows calls; the names of arguments are python-ptrace's."""
    name, *arguments = words
    names = _parameters(name)
    left = list(contents)
    shown = []
    for index, word in enumerate(arguments):
        text = _text(left.pop(0)) if word.startswith("&") else _value(_number(word))
        shown.append(f"{names[index]}={text}" if index < len(names) else text)
    return f"{name}({', '.join(shown)}) = {_outcome(result)}"


def _parameters(name: str) -> list[str]:
    from ptrace.syscall import SYSCALL_PROTOTYPES

    _, parameters = SYSCALL_PROTOTYPES.get(name, ("long", ()))
    return [parameter for _, parameter in parameters]


def _value(value: int) -> str:
    return str(value) if abs(value) < 1 << 16 else hex(value)


def _text(content: bytes) -> str:
    return '"' + content.partition(b"\0")[0].decode("utf-8", "backslashreplace") + '"'


def _outcome(result: int) -> str:
    if -4096 < result < 0:
        return f"-1 {errno.errorcode.get(-result, -result)} ({os.strerror(-result)})"
    return _value(result)
