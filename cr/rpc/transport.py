"""Packets on a SOCK_SEQPACKET socket, and what belongs to the process at the other end."""

from __future__ import annotations

import array
import os
import socket
import struct
from errno import EBADRQC

from cr.kernel.pidfd import pidfd_getfd
from cr.model import CheckpointError

LIMIT = 1 << 20
"""Bytes of the largest request; those of runtimes have one or two kilobytes."""


class BadRequest(CheckpointError):
    """The client asks for what cannot be asked so."""

    errno = EBADRQC


class Gone(CheckpointError):
    """The client has closed its end, or has died."""


class Client:
    """The process at the other end; `pid`, `uid` and `gid` are those it had when the socket was made.

    `apart`: it did not start us, so that numbers of descriptors that it would have left us mean its own.
    """

    def __init__(self, sock: socket.socket, *, apart: bool = False) -> None:
        if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_SEQPACKET:
            raise CheckpointError(f"descriptor {sock.fileno()} is no unix socket of type SOCK_SEQPACKET")
        self.sock, self.apart = sock, apart
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII"))
        self.pid, self.uid, self.gid = struct.unpack("iII", credentials)
        self._held: list[int] = []

    def receive(self) -> bytes | None:
        """The next packet; None where there will be none.  BadRequest where it is too long."""
        try:
            packet = self.sock.recv(LIMIT + 1)
        except ConnectionResetError:
            return None
        if len(packet) > LIMIT:
            raise BadRequest(f"the request is longer than {LIMIT} bytes")
        return packet or None

    def send(self, packet: bytes, fd: int | None = None) -> None:
        """Send a packet, with a descriptor where one is given.  Gone where nobody is there."""
        rights = [] if fd is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        try:
            self.sock.sendmsg([packet], rights)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Gone(f"process {self.pid}, which asked for this, has closed the socket") from error

    def open(self, number: int, flags: int, what: str) -> int:
        """A descriptor of our own for what the client has as `number`; `close` closes it."""
        try:
            fd = os.open(f"/proc/{self.pid}/fd/{number}", flags | os.O_CLOEXEC)
        except OSError as error:
            raise BadRequest(
                f"{what}: descriptor {number} of process {self.pid} cannot be opened: {error.strerror}"
            ) from error
        self._held.append(fd)
        return fd

    def lent(self, number: int, what: str) -> int:
        """Our number of a descriptor that the client lends us: inherited, or taken from it (pidfd_getfd(2))."""
        if not self.apart:
            return number
        pidfd = os.pidfd_open(self.pid)
        try:
            self._held.append(pidfd_getfd(pidfd, number))
        except OSError as error:
            raise BadRequest(
                f"{what}: descriptor {number} of process {self.pid} cannot be taken: {error.strerror}"
            ) from error
        finally:
            os.close(pidfd)
        return self._held[-1]

    def directory(self, number: int, what: str) -> str:
        """A path of the directory that the client has as `number`, valid until `close`."""
        fd = self.open(number, os.O_RDONLY | os.O_DIRECTORY, what)
        own = f"/proc/self/fd/{fd}"
        path = os.readlink(own)
        try:
            reachable = os.path.samestat(os.stat(path), os.fstat(fd))
        except OSError:
            reachable = False  # of another mount namespace, or removed
        return path if reachable else own

    def close(self) -> None:
        """Give up what `open` has opened."""
        while self._held:
            os.close(self._held.pop())
