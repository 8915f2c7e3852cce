"""Changes its files and mappings when it is told to (SIGUSR1), and expects to find them like that in its next life."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import signal
import threading

from lib import DIRECTORY, workload

PAGE = 4096


def flags_of(address: int) -> set[str]:
    """VmFlags of the mapping that begins there."""
    with open("/proc/self/smaps") as file:
        paragraph = file.read().partition(f"\n{address:x}-")[2]
    return set(paragraph.partition("VmFlags:")[2].partition("\n")[0].split())


def seen(fd: int) -> tuple[str, int, int, int, int]:
    status = os.fstat(fd)
    return (
        os.readlink(f"/proc/self/fd/{fd}").partition(" (deleted)")[0].partition(".woodfrog-ghost")[0],
        os.lseek(fd, 0, os.SEEK_CUR),
        fcntl.fcntl(fd, fcntl.F_GETFL),
        fcntl.fcntl(fd, fcntl.F_GETOWN),
        status.st_size,
    )


def make(name: str) -> int:
    fd = os.open(DIRECTORY / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    os.write(fd, name.encode() * 100)
    return fd


def change() -> None:
    os.write(files["grown"], b"more")
    os.lseek(files["read"], 7, os.SEEK_SET)
    os.rename(DIRECTORY / "renamed", DIRECTORY / "new name")
    os.unlink(DIRECTORY / "deleted")
    (DIRECTORY / "replacement").write_text("another file")
    os.rename(DIRECTORY / "replacement", DIRECTORY / "replaced")
    fcntl.fcntl(files["owned"], fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(files["flags"], fcntl.F_SETFL, os.O_APPEND)
    os.fchmod(files["mode"], 0o600)
    fcntl.flock(files["locked"], fcntl.LOCK_EX)
    os.dup2(files["other"], files["closed"])
    os.rename(DIRECTORY / "mapped", DIRECTORY / "mapped anew")
    memory.madvise(mmap.MADV_DONTFORK, 0, 16 * PAGE)


def wait_for_change() -> None:
    signal.sigwait([signal.SIGUSR1])
    change()
    state.update(look())
    (DIRECTORY / "changed").touch()


def look() -> dict[str, object]:
    found: dict[str, object] = {name: seen(fd) for name, fd in files.items()}
    found["memory"] = flags_of(ADDRESS)
    return found


NAMES = (
    "same",
    "grown",
    "read",
    "renamed",
    "deleted",
    "replaced",
    "owned",
    "flags",
    "mode",
    "locked",
    "closed",
    "other",
)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
files = {name: make(name) for name in NAMES}
memory = mmap.mmap(-1, 32 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(mmap.MADV_RANDOM, 0, 16 * PAGE)  # a mapping of its own
ADDRESS = ctypes.addressof(ctypes.c_char.from_buffer(memory))
with open(DIRECTORY / "mapped", "w+b") as file:
    file.write(bytes(PAGE))
    file.flush()
    mapped = mmap.mmap(file.fileno(), PAGE, flags=mmap.MAP_PRIVATE)
state: dict[str, object] = {}

with workload() as check:
    threading.Thread(target=wait_for_change, daemon=True).start()
    check.wait()
    check.that("dc" in flags_of(ADDRESS), "the advice was lost")
    for name, found in look().items():
        check.equal(found, state[name], name)
    check.equal(os.pread(files["replaced"], 8, 0), b"replaced", "the file that was replaced")
    with open("/proc/self/maps") as maps:
        check.that(f"{DIRECTORY}/mapped anew" in maps.read(), "the mapped file that was renamed")
