"""Namespaces: unshare, setns, a fork into new ones, and the questions that a namespace descriptor answers.

Sources: namespaces(7), unshare(2), setns(2), clone(2), ioctl_ns(2); numbers of linux/sched.h, linux/nsfs.h.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from contextlib import contextmanager

from cr.kernel.libc import syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

CLONE_PARENT = 0x8000
CLONE_NEWTIME = 0x80
CLONE_NEWNS = 0x20000
CLONE_NEWCGROUP = 0x2000000
CLONE_NEWUTS = 0x4000000
CLONE_NEWIPC = 0x8000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# The names of /proc/<pid>/ns and their clone flags, in the order in which they must be joined: the user
# namespace first (its capabilities are needed for the others), the mount namespace last (it hides /proc).
FLAGS: dict[str, int] = {
    "user": CLONE_NEWUSER,
    "cgroup": CLONE_NEWCGROUP,
    "ipc": CLONE_NEWIPC,
    "uts": CLONE_NEWUTS,
    "net": CLONE_NEWNET,
    "pid": CLONE_NEWPID,
    "time": CLONE_NEWTIME,
    "mnt": CLONE_NEWNS,
}

NS_GET_USERNS = 0xB701
NS_GET_PARENT = 0xB702
NS_GET_NSTYPE = 0xB703
NS_GET_OWNER_UID = 0xB704

_SIGCHLD = 17
_python = ctypes.PyDLL(None, use_errno=True)
_python.syscall.restype = ctypes.c_long


def unshare(flags: int) -> None:
    """unshare(2): leave the namespaces of `flags` for new ones."""
    syscall("unshare", 272, flags)


def setns(fd: int, flags: int) -> None:
    """setns(2): join a namespace, or by a pidfd several of one process at once."""
    syscall("setns", 308, fd, flags)


@contextmanager
def inside(fd: int, name: str) -> Iterator[None]:
    """In the block, this thread is in the namespace behind `fd`; `name` is its kind, as in /proc/PID/ns."""
    own = os.open(f"/proc/thread-self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(fd, FLAGS[name])
        try:
            yield
        finally:
            setns(own, FLAGS[name])
    finally:
        os.close(own)


@contextmanager
def unless_ended(pid: int | str) -> Iterator[None]:
    """In the block a look into /proc/PID/ns: of a task that ends meanwhile the kernel says EACCES, too; made ESRCH."""
    try:
        yield
    except PermissionError as err:
        if os.path.exists(f"/proc/{pid}"):
            raise
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH), err.filename) from err


@contextmanager
def open_namespace(pid: int | str, name: str) -> Iterator[int]:
    """In the block, a descriptor of the namespace that task `pid` is in; `name` as in /proc/PID/ns."""
    with unless_ended(pid):
        fd = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def inside_of(pid: int, name: str) -> Iterator[None]:
    """In the block, this thread is in the namespace of that kind that task `pid` is in."""
    with open_namespace(pid, name) as fd, inside(fd, name):
        yield


def set_host_name(name: str) -> None:
    """sethostname(2): the host name of our UTS namespace."""
    raw = os.fsencode(name)
    syscall("sethostname", 170, raw, len(raw))


def set_domain_name(name: str) -> None:
    """setdomainname(2): the NIS domain name of our UTS namespace."""
    raw = os.fsencode(name)
    syscall("setdomainname", 171, raw, len(raw))


def fork_into(flags: int) -> int:
    """fork(2) with clone(2) flags (CLONE_NEW*, CLONE_PARENT): 0 in the child, its pid in the parent.

    The interpreter's own fork hooks run on both sides, and the lock of the interpreter is held across
    the call, as in os.fork.  The child must not use raise(3): libc still has its parent's thread id.
    """
    _python.PyOS_BeforeFork()
    words = [ctypes.c_long(word) for word in (56, flags | _SIGCHLD, 0, 0, 0, 0)]
    pid: int = _python.syscall(*words)
    code = ctypes.get_errno()
    if pid == 0:
        _python.PyOS_AfterFork_Child()
        return 0
    _python.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(code, f"clone: {os.strerror(code)}")
    return pid


def namespace_type(fd: int) -> int:
    """The CLONE_NEW* flag of a namespace descriptor (NS_GET_NSTYPE)."""
    return fcntl.ioctl(fd, NS_GET_NSTYPE)


def owning_user_namespace(fd: int) -> int:
    """A descriptor of the user namespace that owns this one (NS_GET_USERNS); EPERM outside our own."""
    return fcntl.ioctl(fd, NS_GET_USERNS)


def parent_namespace(fd: int) -> int:
    """A descriptor of the parent of a pid or user namespace (NS_GET_PARENT)."""
    return fcntl.ioctl(fd, NS_GET_PARENT)


def within(fd: int, inode: int) -> bool:
    """Whether a pid or user namespace is the one with this inode, or below it; False where it is not below our own."""
    here = os.dup(fd)
    try:
        while os.fstat(here).st_ino != inode:
            try:
                above = parent_namespace(here)
            except PermissionError:
                return False
            os.close(here)
            here = above
        return True
    finally:
        os.close(here)


def owner_uid(fd: int) -> int:
    """The uid, in our user namespace, of the creator of a user namespace (NS_GET_OWNER_UID)."""
    raw = fcntl.ioctl(fd, NS_GET_OWNER_UID, struct.pack("I", 0))
    uid: int = struct.unpack("I", raw)[0]
    return uid
