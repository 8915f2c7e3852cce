"""What a configuration must satisfy beyond its schema before anything is made."""

from __future__ import annotations

import os

from runtime.errors import ContainerError, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.types import Config, Process

RLIMITS = (
    "CPU",
    "FSIZE",
    "DATA",
    "STACK",
    "CORE",
    "RSS",
    "NPROC",
    "NOFILE",
    "MEMLOCK",
    "AS",
    "LOCKS",
    "SIGPENDING",
    "MSGQUEUE",
    "NICE",
    "RTPRIO",
    "RTTIME",
)  # fmt: skip  (the order is the kernel's numbering, asm-generic/resource.h)


def rootfs_of(config: Config, bundle: str) -> str:
    """The absolute path of the root.  Raises ContainerError if there is none."""
    root = config.get("root")
    if not root:
        raise ContainerError("root must be specified in config.json")
    path = os.path.join(bundle, root["path"])
    try:
        if not os.path.isdir(os.path.realpath(path, strict=True)):
            raise ContainerError(f"invalid rootfs: {path} is not a directory")
    except OSError as err:
        raise ContainerError(f"invalid rootfs: stat {reason(err)}") from err
    return os.path.realpath(path)


def process_of(config: Config) -> Process:
    """The process, checked.  Raises ContainerError."""
    process = config.get("process")
    if not process:
        raise ContainerError("process property must not be empty")
    check_process(process)
    return process


def check_process(process: Process) -> None:
    """What every process must have; security labels that the host cannot honour are refused."""
    if not process.get("args"):
        raise ContainerError("args must not be empty")
    for limit in process.get("rlimits") or []:
        if limit["type"].removeprefix("RLIMIT_") not in RLIMITS:
            raise ContainerError(f"wrong rlimit value: {limit['type']}")
    if process.get("selinuxLabel"):
        raise ContainerError(
            "selinux label is specified in config, but selinux is disabled or not supported; remove selinuxLabel"
        )
    if process.get("apparmorProfile") not in (None, "", "unconfined"):
        raise ContainerError(
            f"apparmor profile {process['apparmorProfile']!r} is specified in config, but apparmor is "
            "disabled or not supported; remove apparmorProfile"
        )


def check_preserved(count: int) -> None:
    """Every descriptor that is to be preserved must be open, or ours would take its place.

    All others that our caller left open are closed: the container's first process would hold them until its start.
    """
    _close_inherited(3 + count)
    for fd in range(3, 3 + count):
        try:
            os.fstat(fd)
        except OSError as err:
            raise ContainerError(
                f"file descriptor {fd} of --preserve-fds or LISTEN_FDS is not open; check the count"
            ) from err
        os.set_inheritable(fd, True)


def _close_inherited(first: int) -> None:
    """Ours are all close-on-exec; one that is not came from our caller."""
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        try:
            if fd >= first and os.get_inheritable(fd):
                os.close(fd)
        except OSError:
            continue  # that of the listing itself


def check_terminal(terminal: bool, console_socket: str, detached: bool) -> None:
    """A terminal needs someone who serves it."""
    if detached and terminal and not console_socket:
        raise ContainerError("cannot allocate tty if woodfrog will detach without setting console socket")
    if console_socket and not (terminal and detached):
        raise ContainerError("cannot use console socket if woodfrog will not detach or allocate tty")
