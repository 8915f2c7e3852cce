"""A family with a past: dead leaders of sessions and groups, zombies, stopped children, shared tables."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from lib import workload

libc = ctypes.CDLL(None, use_errno=True)
CLONE_FS, CLONE_FILES = 0x200, 0x400
KCMP_FILES, KCMP_FS = 2, 3
EXIT_CODE = 52


def stay() -> None:
    while True:
        signal.pause()


def fork(*works: Callable[[], object], flags: int = signal.SIGCHLD) -> int:
    """A child that does these things one after the other, then stays."""
    pid = int(libc.syscall(56, flags, 0, 0, 0, 0))
    if pid == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for work in works:
            work()
        stay()
    return pid


def leave() -> None:
    os._exit(0)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def family(pid: int) -> list[int]:
    found = [pid]
    for each in found:
        found += map(int, Path(f"/proc/{each}/task/{each}/children").read_text().split())
    return found


def portrait() -> dict[int, list[str]]:
    """State but for the difference of sleeping and running, parent, group, session, exit signal, exit code."""
    shown = {}
    for pid in family(os.getpid()):
        fields = stat(pid)
        state = "S" if fields[0] in "SRD" else fields[0]
        shown[pid] = [state, *fields[1:4], fields[35], fields[49] if state == "Z" else ""]
    return shown


def same(other: int, kind: int) -> bool:
    return int(libc.syscall(312, os.getpid(), other, kind, 0, 0)) == 0


def reported(pid: int) -> bool:
    """Whether the stop of a child has been waited for."""
    return os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is None


with workload() as check:
    libc.prctl(36, 1, 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD, signal.SIGUSR1])
    fork(os.setsid, lambda: fork(os.setpgrp, lambda: fork()), lambda: fork())
    fork(lambda: fork(lambda: fork()), os.setsid)  # children of a session that their parent has left
    fork(lambda: fork(lambda: fork(), os.setsid), os.setsid)  # a grandchild of a session that both have left
    passing = [
        fork(os.setsid, lambda: fork(lambda: fork()), lambda: fork(os.setpgrp), leave),  # a dead session leader
        fork(os.setsid, *[lambda: fork(lambda: fork(), os.setsid)] * 2, leave),  # of a session that two have left
        fork(os.setpgrp, lambda: fork(), lambda: fork(), leave),  # a dead group leader
    ]
    deep = fork(lambda: fork(os.setsid, lambda: fork(lambda: fork(), leave), lambda: os.wait()))
    for pid in passing:
        os.waitpid(pid, 0)
    zombie = fork(lambda: os._exit(EXIT_CODE))
    killed = fork(lambda: os.kill(os.getpid(), signal.SIGABRT))
    leader = fork(os.setpgrp, stay)
    wait_until(lambda: stat(leader)[2] == str(leader))
    member = fork(lambda: os.setpgid(0, leader))
    wait_until(lambda: stat(member)[2] == str(leader))
    os.kill(leader, signal.SIGKILL)
    quiet = fork(flags=int(signal.SIGUSR1))
    sharing = fork(flags=CLONE_FILES | CLONE_FS | signal.SIGCHLD)
    stopped, stopped_unseen = fork(), fork()
    for pid in (stopped, stopped_unseen):
        os.kill(pid, signal.SIGSTOP)
    os.waitpid(stopped, os.WUNTRACED)
    wait_until(lambda: stat(stopped_unseen)[0] == "T")
    for pid in (zombie, killed, leader):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    wait_until(lambda: len(family(os.getpid())) == 31)
    signal.sigtimedwait([signal.SIGCHLD], 0)
    time.sleep(0.05)  # let all reach what they stay in
    before = portrait()

    check.wait()

    check.equal(portrait(), before, "family")
    check.that(signal.SIGCHLD not in signal.sigpending(), "a SIGCHLD that the restore has caused")
    check.that(same(sharing, KCMP_FILES) and same(sharing, KCMP_FS), "descriptors and directories are shared")
    check.that(not same(quiet, KCMP_FILES), "descriptors are not shared with others")
    check.that(reported(stopped), "a stop that was waited for is reported again")
    check.that(not reported(stopped_unseen), "a stop that nobody had seen is not reported")
    check.equal(os.waitpid(zombie, 0)[1], EXIT_CODE << 8, "status of the zombie")
    check.equal(os.waitpid(killed, 0)[1] & 0x7F, signal.SIGABRT, "signal of the zombie")
    os.kill(quiet, signal.SIGKILL)
    os.waitpid(quiet, 0x40000000)
    check.that(signal.SIGUSR1 in signal.sigpending(), "the exit signal of a child")
    for pid in set(family(os.getpid())) - {os.getpid()}:
        os.kill(pid, signal.SIGKILL)
