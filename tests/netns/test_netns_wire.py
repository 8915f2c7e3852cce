"""Netlink bytes, streams, and what damaged ones do."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netns import NetnsError, conntrack, replay, streams, wire
from netns.externals import Outer, parse
from netns.iptables import install_text, remove_text
from netns.nft import Connection


def test_attributes_are_padded_and_read_back() -> None:
    data = wire.attr(3, b"abcde") + wire.nest(4, wire.text(1, "x"))
    assert len(data) % 4 == 0
    found = dict(wire.attributes(data))
    assert found[3] == b"abcde"
    assert dict(wire.attributes(found[4])) == {1: b"x\0"}


@given(st.binary(max_size=200))
def test_no_bytes_break_the_readers(data: bytes) -> None:
    for reader in (
        lambda: streams.parse(streams.ROUTES, struct.pack("=I", streams.ROUTES.magic) + data),
        lambda: streams.parse(streams.ADDRESSES, data),
        lambda: conntrack.parse(data, conntrack.CONNTRACK),
    ):
        try:
            reader()
        except NetnsError as err:
            assert "saved" in str(err)


def address(index: int = 2, flags: int = 0x80 | 0x40) -> bytes:
    body = struct.pack("=BBBBI", socket.AF_INET6, 64, flags, 0, index)
    return body + wire.attr(1, socket.inet_pton(socket.AF_INET6, "fd00::5")) + wire.attr(8, struct.pack("=I", flags))


def test_a_stream_is_a_magic_and_messages() -> None:
    message = wire.message(streams.RTM_NEWADDR, 2, address(), 7)
    data = streams.join(streams.ADDRESSES, wire.split(message))
    assert data[:4] == bytes.fromhex("22123647")
    assert [m.raw for m in streams.parse(streams.ADDRESSES, data)] == [message]
    assert streams.parse(streams.ADDRESSES, b"") == []
    with pytest.raises(NetnsError, match="do not begin with their magic 0x45311224"):
        streams.parse(streams.ROUTES, data)
    with pytest.raises(NetnsError, match="damaged"):
        streams.parse(streams.ADDRESSES, data[:-3])


def test_a_message_of_another_type_is_refused() -> None:
    data = struct.pack("=I", streams.RULES.magic) + wire.message(99, 0, bytes(12))
    with pytest.raises(NetnsError, match="hold a netlink message of type 99"):
        streams.parse(streams.RULES, data)


def test_an_address_goes_back_without_its_state() -> None:
    for state, flags in ((0x80, replay.IFA_F_NODAD), (0xC0, 0)):  # one in use, one still being checked
        body = replay.address_body(address(2, state), {2: 9})
        assert struct.unpack_from("=BBBBI", body) == (socket.AF_INET6, 64, flags, 0, 9)
        assert dict(wire.attributes(body[8:]))[8] == struct.pack("=I", flags)


def route(**attrs: bytes) -> bytes:
    numbers = {"dst": 1, "oif": 4, "gateway": 5, "multipath": 9, "cacheinfo": 12, "nh_id": 30}
    head = struct.pack("=BBBBBBBBI", socket.AF_INET, 24, 0, 0, 254, 3, 0, 1, 0x14)
    return head + b"".join(wire.attr(numbers[name], value) for name, value in attrs.items())


def test_a_route_goes_back_to_the_links_of_now() -> None:
    hop = struct.pack("=HBBi", 16, 0x14, 0, 2) + wire.attr(5, bytes([10, 0, 0, 1]))
    body = replay.route_body(
        route(oif=struct.pack("=I", 2), multipath=hop, cacheinfo=bytes(32), nh_id=bytes(4)), {2: 9}
    )
    assert struct.unpack_from("=I", body, 8)[0] == replay.RTNH_F_ONLINK
    found = dict(wire.attributes(body[12:]))
    assert found[4] == struct.pack("=I", 9)
    assert struct.unpack_from("=HBBi", found[9]) == (16, replay.RTNH_F_ONLINK, 0, 9)
    assert set(found) == {4, 9}


def test_a_damaged_multipath_route_does_not_loop() -> None:
    with pytest.raises(NetnsError, match="shorter than its header"):
        replay.route_body(route(multipath=bytes(8)), {})


class FakeSocket(wire.Socket):
    """Takes a route only once the one before it in `order` is there."""

    def __init__(self, order: list[bytes]) -> None:
        self.order, self.added = order, list[bytes]()

    def request(self, kind: int, flags: int, body: bytes, what: str, fine: object = ()) -> int:
        place = self.order.index(body) if body in self.order else -1
        if place < 0 or (place and self.order[place - 1] not in self.added):
            return replay.UNREACHABLE[0]
        self.added.append(body)
        return 0


def routes(*gateways: int) -> list[bytes]:
    return [route(gateway=bytes([10, 0, 0, last])) for last in gateways]


def stream(bodies: list[bytes]) -> bytes:
    return struct.pack("=I", streams.ROUTES.magic) + b"".join(wire.message(24, 0, body) for body in bodies)


def test_routes_are_added_in_an_order_that_works() -> None:
    order = [replay.route_body(body, {}) for body in routes(1, 2, 3)]
    sock = FakeSocket(order)
    replay.restore_routes(sock, stream(routes(3, 1, 2)))
    assert sock.added == order


def test_a_route_that_never_works_is_named() -> None:
    dead = route(dst=bytes([10, 9, 0, 0]), gateway=bytes([10, 0, 0, 9]))
    with pytest.raises(NetnsError, match=r"cannot add route to 10\.9\.0\.0/24: network is unreachable"):
        replay.restore_routes(FakeSocket([]), stream([dead]))


def test_externals_are_read() -> None:
    found = parse(["veth[eth0]:vz0@br0", "veth[eth1]:vz1", "macvlan[m0]:eth9", "mnt[/x]:y"], ["eth2=vz2@br1"])
    assert found.veth == {"eth0": Outer("vz0", "br0"), "eth1": Outer("vz1"), "eth2": Outer("vz2", "br1")}
    assert found.macvlan == {"m0": "eth9"}


@pytest.mark.parametrize(
    "bad", ["veth[eth0]", "veth[eth0]:a/b", "veth[]:x", "macvlan[m0]:", "veth[a]:0123456789abcdef"]
)
def test_a_bad_external_is_refused(bad: str) -> None:
    with pytest.raises(NetnsError, match="--external"):
        parse([bad])


def test_iptables_text_locks_both_ways() -> None:
    one = Connection(socket.AF_INET, "10.0.0.1", 80, "10.0.0.2", 999)
    text = install_text("T", [one], socket.AF_INET)
    assert "-A T -m mark --mark 0xc114 -j ACCEPT\n" in text
    assert "-A T -p tcp -s 10.0.0.1 --sport 80 -d 10.0.0.2 --dport 999 -j DROP\n" in text
    assert "-A T -p tcp -s 10.0.0.2 --sport 999 -d 10.0.0.1 --dport 80 -j DROP\n" in text
    assert "-I INPUT 1 -j T\n-I OUTPUT 1 -j T\nCOMMIT\n" in text
    assert "10.0.0.1" not in install_text("T", [one], socket.AF_INET6)
    assert "-A T -j DROP" in install_text("T", None, socket.AF_INET)
    assert "-F T\n-X T\n" in remove_text("T")


LIGHT = """
import sys
from netns import codec, state, lock, loopback, veth
assert "pyroute2" not in sys.modules and "asyncio" not in sys.modules
codec.encode("link", {"index": 1}, [("IFLA_IFNAME", "x")])
assert "pyroute2" not in sys.modules and "asyncio" not in sys.modules
import pyroute2
assert pyroute2.IPRoute.__name__ and pyroute2.netlink.nlmsg
assert codec.encode("address", {"index": 1}, [])
"""


def test_codecs_are_light_and_leave_pyroute2_whole() -> None:
    result = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
