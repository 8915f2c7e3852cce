"""A small container of its own making: pivoted root, and mounts of every kind that is restored.

Run it in a new mount namespace (unshare --mount).  /usr and the test's directory are the host's.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import signal
import socket
import struct
import subprocess
from pathlib import Path

from lib import DIRECTORY, workload

ROOT = DIRECTORY / "root"
CLONE_NEWNS = 0x20000
# fmt: off
_DIRECTORIES = ("proc", "dev", "usr", "etc", "run", "tmp", "old", "data/deep", "b1", "b2", "b3", "gone", "hidden",
                "covered", "auto")
# fmt: on


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def make_root() -> None:
    for name in _DIRECTORIES:
        (ROOT / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (ROOT / name).symlink_to(f"usr/{name}")
    (ROOT / "hidden/below").mkdir()
    (ROOT / "etc/hosts").touch()
    (ROOT / "etc/name").write_text("container\n")
    (ROOT / str(DIRECTORY).lstrip("/")).mkdir(parents=True)
    mount("--bind", str(ROOT), str(ROOT))
    mount("--bind", "/usr", f"{ROOT}/usr")
    mount("--bind", str(DIRECTORY), f"{ROOT}{DIRECTORY}")


def mount_filesystems() -> None:
    mount("-t", "proc", "-o", "nosuid,nodev,noexec", "proc", "proc")
    mount("-t", "tmpfs", "-o", "size=8m,mode=755", "dev", "dev")
    os.mknod("dev/null", 0o20666, os.makedev(1, 3))
    os.chmod("dev/null", 0o666)
    for name in ("pts", "pts2", "shm", "mqueue", "hugepages"):
        os.mkdir(f"dev/{name}")
    mount("-t", "devpts", "-o", "newinstance,ptmxmode=666,mode=620", "devpts", "dev/pts")
    mount("-t", "devpts", "-o", "newinstance,ptmxmode=666,mode=620", "devpts", "dev/pts2")
    mount("-t", "tmpfs", "-o", "nosuid,nodev,noatime", "shm", "dev/shm")
    mount("-t", "hugetlbfs", "-o", "pagesize=2M,mode=700", "huge", "dev/hugepages")
    mount("-t", "tmpfs", "run", "run")
    mount("-t", "tmpfs", "-o", "ro", "masked", "proc/fs")
    mount("--bind", "dev/null", "proc/interrupts")
    mount("--bind", "etc/name", "etc/hosts")


def fill() -> None:
    os.makedirs("run/sub/gone")
    Path("run/sub/file").write_text("content")
    os.link("run/sub/file", "run/link")
    os.chown("run/link", 12, 34)
    with open("run/sparse", "wb") as file:
        file.truncate(1 << 22)
        file.seek(1 << 20)
        file.write(b"middle")
    os.setxattr("run/sub", "trusted.note", b"\xff\0bytes")
    os.utime("run/sub/file", ns=(1, 1_234_567_890_123_456_789))


hidden: list[socket.socket] = []
"""bound in directories over which something is mounted afterwards"""


def bind() -> None:
    """Binds, shared and slave groups, mounts that hide others, one whose source is gone."""
    mount("--bind", "run/sub", "b1")
    mount("--make-shared", "run")
    mount("--bind", "run", "b2")
    mount("--make-slave", "b2")
    mount("--make-shared", "b2")
    mount("-o", "bind,ro", "data/deep", "b3")
    mount("--bind", "run/sub/gone", "gone")
    os.rmdir("run/sub/gone")
    mount("-t", "tmpfs", "below", "hidden/below")
    Path("hidden/below/file").write_text("below")
    hidden.append(listening("hidden/sock"))
    mount("-t", "tmpfs", "-o", "noexec", "above", "hidden")
    Path("hidden/file").write_text("above")
    mount("--make-unbindable", "hidden")


def pivot() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    os.chdir(ROOT)
    assert libc.pivot_root(b".", b"old") == 0, os.strerror(ctypes.get_errno())
    os.chdir("/")
    subprocess.run(["umount", "-l", "/old"], check=True)
    null = os.open("/dev/null", os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    os.close(null)


def listening(name: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(name)
    sock.listen()
    return sock


def reachable(sock: socket.socket, name: str) -> bool:
    """Whether a name leads to one of our own listening sockets."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(name)
        sock.accept()[0].close()
        return sock.getsockname() == client.getpeername()


