"""The pure parts of task state: parsing, choosing, planning.  No root needed."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from cr.contract.dumping import notify_signal
from cr.dump import preflight
from cr.kernel.numbers import NUMBERS
from cr.kernel.ptrace import Registers
from cr.model import BadImages, CheckpointError
from cr.remote import critical
from cr.resources.tasks.interrupted_calls import call_number, guessed_number, is_interrupted, loaded_number, rewound
from cr.resources.tasks.limits import INFINITY, NAMES, attainable, parse_limits
from cr.resources.tasks.pending_signals import complete, signal_number
from cr.resources.tasks.posix_timers import TimerLine, parse_timers
from cr.resources.tasks.seccomp import ChainTable, chain_of
from images import messages as m

WORD = 1 << 64


def test_limits_are_read_in_the_order_of_their_numbers() -> None:
    limits = parse_limits(Path("/proc/self/limits").read_text())
    assert len(limits) == len(NAMES) == 16
    import resource

    wanted = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert limits[resource.RLIMIT_NOFILE] == tuple(INFINITY if value < 0 else value for value in wanted)


@pytest.mark.parametrize(
    ("wanted", "current", "result"),
    [((5, 10), (1, 20), (5, 10)), ((50, 100), (1, 20), (20, 20)), ((INFINITY, INFINITY), (0, 9), (9, 9))],
)
def test_hard_limits_are_only_lowered(
    wanted: tuple[int, int], current: tuple[int, int], result: tuple[int, int]
) -> None:
    assert attainable(wanted, current) == result


def test_timers_of_proc() -> None:
    text = (
        "ID: 6\nsignal: 0/000000000000002d\nnotify: none/pid.7\nClockID: 1\n"
        "ID: 4\nsignal: 40/00000000ffffffff\nnotify: signal/tid.8\nClockID: -6\n"
    )
    assert parse_timers(text) == [TimerLine(6, 0, 45, 1, 0, 1), TimerLine(4, 40, 0xFFFFFFFF, 4, 8, -6)]
    assert parse_timers("") == []


def test_pending_signals_without_a_record_are_not_lost() -> None:
    queued = struct.pack("<i", 40).ljust(128, b"\0")
    found = complete([queued, queued], 1 << 39 | 1 << 9)
    assert [signal_number(info) for info in found] == [40, 40, 10]
    assert all(len(info) == 128 for info in found)


def test_chains_of_filters_are_shared() -> None:
    table = ChainTable()
    a, b, c = (b"a", 0), (b"b", 2), (b"c", 0)
    assert table.number((a, b)) == 1
    assert table.number((a, c)) == 2
    assert table.number((a, b)) == 1
    assert table.entries == [(a, None), (b, 0), (c, 0)]


def test_a_chain_that_goes_in_a_circle_is_an_error() -> None:
    good = [m.seccomp_filter(filter=b"a", flags=1), m.seccomp_filter(filter=b"b", prev=0)]
    assert chain_of(1, good) == ((b"a", 1), (b"b", 0))
    with pytest.raises(BadImages):
        chain_of(0, [m.seccomp_filter(filter=b"a", prev=0)])
    with pytest.raises(BadImages):
        chain_of(2, good)


def test_an_interrupted_call_is_made_again() -> None:
    registers = Registers(rax=WORD - 512, orig_rax=NUMBERS["read"], rip=0x1002)
    assert is_interrupted(registers)
    again = rewound(registers, 0)
    assert (again.rax, again.rip) == (NUMBERS["read"], 0x1000)


@pytest.mark.parametrize("values", [{"rax": 7, "orig_rax": 0}, {"rax": WORD - 512, "orig_rax": WORD - 1}])
def test_a_finished_call_is_left_alone(values: dict[str, int]) -> None:
    registers = Registers(rip=0x1002, **values)
    assert not is_interrupted(registers)
    assert rewound(registers, 0).rip == 0x1002


def test_the_number_of_a_restarted_call() -> None:
    assert call_number(Registers(orig_rax=NUMBERS["futex"]), 0) == NUMBERS["futex"]
    assert loaded_number(b"\xb8\x23\x00\x00\x00") == NUMBERS["nanosleep"]
    assert loaded_number(b"\xb8\xe6\x00\x00\x00\x45\x31\xc0") == NUMBERS["clock_nanosleep"]
    assert loaded_number(b"\xb8\x01\x00\x00\x00\x90\x90") == 0
    pointer = 0x7F0000001000
    assert guessed_number(Registers(rdi=1, rsi=0, rdx=pointer)) == NUMBERS["clock_nanosleep"]
    assert guessed_number(Registers(rdi=pointer, rsi=128, rdx=2, r10=pointer)) == NUMBERS["futex"]
    assert guessed_number(Registers(rdi=pointer, rsi=3, rdx=1000)) == NUMBERS["poll"]
    assert guessed_number(Registers(rdi=pointer, rsi=pointer)) == NUMBERS["nanosleep"]


def status(pending: int, caught: int) -> dict[str, str]:
    return {"SigPnd": hex(pending)[2:], "ShdPnd": "0", "SigCgt": hex(caught)[2:]}


def test_the_signal_that_says_done_is_never_one_that_waits() -> None:
    urgent, winch, child = 1 << 22, 1 << 27, 1 << 16
    assert notify_signal(status(0, 0)) == 23
    assert notify_signal(status(urgent, 0)) == 28
    assert notify_signal(status(0, urgent)) == 28
    assert notify_signal(status(0, urgent | winch | child)) == 23
    assert notify_signal(status(urgent | winch | child, 0)) == 64


def test_an_interruption_waits_for_the_end_of_a_critical_block() -> None:
    steps = []
    with pytest.raises(KeyboardInterrupt), critical.critical():
        with critical.critical():
            critical.interrupt(KeyboardInterrupt())
            steps.append("inner")
        steps.append("outer")
    assert steps == ["inner", "outer"]
    with pytest.raises(KeyboardInterrupt):
        critical.interrupt(KeyboardInterrupt())


def test_pids_that_cannot_be_dumped(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    from cr.values import replace

    with pytest.raises(CheckpointError, match="ancestor"):
        preflight.check_root(os.getpid())
    with pytest.raises(CheckpointError, match="no process"):
        preflight.check_root(1 << 22)
    thread = replace(preflight.proc.stat(os.getpid()), flags=0x00200000)  # the tests' pid namespace has no real one
    monkeypatch.setattr(preflight.proc, "stat", lambda pid: thread)
    with pytest.raises(CheckpointError, match="kernel thread"):
        preflight.check_root(os.getpid())
