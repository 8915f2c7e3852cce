"""A connection to the other side: whole messages in and out, over TCP or TLS."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

from cr.page_server.protocol import SIZE, STATUS, Header, PageServerError, unpack

if TYPE_CHECKING:
    import ssl

_PIECE = 1 << 20
_FAREWELL = 1.0  # seconds
_JOINED = 64 << 10  # bytes up to which a header and its pages go out together


class Wire:
    """`peer` names the other side in messages.  All errors of the connection are raised as PageServerError."""

    def __init__(self, sock: socket.socket | ssl.SSLSocket, peer: str) -> None:
        self.sock, self.peer = sock, peer
        self.farewell = getattr(sock, "unwrap", None)
        """TLS takes leave before it closes"""
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def fileno(self) -> int:
        return self.sock.fileno()

    def close(self) -> None:
        if self.farewell is not None:
            self.sock.settimeout(_FAREWELL)
            with contextlib.suppress(OSError, ValueError):
                self.farewell()
        self.sock.close()

    def gone(self, error: OSError | None = None) -> PageServerError:
        if isinstance(error, TimeoutError):
            return PageServerError(f"{self.peer} does not answer any more")
        why = f": {error.strerror or error}" if error is not None else ""
        return PageServerError(f"the connection to {self.peer} broke{why}")

    def send(self, *parts: bytes | memoryview) -> None:
        if len(parts) > 1 and sum(len(part) for part in parts) <= _JOINED:
            parts = (b"".join(parts),)
        try:
            for part in parts:
                self.sock.sendall(part)
        except OSError as error:
            raise self.gone(error) from error

    def send_header(self, header: Header) -> None:
        self.send(header.pack())

    def send_file(self, fd: int, offset: int, size: int) -> None:
        """Bytes of a file."""
        end = offset + size
        while offset < end:
            data = os.pread(fd, min(_PIECE, end - offset), offset)
            if not data:
                raise PageServerError(f"a file with pages for {self.peer} ends early, at byte {offset}")
            self.send(data)
            offset += len(data)

    def receive(self, size: int) -> bytes | None:
        """Exactly so many bytes; None where the other side has closed before the first."""
        buffer = bytearray(size)
        with memoryview(buffer) as view:
            return bytes(buffer) if self.receive_into(view, may_end=True) else None

    def receive_into(self, view: memoryview, *, may_end: bool = False) -> bool:
        """Fill `view`; False where the other side has closed before the first byte and `may_end` allows it."""
        done = 0
        try:
            while done < len(view):
                count = self.sock.recv_into(view[done:])
                if not count:
                    if may_end and not done:
                        return False
                    raise self.gone()
                done += count
        except OSError as error:
            raise self.gone(error) from error
        return True

    def header(self) -> Header | None:
        """The next header; None at the end of the conversation."""
        data = self.receive(SIZE)
        return None if data is None else unpack(data)

    def status(self) -> int:
        """An answer of 32 bits."""
        data = self.receive(STATUS.size)
        if data is None:
            raise self.gone()
        value: int = STATUS.unpack(data)[0]
        return value

    def send_status(self, value: int) -> None:
        self.send(STATUS.pack(value))
