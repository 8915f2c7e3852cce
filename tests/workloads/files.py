"""Open files of every kind: positions, flags, deleted, linked, sparse, O_PATH, directories, devices."""

from __future__ import annotations

import fcntl
import os
import stat
import struct

from lib import COMMON, DIRECTORY, somebody, workload

os.chdir(DIRECTORY)


def make(name: str, content: bytes = b"", flags: int = os.O_RDWR) -> int:
    fd = os.open(name, flags | os.O_CREAT, 0o640)
    os.write(fd, content)
    return fd


def link(fd: int) -> str:
    return os.readlink(f"/proc/self/fd/{fd}")


with workload() as check:
    plain = make("plain", b"0123456789")
    os.lseek(plain, 4, os.SEEK_SET)
    shared = os.dup(plain)
    append = os.open("plain", os.O_WRONLY | os.O_APPEND | os.O_SYNC)
    second = os.open("plain", os.O_RDONLY)
    deleted = make("deleted", b"deleted content")
    os.fchown(deleted, *somebody(1234, 4321))
    os.fchmod(deleted, 0o4751)
    os.utime(deleted, ns=(1_000_000_000, 2_000_000_000))
    again = os.open("deleted", os.O_RDONLY)
    os.unlink("deleted")
    replaced = make("replaced", b"old")
    os.unlink("replaced")
    make("replaced", b"new")
    os.mkdir("below")
    in_deleted = make("below/file", b"in a deleted directory")
    below = os.open("below", os.O_RDONLY | os.O_DIRECTORY)
    os.unlink("below/file")
    os.rmdir("below")
    sparse = make("sparse", b"start")
    os.pwrite(sparse, b"end", 1 << 30)
    os.unlink("sparse")
    linked = make("linked", b"has another name")
    os.link("linked", "other-name")
    os.unlink("linked")
    unnamed = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
    os.write(unnamed, b"never had a name")
    path_only = os.open("plain", os.O_PATH)
    os.symlink("plain", "symlink")
    symlink = os.open("symlink", os.O_PATH | os.O_NOFOLLOW)
    directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    listing = os.open("/proc/self/fdinfo", os.O_RDONLY | os.O_DIRECTORY)
    null = os.open("/dev/null", os.O_RDWR)
    odd = make("ends with (deleted)", b"real")
    raw = os.open(b"utf-8" if COMMON else b"no utf-8 \xff\xfe", os.O_RDWR | os.O_CREAT)
    status = os.open("/proc/self/status", os.O_RDONLY)
    os.read(status, 10)
    high = fcntl.fcntl(plain, fcntl.F_DUPFD, 1500 if os.sysconf("SC_OPEN_MAX") > 1600 else 900)
    os.set_inheritable(high, True)
    fcntl.fcntl(plain, 8, os.getpid())  # F_SETOWN
    fcntl.fcntl(plain, 10, 10)  # F_SETSIG
    dead = os.fork()
    if dead == 0:
        os.kill(os.getpid(), 19)
    os.waitpid(dead, os.WUNTRACED)
    dead_status = os.open(f"/proc/{dead}/status", os.O_RDONLY)
    os.kill(dead, 9)
    os.waitpid(dead, 0)
    fds = [fd for fd in sorted(map(int, os.listdir("/proc/self/fd"))) if os.path.lexists(f"/proc/self/fd/{fd}")]
    unseen = os.O_DIRECTORY if COMMON else 0
    modes = {fd: fcntl.fcntl(fd, fcntl.F_GETFL) & ~unseen for fd in fds if fd != unnamed}
    cloexec = {fd: os.get_inheritable(fd) for fd in fds}
    names = {fd: link(fd) for fd in fds}
    stats = {fd: os.fstat(fd)[:2] for fd in (plain, second, path_only, symlink, directory, null, odd, raw)}
    check.wait()
    check.equal(
        {fd: link(fd) for fd in fds if fd not in (linked, replaced)},
        {fd: n for fd, n in names.items() if fd not in (linked, replaced)},
        "names",
    )
    check.equal({fd: fcntl.fcntl(fd, fcntl.F_GETFL) & ~unseen for fd in modes}, modes, "flags")
    check.equal({fd: os.get_inheritable(fd) for fd in fds}, cloexec, "close-on-exec")
    check.equal({fd: os.fstat(fd)[:2] for fd in stats}, stats, "modes and inodes")
    check.equal(os.read(shared, 3), b"456", "position")
    check.equal(os.read(plain, 3), b"789", "position is shared")
    check.equal(os.read(second, 3), b"012", "position is not shared")
    os.write(append, b"+")
    check.equal(os.pread(second, 100, 0), b"0123456789+", "appended")
    check.equal(os.pread(deleted, 100, 0), b"deleted content", "deleted file")
    found = os.fstat(deleted)
    check.equal(
        (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, found.st_nlink),
        (0o4751, *somebody(1234, 4321), 0),
        "its metadata",
    )
    os.pwrite(deleted, b"D", 0)  # by whoever has no CAP_FSETID, this takes the set-user-ID bit away
    check.equal(os.read(again, 1), b"D", "second description of the deleted file")
    check.equal(os.pread(replaced, 100, 0), b"old", "deleted file with a successor")
    with open(DIRECTORY / "replaced") as file:
        check.equal(file.read(), "new", "the successor")
    check.equal(os.pread(in_deleted, 100, 0), b"in a deleted directory", "file in a deleted directory")
    check.equal(os.listdir(below), [], "deleted directory")
    check.that(not (DIRECTORY / "below").exists(), "the deleted directory has its name again")
    check.equal((os.pread(sparse, 3, 1 << 30), os.pread(sparse, 5, 0)), (b"end", b"start"), "sparse file")
    check.that(os.fstat(sparse).st_blocks < 100, "the sparse file is not sparse any more")
    check.equal(os.pread(linked, 100, 0), b"has another name", "linked file")
    check.equal(os.fstat(linked)[1], os.stat(DIRECTORY / "other-name")[1], "linked file has its other name")
    check.equal(os.pread(unnamed, 100, 0), b"never had a name", "O_TMPFILE")
    check.that(len(os.read(status, 100)) == 100, "/proc/self/status cannot be read on")
    check.equal(struct.unpack("ii", fcntl.fcntl(plain, 16, bytes(8))), (1, os.getpid()), "owner")
    check.equal(fcntl.fcntl(plain, 11), 10, "signal")
    try:
        os.pread(dead_status, 10, 0)
        check.that(False, "the dead process can be read")
    except ProcessLookupError:
        pass
    check.that([n for n in os.listdir(directory) if "link_remap" in n or "ghost" in n] == [], "something is left over")
