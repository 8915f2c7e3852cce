"""What is queued in pseudoterminals: typed and not read, printed and not shown.

Nothing in the kernel shows it without taking it, so it is taken and put back at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from cr.kernel import terminals
from cr.model import CheckpointError


def copy_input(slave: int, master: int) -> bytes:
    """What waits to be read by the slave."""
    before = terminals.get_termios(slave)
    terminals.set_termios(slave, before.raw())
    try:
        data = terminals.drain(slave)
    finally:
        terminals.set_termios(slave, before)
    put_input(slave, master, data)
    return data


def put_input(slave: int, master: int, data: bytes) -> None:
    """Let the slave have `data` to read, as it is: no echo, no signal, no translation."""
    if not data:
        return
    before = terminals.get_termios(slave)
    terminals.set_termios(slave, before.lines_only())
    try:
        _write(master, data)
        terminals.settle(slave)
    finally:
        terminals.set_termios(slave, before)


def copy_output(master: int, slave: int | None) -> bytes:
    """What waits to be read by the master."""
    with _no_packets(master):
        data = terminals.drain(master)
    put_output(master, slave, data)
    return data


def put_output(master: int, slave: int | None, data: bytes) -> None:
    """Let the master have `data` to read; a slave that nobody has open is opened for the moment."""
    if not data:
        return
    with _some_slave(master, slave) as fd:
        before = terminals.get_termios(fd)
        terminals.set_termios(fd, before.raw())
        try:
            with _no_packets(master):
                _write(fd, data)
                terminals.settle(master)
        finally:
            terminals.set_termios(fd, before)


@contextmanager
def _no_packets(master: int) -> Iterator[None]:
    """Inside the block the master reads mere data, no control bytes (TIOCPKT)."""
    on = terminals.get_int(master, terminals.TIOCGPKT)
    if on:
        terminals.set_int(master, terminals.TIOCPKT, 0)
    try:
        yield
    finally:
        if on:
            terminals.set_int(master, terminals.TIOCPKT, 1)


@contextmanager
def _some_slave(master: int, slave: int | None) -> Iterator[int]:
    if slave is not None:
        yield slave
        return
    locked = terminals.get_int(master, terminals.TIOCGPTLCK)
    terminals.set_int(master, terminals.TIOCSPTLCK, 0)
    fd = terminals.open_slave(master, os.O_RDWR)
    try:
        yield fd
    finally:
        os.close(fd)
        terminals.set_int(master, terminals.TIOCSPTLCK, locked)


def _write(fd: int, data: bytes) -> None:
    blocking = os.get_blocking(fd)
    os.set_blocking(fd, False)
    try:
        if os.write(fd, data) != len(data):
            raise CheckpointError(f"a terminal does not take back the {len(data)} bytes that were queued in it")
    finally:
        os.set_blocking(fd, blocking)
