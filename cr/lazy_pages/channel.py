"""The socket over which a restore hands its userfaultfds to the lazy-pages daemon.

criu's protocol: for each address space its pid (32 bits), then one byte that carries the descriptor; in the end, when
the tasks run, a word of 32 bits.
"""

from __future__ import annotations

import array
import os
import socket
import struct

from cr.model import CheckpointError
from cr.options import Options

NAME = "lazy-pages.socket"
_FINISHED = 0x52535446
_WORD = struct.Struct("<I")


def place(options: Options) -> str:
    """Where the daemon listens: in the work directory."""
    return os.path.join(options.work_dir or options.images_dir, NAME)


def listen(options: Options) -> socket.socket:
    """The daemon's end; an old socket that nobody listens at is replaced."""
    path = place(options)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        sock.bind(path)
        sock.listen(8)
    except OSError as error:
        sock.close()
        raise CheckpointError(f"the lazy-pages daemon cannot listen at {path}: {error.strerror or error}") from error
    return sock


def _remove_stale(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise CheckpointError(f"another lazy-pages daemon listens at {path} already: end it, or use another --work-dir")


def receive(sock: socket.socket) -> tuple[int, int] | None:
    """(pid, userfaultfd) of an address space; None once the restore is finished.

    CheckpointError where the restore has ended without that.
    """
    word = _exactly(sock, _WORD.size)
    pid: int = _WORD.unpack(word)[0]
    if pid == _FINISHED:
        return None
    _, ancillary, _, _ = sock.recvmsg(1, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    if len(fds) != 1:
        raise CheckpointError(f"the restore sent {len(fds)} descriptors for task {pid} where one is expected")
    return pid, fds[0]


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise CheckpointError("the restore ended before it was finished: its own log says why")
        data += part
    return data


class Sender:
    """The restore's end."""

    def __init__(self, options: Options) -> None:
        path = place(options)
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._sock.connect(path)
        except OSError as error:
            self._sock.close()
            raise CheckpointError(
                f"there is no lazy-pages daemon at {path} ({error.strerror}): start woodfrog-criu lazy-pages first, "
                "with the same directories"
            ) from error

    def hand_over(self, pid: int, fd: int) -> None:
        self._send(_WORD.pack(pid))
        try:
            self._sock.sendmsg(
                [b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))], socket.MSG_NOSIGNAL
            )
        except OSError as error:
            raise self._gone() from error

    def finished(self) -> None:
        """All tasks are about to run.  CheckpointError where the daemon is gone: they would miss their pages."""
        self._send(_WORD.pack(_FINISHED))

    def close(self) -> None:
        self._sock.close()

    def _send(self, data: bytes) -> None:
        try:
            self._sock.sendall(data)
        except OSError as error:
            raise self._gone() from error

    def _gone(self) -> CheckpointError:
        return CheckpointError("the lazy-pages daemon went away during the restore: its log says why")
