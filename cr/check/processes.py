"""Processes: tracing them, making them, their timers and filters."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct

from cr.check.feature import EXPERIMENTAL, NEEDED, Feature, all_of, apart, calls, lacking, seed
from cr.kernel import ptrace
from cr.kernel.libc import syscall
from cr.kernel.numbers import NUMBERS


def _ptrace_seize() -> None:
    with seed():
        pass


def _suspend_seccomp() -> None:
    with seed() as tracee:
        tracee.options(ptrace.O_SUSPEND_SECCOMP)


def _rseq_configuration() -> None:
    with seed() as tracee:
        ptrace.rseq_configuration(tracee.tid)


def _breakpoints() -> None:
    """Write debug register 7 (struct user, u_debugreg): nothing is armed by zero."""
    with seed() as tracee:
        syscall("ptrace", NUMBERS["ptrace"], 6, tracee.tid, 848 + 7 * 8, 0)  # PTRACE_POKEUSER


def _seccomp_filters() -> None:
    """Read the filter of a child that has one: a single instruction that allows all."""
    from cr.kernel.prctl import set_no_new_privs, set_parent_death_signal
    from cr.remote.tracee import WALL, Tracee

    reading, writing = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            set_parent_death_signal(9)
            set_no_new_privs()
            allow = ctypes.create_string_buffer(struct.pack("<HBBI", 0x06, 0, 0, 0x7FFF0000))
            program = struct.pack("<HxxxxxxQ", 1, ctypes.addressof(allow))
            syscall("seccomp", NUMBERS["seccomp"], 1, 0, program)
            os.write(writing, b"1")
            signal.pause()
        finally:
            os._exit(0)
    os.close(writing)
    try:
        if not os.read(reading, 1):
            raise lacking("seccomp filters cannot be installed")
        tracee = Tracee.seize(pid, ptrace.O_EXITKILL)
        tracee.interrupt()
        tracee.settle()
        ptrace.seccomp_filter(pid, 0)
    finally:
        os.close(reading)
        os.kill(pid, 9)
        os.waitpid(pid, WALL)


def _clone3_set_tid() -> None:
    from cr.kernel.clone import CLONE_ARGS_SIZE, clone_args

    tid = (ctypes.c_int * 1)(os.getpid())
    args = clone_args(0, exit_signal=17, set_tid=ctypes.addressof(tid), set_tid_size=1)
    try:
        syscall("clone3", NUMBERS["clone3"], ctypes.create_string_buffer(args, len(args)), CLONE_ARGS_SIZE)
    except FileExistsError:
        return  # our own pid is taken, of course: the kernel looked at it
    raise lacking("clone3 ignores set_tid")


def _children() -> None:
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        file.read()


def _status(name: str, sentence: str) -> None:
    with open("/proc/self/status") as file:
        if not any(line.startswith(f"{name}:") for line in file):
            raise lacking(sentence)


def _loginuid() -> None:
    """A loginuid that is set must be given up for another one: write our own again."""
    with open("/proc/self/loginuid") as file:
        own = file.read().strip()
    with open("/proc/self/loginuid", "w") as file:
        file.write("4294967295")
    with open("/proc/self/loginuid", "w") as file:
        file.write(own)


def _timer_ids() -> None:
    from cr.kernel.controls import timer_ids_can_be_chosen

    if not timer_ids_can_be_chosen():
        raise lacking("timer_create(2) does not let its caller choose the id (before Linux 6.16)")


def _compat() -> None:
    raise OSError(errno.EOPNOTSUPP, "32-bit tasks are refused by this engine, whatever the kernel can do")


_PIDFD_OPEN = calls("pidfd_open", -1, 0, expected=(errno.EINVAL,))
_PIDFD_GETFD = calls("pidfd_getfd", -1, -1, 0, expected=(errno.EBADF,))

FEATURES = (
    Feature("ptrace_seize", _ptrace_seize, NEEDED),
    Feature("clone3_set_tid", _clone3_set_tid, NEEDED),
    Feature("kcmp", lambda: _kcmp_self(), NEEDED),
    Feature("pidfd_open", _PIDFD_OPEN, NEEDED),
    Feature("pidfd_getfd", _PIDFD_GETFD, NEEDED),
    Feature("proc_children", _children, NEEDED),
    Feature("ns_pid", lambda: _status("NSpid", "/proc/PID/status does not say the ids in inner namespaces"), NEEDED),
    Feature("pidfd_store", all_of(_PIDFD_OPEN, _PIDFD_GETFD)),
    Feature("seccomp_suspend", _suspend_seccomp),
    Feature("seccomp_filters", _seccomp_filters),
    Feature("get_rseq_conf", _rseq_configuration),
    Feature("timer_cr_ids", apart(_timer_ids)),
    Feature("loginuid", apart(_loginuid)),
    Feature("breakpoints", _breakpoints),
    Feature("compat_cr", _compat, EXPERIMENTAL),
)


def _kcmp_self() -> None:
    syscall("kcmp", NUMBERS["kcmp"], os.getpid(), os.getpid(), 1, 0, 0)
