"""Limits, scheduling, affinity, umask, directories, personality and what prctl(2) sets."""

from __future__ import annotations

import ctypes
import os
import resource
import struct
import sys
import threading
from pathlib import Path

from lib import DIRECTORY, workload

libc = ctypes.CDLL(None, use_errno=True)
LEFT_OUT = set(sys.argv[2:])
_FIELDS = ("Umask", "Cpus_allowed_list", "NoNewPrivs", "SigIgn", "SigCgt", "Threads")


def word(option: int) -> int:
    """What a prctl(2) that writes an int to an address says."""
    value = ctypes.c_long()
    libc.prctl(option, ctypes.byref(value), 0, 0, 0)
    return value.value


def read(name: str) -> str:
    with open(f"/proc/thread-self/{name}") as file:
        return file.read().strip()


def status() -> dict[str, str]:
    lines = dict(line.partition(":")[::2] for line in read("status").splitlines())
    return {name: lines[name].strip() for name in _FIELDS}


def rseq_area() -> bytes:
    """glibc registers its threads: signature and flags do not change, the CPU number may."""
    offset = ctypes.c_ssize_t.in_dll(libc, "__rseq_offset").value
    return struct.pack("<q", offset)


def state() -> dict[str, object]:
    own = os.getpid()
    with open(f"/proc/{own}/limits") as file:
        limits = file.read()
    found: dict[str, object] = {
        "status": status(), "limits": limits, "policy": os.sched_getscheduler(0), "nice": os.nice(0),
        "cwd": os.getcwd(), "personality": read("personality"), "tid address": word(40),
        "parent death signal": word(2) & 0xFFFFFFFF, "subreaper": word(37) & 0xFFFFFFFF, "timer slack": libc.prctl(30),
        "dumpable": libc.prctl(3), "membarrier": libc.syscall(324, 1 << 9, 0, 0), "keep capabilities": libc.prctl(7),
        "I/O priority": libc.syscall(252, 1, 0), "coredump filter": Path(f"/proc/{own}/coredump_filter").read_text(),
        "oom": Path(f"/proc/{own}/oom_score_adj").read_text(), "name": read("comm"), "rseq": rseq_area(),
        "robust list": robust_list(), "session": os.getsid(0), "group": os.getpgid(0),
    }  # fmt: skip
    return {what: value for what, value in found.items() if what not in LEFT_OUT}


def robust_list() -> tuple[int, int]:
    head, length = ctypes.c_long(), ctypes.c_long()
    assert libc.syscall(274, 0, ctypes.byref(head), ctypes.byref(length)) == 0
    return head.value, length.value


with workload() as check:
    in_thread: dict[str, object] = {}
    prepared, go = threading.Event(), threading.Event()

    def other() -> None:
        libc.prctl(15, b"the-other", 0, 0, 0)
        libc.prctl(29, 777777, 0, 0, 0)
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 11)
        in_thread["before"] = state()
        prepared.set()
        go.wait()
        in_thread["after"] = state()

    os.nice(3)
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    if "affinity" not in LEFT_OUT:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.umask(0o027)
    (DIRECTORY / "here").mkdir()
    os.chdir(DIRECTORY / "here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (123, 456))
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    resource.setrlimit(resource.RLIMIT_SIGPENDING, (99, 100))
    libc.personality(0x0040000)  # ADDR_NO_RANDOMIZE
    libc.prctl(36, 1, 0, 0, 0)
    libc.prctl(29, 123456, 0, 0, 0)
    libc.prctl(1, 12, 0, 0, 0)
    libc.prctl(4, 0, 0, 0, 0)
    libc.prctl(8, 1, 0, 0, 0)
    libc.syscall(324, 1 << 4, 0, 0)
    libc.syscall(251, 1, 0, 2 << 13 | 6)
    Path("/proc/self/coredump_filter").write_text("0x13")
    Path("/proc/self/oom_score_adj").write_text("321")
    thread = threading.Thread(target=other)
    thread.start()
    prepared.wait()
    before = state()

    check.wait()

    for what, value in state().items():
        check.equal(value, before[what], what)
    go.set()
    thread.join()
    for what, value in dict(in_thread["after"]).items():  # type: ignore[call-overload]
        check.equal(value, dict(in_thread["before"])[what], f"{what} of the thread")  # type: ignore[call-overload]
