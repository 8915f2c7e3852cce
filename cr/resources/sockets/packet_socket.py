"""Packet sockets (packet(7)): interfaces, memberships, rings and fanout groups; packets in them are not kept."""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING, Any

from cr.contract.network import network_id, network_of_socket
from cr.contract.owner import dump_owner
from cr.contract.resource import FdResource
from cr.contract.socket_extras import dump_extras, restore_extras, write_extras
from cr.contract.socket_options import dump_options, restore_options, restore_status
from cr.contract.sockets import family_of
from cr.contract.vma import VmaResource
from cr.kernel import sock_diag
from cr.kernel.sockets import bind_by_name, lent
from images.kinds import VmaStatus

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask, OpenFile
    from cr.contract.restoring import RestoreContext, RestoreTask
    from cr.kernel.proc import Mapping
    from images import messages as m

SOL_PACKET = 263
SOCK_PACKET = 10
_ADD_MEMBERSHIP, _RX_RING, _COPY_THRESH, _AUXDATA, _ORIGDEV, _VERSION = 1, 5, 7, 8, 9, 10
_RESERVE, _TX_RING, _LOSS, _VNET_HDR, _TIMESTAMP, _FANOUT = 12, 13, 14, 15, 17, 18
_FLAGS = {"aux_data": 2, "orig_dev": 4, "vnet_hdr": 8, "loss": 16}  # bits of pdi_flags
_RING = ("block_size", "block_nr", "frame_size", "frame_nr", "retire_tmo", "sizeof_priv", "features")
_TPACKET_V3 = 2
# in the order in which the kernel takes them: the version and the header in front of packets before the rings
_OPTIONS = {
    "version": _VERSION,
    "reserve": _RESERVE,
    "aux_data": _AUXDATA,
    "orig_dev": _ORIGDEV,
    "vnet_hdr": _VNET_HDR,
    "loss": _LOSS,
    "timestamp": _TIMESTAMP,
    "copy_thresh": _COPY_THRESH,
}


class PacketSocket(FdResource):
    """socket(AF_PACKET, ...)."""

    type = 10
    field = "psk"

    @classmethod
    def recognises(cls, file: OpenFile) -> bool:
        return family_of(file) == socket.AF_PACKET

    @classmethod
    def dump(cls, file: OpenFile, context: DumpContext) -> m.packet_sock_entry:
        from images import messages as m

        with network_of_socket(file.local) as network:
            facts = sock_diag.packet_sockets()[file.stat.st_ino]
            dump_extras(file, network, context)
        entry = m.packet_sock_entry(id=file.id, flags=file.flags & ~os.O_CLOEXEC, type=facts.type)
        entry.protocol = socket.htons(facts.protocol)
        entry.ifindex, entry.version, entry.reserve = facts.interface, facts.version, facts.reserve
        entry.copy_thresh, entry.timestamp = facts.copy_threshold, facts.timestamp
        for name, bit in _FLAGS.items():
            setattr(entry, name, bool(facts.flags & bit))
        for index, kind, address in facts.memberships:
            entry.mclist.add(index=index, type=kind, addr=address)
        if facts.fanout is not None:
            entry.fanout = facts.fanout
        _describe_ring(entry.rx_ring, facts.receive_ring)
        _describe_ring(entry.tx_ring, facts.send_ring)
        entry.fown.CopyFrom(dump_owner(file))
        entry.opts.CopyFrom(dump_options(file.local))
        entry.ns_id = network_id(network, file, context)
        context.once("packet sockets", dict[int, int])[file.stat.st_ino] = file.id
        return entry

    @classmethod
    def finish_dump(cls, context: DumpContext) -> None:
        write_extras(context)

    @classmethod
    def make(cls, entry: m.packet_sock_entry, context: RestoreContext) -> int:
        with context.network(entry.ns_id):
            protocol = socket.ntohs(entry.protocol)
            fd = socket.socket(socket.AF_PACKET, entry.type | socket.SOCK_CLOEXEC, entry.protocol).detach()
            try:
                with lent(fd) as sock:
                    _bind(sock, entry, protocol)
                    _configure(sock, entry)
                restore_options(fd, entry.opts)
                restore_extras(fd, entry.id, context)
                restore_status(fd, entry.flags, entry.fown, context)
            except BaseException:
                os.close(fd)
                raise
        return fd


def _describe_ring(entry: m.packet_ring, words: tuple[int, ...]) -> None:
    for name, value in zip(_RING, words, strict=False):
        setattr(entry, name, value)


def _bind(sock: socket.socket, entry: m.packet_sock_entry, protocol: int) -> None:
    if not entry.ifindex:
        return
    name = socket.if_indextoname(entry.ifindex)
    if entry.type == SOCK_PACKET:
        bind_by_name(sock, name)
    else:
        sock.bind((name, protocol))


def _configure(sock: socket.socket, entry: m.packet_sock_entry) -> None:
    for name, option in _OPTIONS.items():
        if value := int(getattr(entry, name)):
            sock.setsockopt(SOL_PACKET, option, value)
    for member in entry.mclist:
        request = struct.pack("<iHH32s", member.index, member.type, len(member.addr), member.addr)
        sock.setsockopt(SOL_PACKET, _ADD_MEMBERSHIP, request)
    for field, option in (("rx_ring", _RX_RING), ("tx_ring", _TX_RING)):
        if entry.HasField(field):
            sock.setsockopt(SOL_PACKET, option, _ring(getattr(entry, field), entry.version))
    if entry.HasField("fanout") and entry.fanout != 0xFFFFFFFF:
        sock.setsockopt(SOL_PACKET, _FANOUT, struct.pack("<I", entry.fanout))


def _ring(entry: Any, version: int) -> bytes:
    """struct tpacket_req, or tpacket_req3 for the third version of the ring."""
    words = [getattr(entry, name) for name in _RING]
    used = words if version == _TPACKET_V3 else words[:4]
    return struct.pack(f"<{len(used)}I", *used)


class PacketRing(VmaResource):
    """mmap(2) of a packet socket: its rings."""

    status = VmaStatus.SOCKET
    private_pages = False
    inherited = False

    @classmethod
    def recognises(cls, mapping: Mapping) -> bool:
        return mapping.path.startswith("socket:[")

    @classmethod
    def dump(cls, mapping: Mapping, entry: m.vma_entry, task: DumpTask, context: DumpContext) -> None:
        found = context.once("packet sockets", dict[int, int]).get(mapping.inode)
        if found is None:
            context.refuse(f"{task} maps {mapping.path}, which no task has open any more: keep its descriptor open")
            return
        entry.shmid, entry.pgoff, entry.fdflags = found, mapping.offset, os.O_RDWR

    @classmethod
    def fd(cls, entry: m.vma_entry, task: RestoreTask, context: RestoreContext) -> int:
        return context.file(entry.shmid)
