"""The terminal of a container: made in the container's own devpts, its master sent to who will serve it."""

from __future__ import annotations

import array
import errno
import fcntl
import os
import socket
import struct
import termios

from cr.kernel import mounts as m
from runtime.errors import ContainerError
from runtime.init.devices import attach_tree
from runtime.sockets import connected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.types import Process

_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441
_TIOCGPTN = 0x80045430


def open_pair(root_fd: int) -> tuple[int, int, str]:
    """Master, slave and the slave's name (/dev/pts/N) of a new terminal of the container's devpts.

    The slave is asked from the master (TIOCGPTPEER), so no path in the rootfs can stand in for it.
    """
    try:
        master = m.open_in_root(root_fd, "/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY)
    except OSError as err:
        raise ContainerError("process.terminal needs a devpts mount at /dev/pts") from err
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
    slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY)  # O_CLOEXEC would stay in the file's flags
    os.set_inheritable(slave, False)
    return master, slave, name_of(master)


def name_of(master: int) -> str:
    """The name of a master's slave in its devpts."""
    number = struct.unpack("I", fcntl.ioctl(master, _TIOCGPTN, struct.pack("I", 0)))[0]
    return f"/dev/pts/{number}"


def set_up(root_fd: int, connection: int, process: Process, mount: bool, relayed: bool) -> int:
    """Make a terminal, send its master over the socket `connection`; the slave's descriptor.

    With `mount` the slave is bound to /dev/console.  `relayed`: our own command copies its output to another terminal
    or a file, which has its own way with line ends.
    """
    master, slave, name = open_pair(root_fd)
    if relayed:
        leave_line_ends(slave)
    size = process.get("consoleSize")
    if size:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", size["height"], size["width"], 0, 0))
    user = process.get("user")
    os.fchown(slave, user.get("uid", 0) if user else 0, -1)
    if mount:
        tree = m.open_tree(slave, "", m.OPEN_TREE_CLONE | m.OPEN_TREE_CLOEXEC | m.AT_EMPTY_PATH)
        attach_tree(root_fd, tree, "/dev/console")
    send_master(connection, master, name)
    os.close(master)
    return slave


def leave_line_ends(terminal: int) -> None:
    """A newline goes through as it is."""
    mode = termios.tcgetattr(terminal)
    mode[1] &= ~termios.ONLCR
    termios.tcsetattr(terminal, termios.TCSANOW, mode)


def send_master(connection: int, master: int, name: str) -> None:
    """Hand the master over (SCM_RIGHTS); the bytes that go with it are the slave's name."""
    with socket.socket(fileno=os.dup(connection)) as stream:
        rights = array.array("i", [master])
        stream.sendmsg([name.encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])


def receive_master(connection: int) -> int:
    """Take the master from a socket."""
    with socket.socket(fileno=os.dup(connection)) as stream:
        _, fds, _, _ = socket.recv_fds(stream, 4096, 1)
    if not fds:
        raise ContainerError("the container's process ended before it sent its terminal")
    os.set_inheritable(fds[0], False)
    return fds[0]


def connect(path: str) -> int:
    """Connect to --console-socket."""
    return connected(path, "console socket").detach()


def take_over(slave: int) -> None:
    """Make the terminal our controlling one and our stdio.  The caller leads a session."""
    try:
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    except OSError as err:
        if err.errno != errno.EPERM:
            raise
        raise ContainerError("cannot make the terminal the controlling one: not a session leader") from err
    for fd in (0, 1, 2):
        os.dup2(slave, fd)


def pair() -> tuple[int, int]:
    """A connected pair of sockets: our end, and the one that init sends its master over."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return ours.detach(), theirs.detach()
