"""Probes of `woodfrog-criu check` for what belongs to tasks: memory, seccomp, restartable sequences, ids."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator

_NS_GET_PID_IN_PIDNS = 0x8004B708  # _IOR(0xb7, 0x8, int), linux/nsfs.h
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2


@contextlib.contextmanager
def _traced_child() -> Iterator[int]:
    """The tid of a process of ours, seized and standing still."""
    from cr.remote.puppet import spawn_seed
    from cr.remote.tracee import WALL

    read, write = os.pipe()
    try:
        seed = spawn_seed(read)
        try:
            yield seed.tid
        finally:
            os.kill(seed.tid, 9)
            os.waitpid(seed.tid, WALL)
    finally:
        os.close(read)
        os.close(write)


def _in_child(action: Callable[[], object]) -> None:
    """Run it where it changes nothing of ours; OSError where it fails."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            action()
            code = 0
        except OSError as error:
            code = error.errno or 1
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        raise OSError(code, os.strerror(code))


def _rseq() -> None:
    from cr.kernel.ptrace import rseq_configuration

    with _traced_child() as tid:
        rseq_configuration(tid)


def _seccomp_suspend() -> None:
    from cr.kernel import ptrace

    with _traced_child() as tid:
        ptrace.ptrace(ptrace.SETOPTIONS, tid, 0, ptrace.O_SUSPEND_SECCOMP | ptrace.O_EXITKILL)


def _seccomp_filters() -> None:
    """A filter at no address is EFAULT where the kernel knows filters at all."""
    from cr.kernel.prctl import prctl

    try:
        prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, None)
    except OSError as error:
        if error.errno != errno.EFAULT:
            raise


def _guard_pages() -> None:
    from cr.kernel import pagemap

    fd = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        pagemap.scan(fd, 0, 0x10000, any_of=pagemap.PAGE_IS_GUARD, report=pagemap.PAGE_IS_GUARD)
    finally:
        os.close(fd)


def _huge_memfd() -> None:
    os.close(os.memfd_create("woodfrog-check", os.MFD_CLOEXEC | os.MFD_HUGETLB))


def _pid_in_namespace() -> None:
    fd = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if fcntl.ioctl(fd, _NS_GET_PID_IN_PIDNS, os.getpid()) != os.getpid():
            raise OSError(errno.ENOTSUP, "a pid namespace does not tell its own pids")
    finally:
        os.close(fd)


def _loginuid() -> None:
    """A child takes the loginuid on that it has already."""
    from cr.kernel import proc
    from cr.resources.proc_settings import write_setting

    _in_child(lambda: write_setting(os.getpid(), "loginuid", proc.read_text("self", "loginuid").strip()))


TASKS: dict[str, Callable[[], None]] = {
    "get_rseq_conf": _rseq,
    "seccomp_suspend": _seccomp_suspend,
    "seccomp_filters": _seccomp_filters,
    "pagemap_scan_guard_pages": _guard_pages,
    "memfd_hugetlb": _huge_memfd,
    "ns_pid": _pid_in_namespace,
    "loginuid": _loginuid,
}
"""Optional features by the names that criu(8) and its tests know them by."""
