"""Terminals: their ioctls (ioctl_tty(2), asm-generic/ioctls.h) as typed calls on descriptors."""

from __future__ import annotations

import fcntl
import os
import select
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from cr.values import dataclass, replace

TCGETS, TCSETS = 0x5401, 0x5402
TIOCEXCL, TIOCSCTTY, TIOCSPGRP, TIOCGWINSZ, TIOCSWINSZ = 0x540C, 0x540E, 0x5410, 0x5413, 0x5414
FIONREAD, TIOCPKT, TIOCNOTTY = 0x541B, 0x5420, 0x5422
TIOCGPTN, TIOCSPTLCK = 0x80045430, 0x40045431
TIOCGPKT, TIOCGPTLCK, TIOCGEXCL, TIOCGPTPEER = 0x80045438, 0x80045439, 0x80045440, 0x5441
TIOCGSID = 0x5429
TIOCGLCKTRMIOS, TIOCSLCKTRMIOS = 0x5456, 0x5457

ICANON = 0x2
_VTIME, _VMIN = 5, 6
_TERMIOS = struct.Struct("<4IB19s")
CONTROL_CHARACTERS = 19
_ROOM = 4096


@dataclass(frozen=True)
class Termios:
    """struct termios of the kernel (36 bytes)."""

    c_iflag: int
    c_oflag: int
    c_cflag: int
    c_lflag: int
    c_line: int
    c_cc: bytes

    def raw(self) -> Termios:
        """Everything passes as it is, reading waits for nothing."""
        cc = bytearray(self.c_cc)
        cc[_VTIME] = cc[_VMIN] = 0
        return replace(self, c_iflag=0, c_oflag=0, c_lflag=0, c_cc=bytes(cc))

    def lines_only(self) -> Termios:
        """Input passes as it is, but is made of lines where it was."""
        return replace(self, c_iflag=0, c_oflag=0, c_lflag=self.c_lflag & ICANON, c_cc=bytes(CONTROL_CHARACTERS))


def get_termios(fd: int, *, locked: bool = False) -> Termios:
    """The settings (of a master: those of its slave), or which of them are locked."""
    return Termios(*_TERMIOS.unpack(fcntl.ioctl(fd, TIOCGLCKTRMIOS if locked else TCGETS, bytes(_TERMIOS.size))))


def set_termios(fd: int, t: Termios, *, locked: bool = False) -> None:
    packed = _TERMIOS.pack(t.c_iflag, t.c_oflag, t.c_cflag, t.c_lflag, t.c_line, t.c_cc)
    fcntl.ioctl(fd, TIOCSLCKTRMIOS if locked else TCSETS, packed)


def get_window(fd: int) -> tuple[int, int, int, int]:
    """(rows, columns, width and height in pixels)."""
    rows, columns, width, height = struct.unpack("<4H", fcntl.ioctl(fd, TIOCGWINSZ, bytes(8)))
    return rows, columns, width, height


def set_window(fd: int, size: tuple[int, int, int, int]) -> None:
    fcntl.ioctl(fd, TIOCSWINSZ, struct.pack("<4H", *size))


def get_int(fd: int, request: int) -> int:
    value: int = struct.unpack("<i", fcntl.ioctl(fd, request, bytes(4)))[0]
    return value


def set_int(fd: int, request: int, value: int) -> None:
    fcntl.ioctl(fd, request, struct.pack("<i", value))


def index_of(master: int) -> int:
    """Number of the slave of a pseudoterminal."""
    return get_int(master, TIOCGPTN)


def open_slave(master: int, flags: int) -> int:
    """The slave of a pseudoterminal, by no path; it must be unlocked.

    Not opened with O_CLOEXEC: this ioctl keeps that in the flags of the open file, where every other call drops it,
    and from then on fdinfo shows it for all descriptors of that file.
    """
    fd: int = fcntl.ioctl(master, TIOCGPTPEER, flags | os.O_NOCTTY)
    os.set_inheritable(fd, False)
    return fd


@contextmanager
def slave_file(master: int) -> Iterator[int]:
    """An O_PATH descriptor of the slave of a pseudoterminal; OSError where no path leads there.

    The slave is only looked at: opening and closing it would be news for who reads the master.
    """
    fd: int = fcntl.ioctl(master, TIOCGPTPEER, os.O_PATH | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def instance_of(master: int) -> int:
    """st_dev of the devpts that the slave of a pseudoterminal is in; OSError where no path leads there."""
    with slave_file(master) as fd:
        return os.fstat(fd).st_dev


def session_of(master: int) -> int:
    """Session (as we count it) whose controlling terminal the slave is; 0 for none."""
    try:
        return get_int(master, TIOCGSID)
    except OSError:
        return 0


def settle(fd: int) -> None:
    """What the other end has written is in this end's queue afterwards: poll(2) takes care of that."""
    waiting = select.poll()
    waiting.register(fd, select.POLLIN)
    waiting.poll(0)


def drain(fd: int) -> bytes:
    """Everything that a terminal in raw mode has to be read; it is gone from there."""
    pieces = []
    settle(fd)
    while get_int(fd, FIONREAD):
        pieces.append(os.read(fd, _ROOM))
        settle(fd)
    return b"".join(pieces)
