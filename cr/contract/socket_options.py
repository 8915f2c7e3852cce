"""Options that sockets of every family have (socket(7)); sk_opts_entry of the images."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cr.contract.owner import restore_owner
from cr.kernel import sockets
from cr.kernel.sockets import get_optional, lent
from cr.model import CheckpointError

if TYPE_CHECKING:
    from cr.contract.restoring import RestoreContext
    from images import messages as m

_SOL = socket.SOL_SOCKET
_TIMEVAL = struct.Struct("<qq")
_INSTRUCTION = struct.Struct("<HBBI")  # struct sock_filter

# field of sk_opts_entry -> option; the booleans and numbers that are read and written the same way
_FLAGS = {
    "reuseaddr": socket.SO_REUSEADDR,
    "so_dontroute": socket.SO_DONTROUTE,
    "so_no_check": sockets.SO_NO_CHECK,
    "so_reuseport": socket.SO_REUSEPORT,
    "so_broadcast": socket.SO_BROADCAST,
    "so_keepalive": socket.SO_KEEPALIVE,
}
_NUMBERS = {
    "so_priority": socket.SO_PRIORITY,
    "so_rcvlowat": socket.SO_RCVLOWAT,
    "so_oobinline": socket.SO_OOBINLINE,
}
_CREDENTIAL_FLAGS = {"so_passcred": socket.SO_PASSCRED, "so_passsec": socket.SO_PASSSEC}
_TIMEOUTS = {"snd": socket.SO_SNDTIMEO, "rcv": socket.SO_RCVTIMEO}
_STATUS_FLAGS = os.O_APPEND | os.O_NONBLOCK | os.O_DIRECT | os.O_ASYNC


def dump_options(fd: int) -> m.sk_opts_entry:
    """All options of a socket, by any descriptor of it."""
    from images import messages as m

    entry = m.sk_opts_entry()
    with lent(fd) as sock:
        entry.so_sndbuf = sock.getsockopt(_SOL, socket.SO_SNDBUF)
        entry.so_rcvbuf = sock.getsockopt(_SOL, socket.SO_RCVBUF)
        for side, option in _TIMEOUTS.items():
            seconds, microseconds = _TIMEVAL.unpack(sock.getsockopt(_SOL, option, _TIMEVAL.size))
            setattr(entry, f"so_{side}_tmo_sec", seconds)
            setattr(entry, f"so_{side}_tmo_usec", microseconds)
        for name, option in _FLAGS.items():
            setattr(entry, name, bool(sock.getsockopt(_SOL, option)))
        for name, option in _NUMBERS.items():
            setattr(entry, name, sock.getsockopt(_SOL, option))
        _dump_family_options(sock, entry)
        _dump_rare_options(sock, entry)
    return entry


def _dump_family_options(sock: socket.socket, entry: m.sk_opts_entry) -> None:
    """Credentials are a matter of unix and netlink sockets."""
    if sock.family in (socket.AF_UNIX, socket.AF_NETLINK):
        for name, option in _CREDENTIAL_FLAGS.items():
            value = get_optional(sock, _SOL, option)
            if value is not None:
                setattr(entry, name, bool(value))


def _dump_rare_options(sock: socket.socket, entry: m.sk_opts_entry) -> None:
    if mark := sock.getsockopt(_SOL, socket.SO_MARK):
        entry.so_mark = mark & 0xFFFFFFFF
    device = sock.getsockopt(_SOL, socket.SO_BINDTODEVICE, 16).rstrip(b"\0")
    if device:
        entry.so_bound_dev = device.decode()
    on, seconds = struct.unpack("<ii", sock.getsockopt(_SOL, socket.SO_LINGER, 8))
    if on:
        entry.so_linger = seconds
    lock = get_optional(sock, _SOL, sockets.SO_BUF_LOCK)
    if lock is not None:
        entry.so_buf_lock = lock
    with contextlib.suppress(PermissionError):  # an eBPF filter, against which dump_extras speaks
        entry.so_filter.extend(pack_filter(sockets.classic_filter(sock.fileno())))


def restore_options(fd: int, entry: m.sk_opts_entry) -> None:
    """Give a socket of ours the options it had."""
    with lent(fd) as sock:
        _restore_buffers(sock, entry)
        for side, option in _TIMEOUTS.items():
            timeout = (getattr(entry, f"so_{side}_tmo_sec"), getattr(entry, f"so_{side}_tmo_usec"))
            if any(timeout):
                sock.setsockopt(_SOL, option, _TIMEVAL.pack(*timeout))
        for name, option in {**_FLAGS, **_NUMBERS, **_CREDENTIAL_FLAGS}.items():
            wanted = int(getattr(entry, name))
            if entry.HasField(name) and get_optional(sock, _SOL, option) != wanted:
                sock.setsockopt(_SOL, option, wanted)
        _restore_rare_options(sock, entry)


def _restore_buffers(sock: socket.socket, entry: m.sk_opts_entry) -> None:
    """The kernel doubles what it is given; setting a size locks it, which SO_BUF_LOCK takes back."""
    for size, ordinary, force in (
        (entry.so_sndbuf, socket.SO_SNDBUF, sockets.SO_SNDBUFFORCE),
        (entry.so_rcvbuf, socket.SO_RCVBUF, sockets.SO_RCVBUFFORCE),
    ):
        if size and sock.getsockopt(_SOL, ordinary) != size:
            sockets.set_buffer(sock, force, size // 2)
    if entry.HasField("so_buf_lock") and get_optional(sock, _SOL, sockets.SO_BUF_LOCK) != entry.so_buf_lock:
        sock.setsockopt(_SOL, sockets.SO_BUF_LOCK, entry.so_buf_lock)


def _restore_rare_options(sock: socket.socket, entry: m.sk_opts_entry) -> None:
    if entry.so_mark:
        sock.setsockopt(_SOL, socket.SO_MARK, entry.so_mark)
    if entry.so_bound_dev:
        bind_to_device(sock, entry.so_bound_dev)
    if entry.HasField("so_linger"):
        sock.setsockopt(_SOL, socket.SO_LINGER, struct.pack("<ii", 1, entry.so_linger))
    if entry.so_filter:
        sockets.attach_filter(sock, unpack_filter(entry.so_filter))


def pack_filter(program: bytes) -> list[int]:
    """A classic BPF program as the images have it: code, jt, jf and k of an instruction from high to low bits."""
    return [code << 48 | jt << 40 | jf << 32 | k for code, jt, jf, k in _INSTRUCTION.iter_unpack(program)]


def unpack_filter(words: Iterable[int]) -> bytes:
    return b"".join(_INSTRUCTION.pack(w >> 48, w >> 40 & 0xFF, w >> 32 & 0xFF, w & 0xFFFFFFFF) for w in words)


def bind_to_device(sock: socket.socket, name: str) -> None:
    """SO_BINDTODEVICE; CheckpointError naming the interface where it is missing."""
    try:
        sock.setsockopt(_SOL, socket.SO_BINDTODEVICE, name.encode() + b"\0")
    except OSError as error:
        raise CheckpointError(
            f"a socket was bound to the network interface {name}: {error.strerror}; create it before the restore"
        ) from error


def restore_status(fd: int, flags: int, owner: m.fown_entry, context: RestoreContext) -> None:
    """O_NONBLOCK and the like, and who gets the signals."""
    wanted = flags & _STATUS_FLAGS
    if fcntl.fcntl(fd, fcntl.F_GETFL) & _STATUS_FLAGS != wanted:
        fcntl.fcntl(fd, fcntl.F_SETFL, wanted)
    restore_owner(fd, owner, context)
