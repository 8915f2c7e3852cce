"""Unix sockets on which others wait for descriptors: terminals, seccomp listeners, pidfds."""

from __future__ import annotations

import array
import os
import socket

from runtime.errors import ContainerError


def connected(path: str, what: str) -> socket.socket:
    """A unix stream connection.  A path longer than sun_path is reached through its directory."""
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        directory = os.open(os.path.dirname(path) or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            stream.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
        finally:
            os.close(directory)
    except OSError as err:
        stream.close()
        raise ContainerError(f"failed to connect with {what} at {path}: {os.strerror(err.errno or 0).lower()}") from err
    return stream


def send_descriptor(path: str, what: str, text: bytes, fd: int) -> None:
    """Connect, send one message with one descriptor (SCM_RIGHTS), and leave."""
    with connected(path, what) as stream:
        stream.sendmsg([text], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])


def send_pidfd(path: str, pid: int) -> None:
    """A pidfd of a new process for who listens at --pidfd-socket."""
    fd = os.pidfd_open(pid)
    try:
        send_descriptor(path, "pidfd socket", b"pidfd", fd)
    finally:
        os.close(fd)
