"""`woodfrog-criu check`: whether this kernel has what the engine needs, each thing tried, not guessed."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
from collections.abc import Callable

from cr.kernel.libc import syscall
from cr.kernel.numbers import NUMBERS

Probe = Callable[[], None]


def _call(name: str, *arguments: object, expected: tuple[int, ...]) -> None:
    """A call that must exist: with useless arguments it fails with one of the expected errors."""
    try:
        syscall(name, NUMBERS[name], *arguments)
    except OSError as error:
        if error.errno not in expected:
            raise


def _kcmp() -> None:
    syscall("kcmp", NUMBERS["kcmp"], os.getpid(), os.getpid(), 1, 0, 0)


def _kcmp_epoll() -> None:
    import select

    from cr.kernel.events import epoll_slot
    from cr.kernel.pidfd import KCMP_EPOLL_TFD, kcmp

    read, write = os.pipe()
    with select.epoll() as epoll:
        epoll.register(read, select.EPOLLIN)
        same = kcmp(os.getpid(), os.getpid(), KCMP_EPOLL_TFD, read, epoll_slot(epoll.fileno(), read, 0))
    os.close(read)
    os.close(write)
    if same:
        raise OSError(errno.ENOSYS, "kcmp does not find the files that epoll watches")


def _timerfd() -> None:
    from cr.kernel.events import timerfd_create, timerfd_set_ticks

    fd = timerfd_create(1, 0)
    try:
        timerfd_set_ticks(fd, 1)
    finally:
        os.close(fd)


def _aio_remap() -> None:
    """The ring of a context moves, and the context with it."""
    import mmap

    from cr.kernel import mman, vm
    from cr.resources.aio_ring import Ring

    context = ctypes.c_uint64()
    syscall("io_setup", NUMBERS["io_setup"], 1, ctypes.byref(context))
    length, flags = Ring.read(os.getpid(), context.value).length, mman.MREMAP_MAYMOVE | mman.MREMAP_FIXED
    with mmap.mmap(-1, length) as place:
        there = vm.address_of(place)
        syscall("mremap", NUMBERS["mremap"], context.value, length, length, flags, there)
        syscall("io_destroy", NUMBERS["io_destroy"], there)


def _autofs() -> None:
    import fcntl

    from cr.kernel import autofs, mounts

    os.close(mounts.fsopen("autofs"))
    fd = os.open(autofs.DEVICE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, autofs.VERSION_IOCTL, autofs.device_request(-1))
    finally:
        os.close(fd)


def _fdinfo_lock() -> None:
    import fcntl

    fd = os.memfd_create("woodfrog-check")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        with open(f"/proc/self/fdinfo/{fd}") as info:
            if "lock:" not in info.read():
                raise OSError(errno.ENOSYS, "fdinfo does not show locks")
    finally:
        os.close(fd)


def _clone3_set_tid() -> None:
    from cr.kernel.clone import CLONE_ARGS_SIZE, clone_args

    tid = (ctypes.c_int * 1)(os.getpid())
    args = clone_args(0, exit_signal=17, set_tid=ctypes.addressof(tid), set_tid_size=1)
    try:
        syscall("clone3", NUMBERS["clone3"], ctypes.create_string_buffer(args, len(args)), CLONE_ARGS_SIZE)
    except FileExistsError:
        return  # our own pid is taken, of course: the kernel looked at it
    raise OSError(errno.ENOSYS, "clone3 ignores set_tid")


def _map_files() -> None:
    os.listdir("/proc/self/map_files")


def _pagemap_scan() -> None:
    from cr.kernel import pagemap

    fd = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        pagemap.scan(fd, 0, 0x10000, any_of=pagemap.PAGE_IS_PRESENT)
    finally:
        os.close(fd)


def _ptrace_seize() -> None:
    from cr.remote.puppet import spawn_seed
    from cr.remote.tracee import WALL

    read, write = os.pipe()
    try:
        seed = spawn_seed(read)
        os.kill(seed.tid, 9)
        os.waitpid(seed.tid, WALL)
    finally:
        os.close(read)
        os.close(write)


def _children() -> None:
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        file.read()


def _namespace(name: str) -> Probe:
    def probe() -> None:
        os.stat(f"/proc/self/ns/{name}")

    return probe


def _userfaultfd() -> None:
    os.close(syscall("userfaultfd", NUMBERS["userfaultfd"], os.O_CLOEXEC | 1))


def _mnt_id() -> None:
    with open("/proc/self/status") as file, open(f"/proc/self/fdinfo/{file.fileno()}") as info:
        if "mnt_id:" not in info.read():
            raise OSError(errno.ENOSYS, "/proc/PID/fdinfo does not say mount ids")


def _move_mount_set_group() -> None:
    """An unknown flag is EINVAL, a known one with descriptors that are none is EBADF."""
    from cr.kernel.mounts import MOVE_MOUNT_SET_GROUP

    _call("move_mount", -1, b"x", -1, b"x", MOVE_MOUNT_SET_GROUP, expected=(errno.EBADF,))


def _sock_diag() -> None:
    import socket

    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4).close()


def _link_nsid() -> None:
    """Ask for the number of our own network namespace."""
    from netns.enter import open_netns
    from netns.rtnl import nsid_of
    from netns.wire import Socket

    fd = open_netns()
    try:
        with Socket() as sock:
            nsid_of(sock, fd)
    finally:
        os.close(fd)


def _program(*names: str) -> Probe:
    def probe() -> None:
        if not any(shutil.which(name) for name in names):
            raise OSError(errno.ENOENT, f"needs {' or '.join(names)}")

    return probe


def _nftables() -> None:
    """Load the library, or find the program."""
    try:
        ctypes.CDLL("libnftables.so.1")
    except OSError:
        _program("nft")()


def _newifindex() -> None:
    """Move a link from one network namespace of a thread's own to another, with a number of our choice there."""
    from cr.kernel.namespaces import CLONE_NEWNET, unshare
    from netns import rtnl
    from netns.enter import open_netns, run_in
    from netns.wire import Socket, attr, text

    def make() -> None:
        unshare(CLONE_NEWNET)
        there = open_netns()
        try:
            with Socket() as other:
                unshare(CLONE_NEWNET)
                with Socket() as sock:
                    peer = attr(1, rtnl.head())
                    body = rtnl.head() + text(rtnl.IFLA_IFNAME, "probe") + rtnl.linkinfo("veth", peer)
                    rtnl.new_link(sock, body, "make a link")
                    move = rtnl.u32(rtnl.IFLA_NET_NS_FD, there) + rtnl.u32(49, 77)  # IFLA_NEW_IFINDEX
                    rtnl.change_link(sock, rtnl.index_of(sock, "probe"), "move a link", move)
                if rtnl.index_of(other, "probe") != 77:
                    raise OSError(errno.ENOSYS, "the kernel chooses the numbers of moved links itself")
        finally:
            os.close(there)

    own = open_netns()
    try:
        run_in(own, make)  # in a thread, which takes its namespaces with it
    finally:
        os.close(own)


