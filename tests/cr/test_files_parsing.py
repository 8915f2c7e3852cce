"""What the kernel says about descriptors in fdinfo, as values."""

from __future__ import annotations

import pytest

from cr.contract.outside import inherited
from cr.model import CheckpointError
from cr.resources.events import epoll, inotify
from cr.resources.files import file_locks, leases

EPOLL = """pos:\t0
flags:\t02000002
tfd:        3 events:       19 data:     7fe500000003  pos:0 ino:cea4 sdev:f
tfd:       11 events: 80000019 data: ffffffffffffffff  pos:-1 ino:40e sdev:fe00001
"""
LOCKS = """pos:\t0
lock:\t1: POSIX  ADVISORY  WRITE 21762 fe:00:2147044 2 6
lock:\t2: OFDLCK ADVISORY  READ  -1 fe:00:2147044 0 EOF
lock:\t3: FLOCK  ADVISORY  READ 21762 fe:00:2147044 0 EOF
lock:\t4: LEASE  BREAKING  UNLCK 11326 fe:00:2171267 0 EOF
"""
INOTIFY = """flags:\t00
inotify wd:a ino:20c2e4 sdev:fe00000 mask:2 ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:e4c22000152ffbf9
inotify wd:1 ino:1 sdev:1c mask:3ff ignored_mask:0
"""


def test_epoll_watches() -> None:
    first, second = epoll.parse(EPOLL)
    assert (first.tfd, first.events, first.data, first.inode, first.device) == (3, 0x19, 0x7FE500000003, 0xCEA4, 0xF)
    assert (second.tfd, second.pos, second.data, second.device) == (11, -1, (1 << 64) - 1, 0xFE00001)


def test_locks() -> None:
    posix, ofd, flock, lease = file_locks.parse(LOCKS)
    assert (posix.flag, posix.type, posix.start, posix.length) == (file_locks.POSIX, 1, 2, 5)
    assert (ofd.flag, ofd.type, ofd.length) == (file_locks.OFD, 0, 0)
    assert flock.flag == file_locks.FLOCK
    assert lease.type & leases.BREAKING
    assert not flock.type & leases.BREAKING


def test_inotify_watches_with_and_without_handles() -> None:
    first, second = inotify.watch_lines(INOTIFY, "inotify")
    assert (first["wd"], first["f_handle"]) == ("a", "e4c22000152ffbf9")
    assert "f_handle" not in second


def test_inherited_descriptors() -> None:
    assert inherited(["fd[5]:pipe:[1234]", "fd[6]:tmp/a b"]) == {"pipe:[1234]": 5, "tmp/a b": 6}
    with pytest.raises(CheckpointError, match="--inherit-fd 5:pipe"):
        inherited(["5:pipe"])
