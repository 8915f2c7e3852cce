"""Open /dev/net/tun (Documentation/networking/tuntap.rst): what is attached to a tun or tap device, and how.

The device itself belongs to its network namespace; packets that wait to be read are not kept.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from functools import partial
from typing import TYPE_CHECKING

from cr.contract.network import network_ids
from cr.contract.owner import restore_owner
from cr.contract.resource import FdResource
from cr.contract.tuns import Attached, attached
from cr.kernel import proc
from cr.kernel.sockets import network_of
from cr.model import CheckpointError
from cr.resources.files import device
from cr.resources.files.regular_file import RegularFile, describe_named, open_entry

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext
    from images import messages as m

_SETIFF, _SETPERSIST, _SETQUEUE, _SETSNDBUF = 0x400454CA, 0x400454CB, 0x400454D9, 0x400454D4
_GETIFF, _GETSNDBUF, _GETVNETHDRSZ, _GETFILTER = 0x800454D2, 0x800454D3, 0x800454D7, 0x801054DB
_GETDEVNETNS = 0x54E3
_DETACH_QUEUE, _PERSIST = 0x0400, 0x0800
_ATTACHING = 0x5103  # IFF_TUN, IFF_TAP, IFF_MULTI_QUEUE, IFF_NO_PI, IFF_VNET_HDR
_REQUEST = struct.Struct("=16sH22x")  # struct ifreq with its flags


class TunFile(FdResource):
    """open(2) of /dev/net/tun; its path and flags are in a record of a regular file with the same id."""

    type = 15
    field = "tunf"

    @classmethod
    def recognises(cls, file: OpenFile) -> bool:
        mode, is_path = file.stat.st_mode, file.flags & os.O_PATH
        return stat.S_ISCHR(mode) and file.stat.st_rdev == device.NET_TUN and not is_path

    @classmethod
    def dump(cls, file: OpenFile, context: DumpContext) -> m.tunfile_entry:
        from images import messages as m

        context.files.beneath(file.id, RegularFile, describe_named(file, context))
        entry = m.tunfile_entry(id=file.id)
        found = _interface(file.local)
        if found is None:
            entry.ns_id = network_ids(context).get(_inode(network_of(file.local)), 0)
            return entry
        entry.netdev, flags = found
        if flags & _DETACH_QUEUE:
            entry.detached = True
        network = _inode(fcntl.ioctl(file.local, _GETDEVNETNS))
        entry.ns_id = network_ids(context).get(network, 0)
        for reason in _reasons_against(file, entry, network, flags):
            context.refuse(reason)
        if not entry.detached or (entry.ns_id, entry.netdev) not in attached(context):
            sizes = (_number(file.local, _GETVNETHDRSZ), _number(file.local, _GETSNDBUF))
            attached(context)[entry.ns_id, entry.netdev] = Attached(*sizes)
        return entry

    @classmethod
    def describe(cls, entry: m.tunfile_entry) -> str:
        return f"file {entry.id:#x}: /dev/net/tun, attached to {entry.netdev or 'nothing'}"

    @classmethod
    def make(cls, entry: m.tunfile_entry, context: RestoreContext) -> int:
        record = context.file_entries[entry.id].reg
        with context.network(entry.ns_id):
            fd = open_entry(record, context)
            try:
                if entry.netdev:
                    _attach(fd, entry, context)
                restore_owner(fd, record.fown, context)
            except BaseException:
                os.close(fd)
                raise
        return fd


def _interface(fd: int) -> tuple[str, int] | None:
    """(name, flags) of the device that a descriptor is attached to."""
    try:
        answer = fcntl.ioctl(fd, _GETIFF, _REQUEST.pack(b"", 0))
    except OSError as error:
        if error.errno == errno.EBADFD:
            return None
        raise
    name, flags = _REQUEST.unpack(answer)
    return name.rstrip(b"\0").decode(), flags


def _inode(namespace: int) -> int:
    try:
        return os.fstat(namespace).st_ino
    finally:
        os.close(namespace)


def _number(fd: int, request: int) -> int:
    number: int = struct.unpack("=i", fcntl.ioctl(fd, request, bytes(4)))[0]
    return number


def _reasons_against(file: OpenFile, entry: m.tunfile_entry, network: int, flags: int) -> list[str]:
    if not entry.ns_id:
        return [f"{file} is attached to the network device {entry.netdev} outside of the tree's networks: close it"]
    reasons = []
    if network == proc.namespace_inode("self", "net") and not flags & _PERSIST:
        reasons.append(
            f"{file} is attached to {entry.netdev} in the host's network, which goes with its last user: make it "
            "persistent (TUNSETPERSIST), or run the task in a network namespace of its own"
        )
    if flags & 2 and struct.unpack_from("=H", fcntl.ioctl(file.local, _GETFILTER, bytes(16)))[0]:
        reasons.append(f"{file} filters what {entry.netdev} receives (TUNATTACHFILTER): detach the filter first")
    return reasons


def _attach(fd: int, entry: m.tunfile_entry, context: RestoreContext) -> None:
    flags, sndbuf = _device(entry, context)
    try:
        fcntl.ioctl(fd, _SETIFF, _REQUEST.pack(entry.netdev.encode(), flags & _ATTACHING))
    except OSError as error:
        raise CheckpointError(f"cannot attach to the network device {entry.netdev}: {error.strerror}") from error
    if entry.detached:
        fcntl.ioctl(fd, _SETQUEUE, _REQUEST.pack(b"", _DETACH_QUEUE))
    elif sndbuf:
        fcntl.ioctl(fd, _SETSNDBUF, struct.pack("=i", sndbuf))
    if not flags & _PERSIST:  # it was made to persist until all that are attached to it are there
        context.at_end.append(partial(_let_go_with_users, fd))


def _let_go_with_users(fd: int) -> None:
    """The device goes when nobody is attached to it any more."""
    fcntl.ioctl(fd, _SETPERSIST, 0)


def _device(entry: m.tunfile_entry, context: RestoreContext) -> tuple[int, int]:
    """(flags, size of the send buffer or 0) of the device: from the images, or as it is in the host's network."""
    if context.images.exists("netdev", entry.ns_id):
        for link in context.images.read("netdev", entry.ns_id):
            if link.name == entry.netdev and link.HasField("tun"):
                return link.tun.flags, link.tun.sndbuf
    try:
        with open(f"/sys/class/net/{entry.netdev}/tun_flags") as file:
            return int(file.read(), 16) | _PERSIST, 0
    except OSError as error:
        raise CheckpointError(
            f"a task was attached to the network device {entry.netdev}, which is missing: create it first"
        ) from error