NEEDED: dict[str, Probe] = {
    "ptrace_seize": _ptrace_seize,
    "clone3_set_tid": _clone3_set_tid,
    "map_files": _map_files,
    "kcmp": _kcmp,
    "pidfd_getfd": lambda: _call("pidfd_getfd", -1, -1, 0, expected=(errno.EBADF,)),
    "pidfd_open": lambda: _call("pidfd_open", -1, 0, expected=(errno.EINVAL,)),
    "process_vm_readv": lambda: _call("process_vm_readv", -1, None, 0, None, 0, 0, expected=(errno.ESRCH,)),
    "proc_children": _children,
    "pagemap_scan": _pagemap_scan,
    "sock_diag": _sock_diag,
    "openat2": lambda: _call("openat2", -1, None, None, 0, expected=(errno.EINVAL, errno.EFAULT)),
}
"""Category 1: nothing goes without these."""

OPTIONAL: dict[str, Probe] = {
    **{name: _namespace(name) for name in ("pid", "mnt", "net", "uts", "ipc", "user", "cgroup")},
    "timens": _namespace("time"),
    "cgroupns": _namespace("cgroup"),
    "external_net_ns": _namespace("net"),
    "external_pid_ns": _namespace("pid_for_children"),
    "link_nsid": _link_nsid,
    "nftables": _nftables,
    "has_ipt_legacy": _program("iptables-legacy-save", "iptables-save"),
    "newifindex": _newifindex,
    "kcmp_epoll": _kcmp_epoll,
    "aio_remap": _aio_remap,
    "autofs": _autofs,
    "fdinfo_lock": _fdinfo_lock,
    "timerfd": _timerfd,
    "userns": _namespace("user"),
    "mnt_id": _mnt_id,
    "move_mount_set_group": _move_mount_set_group,
    "uffd": _userfaultfd,
    "move_mount": lambda: _call(
        "move_mount", -1, None, -1, None, 0, expected=(errno.EBADF, errno.EFAULT, errno.ENOENT)
    ),
}
"""Category 2: needed by trees that use them."""


def check(features: list[str]) -> int:
    """Say "Looks good." (0), or what is missing (1)."""
    if "list" in features:
        print("\n".join(sorted({**NEEDED, **OPTIONAL})))
        return 0
    if features:
        return max(_one(name) for name in features)
    return _all(NEEDED)


def _one(name: str) -> int:
    probe = {**NEEDED, **OPTIONAL}.get(name)
    if probe is None:
        print(f"woodfrog-criu: there is no feature {name}: --feature list shows them", file=sys.stderr)
        return 1
    problem = _try(probe)
    if problem:
        print(f"woodfrog-criu: {name}: {problem}", file=sys.stderr)
    return int(bool(problem))


def _all(probes: dict[str, Probe]) -> int:
    missing = {name: problem for name, probe in probes.items() if (problem := _try(probe))}
    for name, problem in missing.items():
        print(f"woodfrog-criu: {name}: {problem}", file=sys.stderr)
    print("Does not look good." if missing else "Looks good.")
    return int(bool(missing))


def _try(probe: Probe) -> str:
    try:
        probe()
    except OSError as error:
        return str(error)
    return ""
