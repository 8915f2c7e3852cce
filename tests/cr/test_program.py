"""Syscall programs as values: what they look like in memory, and what they say of themselves."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
from pathlib import Path

import pytest

from cr.kernel import proc
from cr.remote.call_site import CallSite
from cr.remote.foothold import Foothold, Identity, find_system_call
from cr.remote.machine import MAY_FAIL, RECORD_SIZE
from cr.remote.program import Program, ProgramError
from cr.remote.tracee import Tracee

BASE = 0x10000


def record(memory: bytes, index: int) -> tuple[int, ...]:
    return struct.unpack_from("<II7Q", memory, index * RECORD_SIZE)


def test_results_are_passed_by_reference() -> None:
    program = Program()
    fd = program.call("openat", -100, program.cstr("/x"), os.O_RDONLY)
    program.call("close", fd)
    memory = program.assemble(BASE)
    assert record(memory, 1)[:3] == (3, 1, BASE + 56)
    assert record(memory, 0)[3] == BASE + 2 * RECORD_SIZE
    assert memory[2 * RECORD_SIZE :] == b"/x\0"


def test_negative_numbers_and_flags() -> None:
    program = Program()
    program.call("close", -1, may_fail=True)
    assert record(program.assemble(BASE), 0)[:3] == (3, MAY_FAIL, (1 << 64) - 1)


def test_words_can_be_addresses() -> None:
    program = Program()
    text = program.cstr("abc")
    words = program.words(7, text)
    program.call("pause", words)
    memory = program.assemble(BASE)
    start = BASE + RECORD_SIZE
    assert struct.unpack_from("<QQ", memory, RECORD_SIZE + words.offset) == (7, start + text.offset)


def test_it_describes_itself() -> None:
    program = Program()
    fd = program.call("openat", -100, program.cstr("/etc/passwd"), 0)
    program.call("read", fd, program.buffer(100), 100, note="the head")
    assert program.describe().splitlines() == [
        "openat(-100, '/etc/passwd', 0)",
        "read(<result of call 0>, '', 100)  # the head",
    ]


@pytest.fixture
def tracee():
    process = subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL)
    tracee = Tracee.seize(process.pid)
    tracee.interrupt()
    tracee.settle()
    yield tracee
    process.kill()
    process.wait()


def instruction(pid: int) -> int:
    vdso = next(mapping for mapping in proc.mappings(pid) if mapping.path == "[vdso]")
    found = find_system_call(pid, vdso.start, vdso.end)
    assert found is not None
    return found


@pytest.mark.root
def test_a_program_runs_and_leaves_no_trace(tracee: Tracee) -> None:
    before = Path(f"/proc/{tracee.tid}/maps").read_text()
    where = CallSite(instruction(tracee.tid))
    foothold = Foothold.make(tracee, where)
    program = Program()
    own = program.call("getpid")
    name = program.buffer(390)
    program.call("uname", name)
    foothold.run(tracee, Identity(tracee.tid, tracee.tid), program)
    assert own.value == tracee.tid
    assert name.bytes.startswith(b"Linux\0")
    foothold.remove(tracee, where)
    tracee.store()
    assert Path(f"/proc/{tracee.tid}/maps").read_text() == before, "it stands still: it may still be starting"
    tracee.detach()


@pytest.mark.root
def test_a_failing_call_ends_the_program_and_is_named(tracee: Tracee) -> None:
    foothold = Foothold.make(tracee, CallSite(instruction(tracee.tid)))
    program = Program()
    program.call("close", 999, may_fail=True)
    program.call("openat", -100, program.cstr("/no/such/file"), 0)
    late = program.call("getpid")
    with pytest.raises(ProgramError, match=r"/no/such/file.*in task") as caught:
        foothold.run(tracee, Identity(tracee.tid, tracee.tid), program)
    assert caught.value.errno == errno.ENOENT
    assert program.results[0] == -errno.EBADF
    assert late.value == 0


@pytest.mark.root
def test_a_tracer_that_is_killed_does_no_harm() -> None:
    process = subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL)
    try:
        child = os.fork()
        if child == 0:
            tracee = Tracee.seize(process.pid)
            tracee.interrupt()
            tracee.settle()
            foothold = Foothold.make(tracee, CallSite(instruction(process.pid)))
            foothold.lay_way_home(tracee)
            program = Program()
            for _ in range(1000):
                program.call("getpid")
            foothold.start(tracee, Identity(process.pid, process.pid), program)
            os.kill(os.getpid(), 9)
        os.waitpid(child, 0)
        from tests.cr.harness import wait_for

        call = Path(f"/proc/{process.pid}/syscall")
        wait_for(lambda: call.read_text().startswith("230 "), "the task to sleep on in clock_nanosleep")
    finally:
        process.kill()
        process.wait()
