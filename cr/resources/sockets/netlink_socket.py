"""Netlink sockets (netlink(7)): ports, groups and peers; what the kernel has answered and nobody has read is lost."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cr.contract.network import network_id, network_of_socket
from cr.contract.owner import dump_owner
from cr.contract.resource import FdResource
from cr.contract.socket_extras import dump_extras, restore_extras, write_extras
from cr.contract.socket_options import dump_options, restore_options, restore_status
from cr.contract.sockets import family_of
from cr.kernel import sock_diag
from cr.kernel.sockets import ESTABLISHED, lent
from cr.model import CheckpointError

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext
    from images import messages as m

_SOL_NETLINK = 270
_ADD_MEMBERSHIP, _LIST_MEMBERSHIPS = 1, 9
_MOST_GROUPS = 128  # bytes of a list of memberships


class NetlinkSocket(FdResource):
    """socket(AF_NETLINK, ...)."""

    type = 13
    field = "nlsk"

    @classmethod
    def recognises(cls, file: OpenFile) -> bool:
        return family_of(file) == socket.AF_NETLINK

    @classmethod
    def obstacles(cls, file: OpenFile, context: DumpContext) -> Iterable[str]:
        with lent(file.local) as sock:
            if _has_messages(sock):
                yield f"{file} is a netlink socket with messages that nobody has read yet: try again a little later"

    @classmethod
    def dump(cls, file: OpenFile, context: DumpContext) -> m.netlink_sk_entry:
        from images import messages as m

        for reason in cls.obstacles(file, context):
            context.refuse(reason)
        entry = m.netlink_sk_entry(id=file.id, ino=file.stat.st_ino, flags=file.flags & ~os.O_CLOEXEC)
        entry.state = entry.portid = entry.dst_portid = entry.dst_group = 0
        with lent(file.local) as sock, network_of_socket(file.local) as network:
            entry.protocol = sock.proto
            facts = sock_diag.netlink_sockets(sock.proto).get(file.stat.st_ino)
            if facts is not None:
                entry.state, entry.portid = facts.state, facts.port
                entry.dst_portid, entry.dst_group = facts.peer_port, facts.peer_group
                entry.groups.extend(_groups(sock))
            dump_extras(file, network, context)
        entry.fown.CopyFrom(dump_owner(file))
        entry.opts.CopyFrom(dump_options(file.local))
        entry.ns_id = network_id(network, file, context)
        return entry

    @classmethod
    def finish_dump(cls, context: DumpContext) -> None:
        write_extras(context)

    @classmethod
    def make(cls, entry: m.netlink_sk_entry, context: RestoreContext) -> int:
        with context.network(entry.ns_id):
            kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
            fd = socket.socket(socket.AF_NETLINK, kind, entry.protocol).detach()
        try:
            with lent(fd) as sock:
                _bind(sock, entry)
            restore_options(fd, entry.opts)
            restore_extras(fd, entry.id, context)
            restore_status(fd, entry.flags, entry.fown, context)
        except BaseException:
            os.close(fd)
            raise
        return fd


def _has_messages(sock: socket.socket) -> bool:
    try:
        sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:
        return False
    return True


def _groups(sock: socket.socket) -> list[int]:
    """The groups it is a member of, as words of a bit mask; empty words at the end are left out."""
    raw = sock.getsockopt(_SOL_NETLINK, _LIST_MEMBERSHIPS, _MOST_GROUPS)
    words = [word for (word,) in struct.iter_unpack("<I", raw)]
    while words and not words[-1]:
        words.pop()
    return words


def _bind(sock: socket.socket, entry: m.netlink_sk_entry) -> None:
    if entry.portid:
        try:
            sock.bind((entry.portid, 0))
        except OSError as error:
            raise CheckpointError(
                f"netlink port {entry.portid} is taken by another process of the network namespace: {error.strerror}"
            ) from error
    for position, word in enumerate(entry.groups):
        for bit in range(32):
            if word >> bit & 1:
                sock.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, 32 * position + bit + 1)
    if entry.state == ESTABLISHED:
        mask = 1 << (entry.dst_group - 1) if entry.dst_group else 0
        sock.connect((entry.dst_portid, mask))
