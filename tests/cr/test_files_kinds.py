"""Every kind of descriptor is claimed by exactly one resource, or refused with a reason."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from cr.contract.dumping import DumpTask
from cr.contract.resource import fd_resources
from cr.dump.files import claim, open_file
from cr.kernel import proc
from cr.resources.files.unsupported import REASONS, reason

libc = ctypes.CDLL(None, use_errno=True)


def call(number: int, *arguments: object) -> int:
    result = int(libc.syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def fifo(place: Path) -> int:
    os.mkfifo(place / "fifo")
    return os.open(place / "fifo", os.O_RDWR)


KINDS: dict[str, tuple[Callable[[Path], int], str]] = {
    "regular file": (lambda place: os.open(place / "file", os.O_RDWR | os.O_CREAT), "RegularFile"),
    "directory": (lambda place: os.open(place, os.O_RDONLY), "RegularFile"),
    "unnamed file": (lambda place: os.open(place, os.O_TMPFILE | os.O_RDWR), "RegularFile"),
    "O_PATH of a FIFO": (lambda place: os.open(f"/proc/self/fd/{fifo(place)}", os.O_PATH), "RegularFile"),
    "device": (lambda _: os.open("/dev/null", os.O_RDWR), "RegularFile"),
    "pipe": (lambda _: os.pipe()[0], "Pipe"),
    "fifo": (fifo, "Fifo"),
    "eventfd": (lambda _: os.eventfd(0), "EventFd"),
    "epoll": (lambda _: call(291, 0), "Epoll"),
    "timerfd": (lambda _: call(283, 1, 0), "TimerFd"),
    "signalfd": (lambda _: call(289, -1, struct.pack("<Q", 1), 8, 0), "SignalFd"),
    "inotify": (lambda _: call(294, 0), "Inotify"),
    "memfd": (lambda _: os.memfd_create("x"), "Memfd"),
    "pidfd": (lambda _: os.pidfd_open(os.getpid()), "PidFd"),
    "userfaultfd": (lambda _: call(323, 1), "UserFaultFd"),
    "unix socket": (lambda _: socket.socket(socket.AF_UNIX).detach(), "UnixSocket"),
}


@pytest.mark.parametrize("name", KINDS)
def test_one_resource_claims_it(name: str, tmp_path: Path) -> None:
    make, expected = KINDS[name]
    fd = make(tmp_path)
    try:
        found = claim(open_file(DumpTask(os.getpid(), 1, 0, 0, 0, proc.stat("self"), None), fd))
    finally:
        os.close(fd)
    assert found is not None
    assert found.__name__ == expected


UNSUPPORTED: dict[str, Callable[[], int]] = {
    "anon_inode:[landlock-ruleset]": lambda: call(444, struct.pack("<Q", 1), 8, 0),
    "anon_inode:[fscontext]": lambda: call(430, b"tmpfs", 0),
    "anon_inode:[perf_event]": lambda: call(
        298, struct.pack("<IIQ", 1, 128, 0).ljust(128, b"\0"), os.getpid(), -1, -1, 0
    ),
}


@pytest.mark.root
@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_the_unsupported_are_refused_by_name(kind: str) -> None:
    try:
        fd = UNSUPPORTED[kind]()
    except OSError as error:
        pytest.skip(f"this kernel lacks {kind}: {error}")
    try:
        file = open_file(DumpTask(os.getpid(), 1, 0, 0, 0, proc.stat("self"), None), fd)
        assert file.link.startswith(kind)
        assert claim(file) is None
        assert REASONS[kind] in reason(file)
        assert str(file) in reason(file)
    finally:
        os.close(fd)


def test_resources_of_one_type_say_which_files_are_theirs() -> None:
    types = [resource.type for resource in fd_resources()]
    for resource in fd_resources():
        assert types.count(resource.type) == 1 or "has" in vars(resource)