def view() -> list[tuple[object, ...]]:
    """The namespace as it must come back: ids of mounts and devices are counted anew in the order of appearance."""
    lines = [line.split(" - ") for line in Path("/proc/thread-self/mountinfo").read_text().splitlines()]
    points = {left.split()[0]: left.split()[4] for left, _ in lines}
    groups: dict[str, str] = {}
    found = []
    for left, right in sorted(lines, key=lambda line: (line[0].split()[4], line[0].split()[3], line[1])):
        _, parent, _, root, point, options, *tags = left.split()
        named = [(kind, groups.setdefault(number, point)) for kind, _, number in (tag.partition(":") for tag in tags)]
        right = re.sub(r"pipe_ino=\d+", "pipe_ino", right)
        found.append((point, root, points.get(parent), options, right, sorted(named)))
    return found


def content() -> object:
    status = os.stat("/run/sub/file")
    sparse = os.stat("/run/sparse")
    return (
        Path("/run/sub/file").read_text(),
        (status.st_nlink, status.st_uid, status.st_gid, status.st_mtime_ns),
        (sparse.st_size, sparse.st_blocks < 100),
        os.getxattr("/run/sub", "trusted.note"),
        Path("/hidden/file").read_text(),
        Path("/b1/file").read_text(),
        Path("/etc/hosts").read_text(),
        os.stat("/dev/null").st_rdev,
        os.listdir("/gone"),
    )


def child_elsewhere() -> tuple[int, int, int]:
    """A child in a mount namespace of its own; it answers whether that is still as it was."""
    asking, question = os.pipe()
    answer, answering = os.pipe()
    pid = os.fork()
    if pid == 0:
        ctypes.CDLL(None).unshare(CLONE_NEWNS)
        mount("-t", "tmpfs", "-o", "size=1m", "private", "/tmp")
        Path("/tmp/mine").write_text("mine")
        sock = listening("/tmp/sock")
        held = open("/tmp/mine", "rb")  # noqa: SIM115 (held over the dump)
        before = view()
        os.write(answering, b"r")
        os.read(asking, 1)
        same = view() == before and Path("/tmp/mine").read_text() == "mine" and held.read() == b"mine"
        os.write(answering, b"y" if same and reachable(sock, "/tmp/sock") else b"n")
        os._exit(0)
    assert os.read(answer, 1) == b"r"
    return pid, question, answer


def automounter() -> int:
    """A daemon that mounts a tmpfs wherever below /auto somebody goes; its pid."""
    requests, kernel = os.pipe()
    pid = os.fork()
    if pid:
        os.close(kernel)
        os.close(requests)
        return pid
    os.setpgid(0, 0)
    options = f"fd={kernel},pgrp={os.getpid()},minproto=5,maxproto=5,indirect".encode()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mount(b"daemon", b"/auto", b"autofs", 0, options) == 0, os.strerror(ctypes.get_errno())
    root = os.open("/auto", os.O_RDONLY)
    os.close(kernel)
    while packet := os.read(requests, 4096):
        token, length = struct.unpack_from("<8xI28xI", packet)
        place = os.fsdecode(b"/auto/" + packet[44 : 44 + length])
        os.makedirs(place, exist_ok=True)
        mount("-t", "tmpfs", "automatic", place)
        fcntl.ioctl(root, 0x9360, token)
    os._exit(0)


def terminal(devpts: str) -> tuple[int, int]:
    """Master and slave of the first terminal of a devpts."""
    master = os.open(f"{devpts}/ptmx", os.O_RDWR | os.O_NOCTTY)
    fcntl.ioctl(master, 0x40045431, struct.pack("i", 0))
    return master, os.open(f"{devpts}/0", os.O_RDWR | os.O_NOCTTY)


