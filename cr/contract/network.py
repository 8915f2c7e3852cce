"""The network namespaces that sockets live in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from cr import log
from cr.contract.dumping import DumpContext, OpenFile
from cr.kernel import proc
from cr.kernel.clone import CLONE_NEWNET
from cr.kernel.namespaces import setns
from cr.kernel.sockets import network_of


@contextmanager
def inside(namespace_fd: int) -> Iterator[None]:
    """Inside the block this thread is in that network namespace."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    away = not os.path.sameopenfile(own, namespace_fd)  # else nobody needs the privilege
    try:
        if away:
            setns(namespace_fd, CLONE_NEWNET)
        yield
    finally:
        if away:
            setns(own, CLONE_NEWNET)
        os.close(own)


@contextmanager
def network_of_socket(fd: int) -> Iterator[int]:
    """Inside the block this thread is in the network namespace of a socket; gives the namespace's inode."""
    namespace = network_of(fd)
    try:
        with inside(namespace):
            yield os.fstat(namespace).st_ino
    finally:
        os.close(namespace)


def network_ids(context: DumpContext) -> dict[int, int]:
    """Inode of each network namespace that a task is in -> its number in the images."""
    return context.once(
        network_ids,
        lambda: {proc.namespace_inode(task.pid, "net"): task.ids["net_ns_id"] for task in context.live_tasks},
    )


def network_id(network: int, file: OpenFile, context: DumpContext) -> int:
    """The number of the namespace that a socket lives in; 0, and a warning, where no task is in it."""
    found = network_ids(context).get(network, 0)
    if not found:
        log.warning(
            f"{file} lives in a network namespace that no task of the tree is in: it comes back in the root task's, "
            f"unless it is handed over with --inherit-fd fd[N]:{file.link}"
        )
    return found
