"""Single requests about links, in the words of rtnetlink(7)."""

from __future__ import annotations

import errno
import struct

from netns import wire
from netns.codec import decode
from netns.errors import NetnsError
from netns.wire import Socket, attr, text

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWNSID, RTM_GETNSID = 88, 90
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER, IFLA_TXQLEN = 1, 3, 4, 5, 10, 13
IFLA_LINKINFO, IFLA_IFALIAS, IFLA_NET_NS_FD, IFLA_NEW_IFINDEX = 18, 20, 28, 49
INFO_KIND, INFO_DATA, INFO_SLAVE_KIND, INFO_SLAVE_DATA = 1, 2, 4, 5
NETNSA_NSID, NETNSA_FD = 1, 3


def head(index: int = 0, flags: int = 0, change: int = 0) -> bytes:
    """struct ifinfomsg {u8 family, pad; u16 type; s32 index; u32 flags, change}."""
    return struct.pack("=BxHiII", 0, 0, index, flags, change)


def u32(kind: int, value: int) -> bytes:
    return attr(kind, struct.pack("=I", value))


def linkinfo(kind: str, data: bytes = b"") -> bytes:
    """IFLA_LINKINFO with the kind and, if there is any, its data."""
    return wire.nest(IFLA_LINKINFO, text(INFO_KIND, kind), wire.nest(INFO_DATA, data) if data else b"")


def port_settings(data: bytes) -> bytes:
    """IFLA_LINKINFO with the settings of a bridge's port (IFLA_BRPORT_*)."""
    return wire.nest(IFLA_LINKINFO, text(INFO_SLAVE_KIND, "bridge"), wire.nest(INFO_SLAVE_DATA, data))


def index_of(sock: Socket, name: str, where: str = "network namespace") -> int:
    """The index of a link.  Raises NetnsError if there is none of this name."""
    try:
        answer = sock.ask(RTM_GETLINK, head() + text(IFLA_IFNAME, name), f"find network link {name}")
    except NetnsError as err:
        if err.errno == errno.ENODEV:
            raise NetnsError(f"there is no network link {name} in the {where}; make it first", errno.ENODEV) from err
        raise
    return int(struct.unpack_from("=i", answer.body, 4)[0])


def name_of(sock: Socket, index: int) -> str:
    """The name of a link by index."""
    answer = sock.ask(RTM_GETLINK, head(index), f"find network link {index}")
    return str(decode("link", answer.raw).get_attr("IFLA_IFNAME"))


def new_link(sock: Socket, body: bytes, what: str) -> None:
    """RTM_NEWLINK for a link that must not be there yet.  Raises NetnsError "cannot <what>"."""
    sock.request(RTM_NEWLINK, wire.CREATE | wire.EXCL, body, what)


def change_link(sock: Socket, index: int, what: str, attrs: bytes = b"", flags: int = 0, change: int = 0) -> None:
    """Change a link by index; `change` says which of the flags count.  Raises NetnsError "cannot <what>"."""
    sock.request(RTM_NEWLINK, 0, head(index, flags, change) + attrs, what)


def delete_link(sock: Socket, index: int, name: str) -> None:
    """Remove a link; one that is gone is fine."""
    sock.request(RTM_DELLINK, 0, head(index), f"remove network link {name}", (errno.ENODEV,))


def nsid_of(sock: Socket, netns_fd: int) -> int:
    """The id by which the socket's namespace knows another one; -1 for none."""
    answer = sock.ask(RTM_GETNSID, struct.pack("=B3x", 0) + u32(NETNSA_FD, netns_fd), "ask for a namespace's id")
    found = dict(wire.attributes(answer.body[4:]))
    return int(struct.unpack("=i", found[NETNSA_NSID])[0])


def set_nsid(sock: Socket, netns_fd: int, nsid: int) -> None:
    """Give another namespace an id; the same one again is fine.  Raises NetnsError."""
    body = struct.pack("=B3x", 0) + u32(NETNSA_FD, netns_fd) + attr(NETNSA_NSID, struct.pack("=i", nsid))
    sock.request(RTM_NEWNSID, 0, body, f"give a network namespace the id {nsid}", (errno.EEXIST,))