def is_terminal(master: int, slave: int, devpts: str) -> bool:
    os.write(slave, devpts.encode())
    return os.read(master, 100) == devpts.encode() and os.path.samestat(os.fstat(slave), os.stat(f"{devpts}/0"))


def watch() -> int:
    """A fanotify group with a mark on a file, on a mount, and on a filesystem; it has no events yet."""
    libc = ctypes.CDLL(None, use_errno=True)
    group = libc.syscall(300, 0x3, os.O_RDONLY)
    marks = [(0, 0x2, b"/run/sub/file"), (0x10, 0x10, b"/b3"), (0x100, 0x20, b"/dev/shm")]
    for kind, mask, path in marks:
        flags, events = ctypes.c_long(1 | kind), ctypes.c_long(mask)
        assert libc.syscall(301, group, flags, events, -100, path) == 0, os.strerror(ctypes.get_errno())
    return int(group)


def watched(group: int) -> list[tuple[str, int]]:
    """(name, mask) of the events."""
    events = os.read(group, 4096)
    found = [struct.unpack_from("<IBBHQii", events, place) for place in range(0, len(events), 24)]
    names = [(os.readlink(f"/proc/self/fd/{event[5]}"), event[4]) for event in found]
    for event in found:
        os.close(event[5])
    return names


def automounted(name: str) -> bool:
    """Whether something is mounted where we go to."""
    os.listdir(f"/auto/{name}")
    return os.path.ismount(f"/auto/{name}")


with workload() as check:
    os.environ["WORKLOAD_PID"] = os.readlink("/proc/self")
    make_root()
    os.chdir(ROOT)
    mount_filesystems()
    fill()
    bind()
    pivot()
    hidden.append(listening("/covered/sock"))
    mount("-t", "tmpfs", "above", "/covered")
    terminals = {devpts: terminal(devpts) for devpts in ("/dev/pts", "/dev/pts2")}
    has_autofs = "autofs" in Path("/proc/filesystems").read_text()
    daemon = automounter() if has_autofs else 0
    while daemon and not os.path.ismount("/auto"):
        os.kill(daemon, 0)
        os.sched_yield()
    check.that(not daemon or automounted("one"), "the automounter does not work")
    child, question, answer = child_elsewhere()
    before, filled = view(), content()
    Path("/data/deep/file").touch()
    group = watch()
    check.wait()
    check.equal(view(), before, "the mounts")
    check.equal(content(), filled, "the files")
    os.utime("/run/sub/file")
    Path("/b3/file").read_text()
    with open("/run/sub/file", "a") as file:
        file.write("x")
    Path("/dev/shm/file").touch()
    marks = [("/b3/file", 0x10), ("/run/sub/file", 0x2), ("/dev/shm/file", 0x20)]
    check.equal(watched(group), marks, "what fanotify tells")
    os.write(question, b"?")
    check.equal(os.read(answer, 1), b"y", "the child's own namespace")
    os.waitpid(child, 0)
    check.that(not os.path.exists("/tmp/mine"), "the child's tmpfs is seen outside")
    if daemon:
        check.that(automounted("one") and automounted("two"), "the automounter's pipe")
        os.kill(daemon, signal.SIGKILL)
        os.waitpid(daemon, 0)
    for devpts, ends in terminals.items():
        check.that(is_terminal(*ends, devpts), f"the terminal in {devpts}")
    mount("-t", "tmpfs", "new", "/run/sub")
    check.that(os.path.ismount("/b2/sub"), "a mount on the shared directory does not reach its slave")
    subprocess.run(["umount", "/hidden", "/covered"], check=True)
    check.that(reachable(hidden[0], "hidden/sock"), "a socket bound by a relative name to what was hidden then")
    check.that(reachable(hidden[1], "/covered/sock"), "a socket bound by an absolute name to what was hidden then")
    check.equal(Path("/hidden/below/file").read_text(), "below", "the hidden mount")
