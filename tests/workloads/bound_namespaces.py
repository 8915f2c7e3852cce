"""In a mount namespace of its own: namespaces of a child, and one of our own, that are bound to paths.

With an argument, also one in which there is no process any more.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from pathlib import Path

from lib import workload
from own_root import enter, lay_out, mount

MS_REMOUNT, MS_BIND, MS_NOEXEC = 0x20, 0x1000, 8
CLONE_NEWUTS, CLONE_NEWNET = 0x4000000, 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def call(result: int) -> None:
    assert result == 0, os.strerror(ctypes.get_errno())


def bind(source: str, target: str) -> None:
    Path(target).touch()
    call(libc.mount(source.encode(), target.encode(), None, MS_BIND, None))


def root() -> None:
    lay_out("ns")
    mount("-t", "tmpfs", "-o", "size=1m", "ns", "ns")
    mount("--make-shared", "ns")  # as `ip netns add` does
    enter()


def elsewhere() -> int:
    """A child in namespaces of its own; its pid."""
    ready, told = os.pipe()
    if (child := os.fork()) == 0:
        call(libc.unshare(CLONE_NEWUTS | CLONE_NEWNET))
        socket.sethostname("elsewhere")
        os.write(told, b".")
        signal.pause()
    os.read(ready, 1)
    os.close(ready)
    os.close(told)
    return child


def hostname(path: str) -> str:
    """As it is in the namespace at a path."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        with open(path) as namespace:
            call(libc.setns(namespace.fileno(), CLONE_NEWUTS))
        os.write(writing, socket.gethostname().encode())
        os._exit(0)
    os.waitpid(child, 0)
    return os.read(reading, 100).decode()


lonely = sys.argv[2] if len(sys.argv) > 2 else ""
with workload() as check:
    os.environ["WORKLOAD_PID"] = os.readlink("/proc/self")
    root()
    child = elsewhere()
    for name in ("net", "uts"):
        bind(f"/proc/{child}/ns/{name}", f"/ns/{name}")
    bind("/proc/self/ns/net", "/ns/own")
    call(libc.mount(None, b"/ns/own", None, MS_REMOUNT | MS_BIND | MS_NOEXEC, None))
    before = [line.split()[4:6] for line in Path("/proc/self/mountinfo").read_text().splitlines() if " nsfs " in line]
    if lonely:
        helper = elsewhere()
        bind(f"/proc/{helper}/ns/net", "/ns/lonely")
        os.kill(helper, signal.SIGKILL)
        os.waitpid(helper, 0)
    check.wait()

    after = [line.split()[4:6] for line in Path("/proc/self/mountinfo").read_text().splitlines() if " nsfs " in line]
    check.equal(sorted(after), sorted(before), "the mounts with their flags")
    for name, owner in (("net", child), ("uts", child), ("own", "self")):
        there, here = os.stat(f"/ns/{name}"), os.stat(f"/proc/{owner}/ns/{name.replace('own', 'net')}")
        check.equal((there.st_dev, there.st_ino), (here.st_dev, here.st_ino), f"the namespace at /ns/{name}")
    check.equal(hostname("/ns/uts"), "elsewhere", "the name in there")
    check.that(os.stat("/ns/net").st_ino != os.stat("/ns/own").st_ino, "two networks")
    call(libc.umount2(b"/ns/net", 0))
    check.equal(os.stat("/ns/net").st_size, 0, "the file below")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
