"""What is read from netlink and written into packets and images, without any socket."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cr.contract import socket_extras
from cr.contract.socket_options import pack_filter, unpack_filter
from cr.kernel import sock_diag, tcp
from cr.resources.namespaces.network_lock import connection
from cr.resources.sockets.unix_socket import _peers_first
from images import messages as m


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.binary(min_size=8, max_size=8)))
def test_a_filter_comes_back_from_its_words(instructions: list[bytes]) -> None:
    program = b"".join(instructions)
    assert unpack_filter(pack_filter(program)) == program


def test_a_filter_is_packed_with_the_code_in_the_highest_bits() -> None:
    assert pack_filter(struct.pack("<HBBI", 0x15, 0, 4, 0x800)) == [0x0015_00_04_00000800]


@pytest.mark.parametrize(("source", "destination"), [(b"\x0a\0\0\1", b"\x0a\0\0\2"), (bytes(15) + b"\1", bytes(16))])
def test_a_segment_has_a_checksum_that_is_right(source: bytes, destination: bytes) -> None:
    packet = tcp.Segment((source, 80), (destination, 4000), 1 << 33, 7, tcp.FIN | tcp.ACK, 1 << 20).packet()
    segment = packet[-20:]
    length = struct.pack(">BBH", 0, 6, 20) if len(source) == 4 else struct.pack(">IHBB", 20, 0, 0, 6)
    assert tcp.checksum(source + destination + length + segment) == 0
    assert struct.unpack(">HHIIBBH", segment[:16]) == (80, 4000, 0, 7, 0x50, 17, 0xFFFF)


def test_the_facts_of_a_unix_socket_are_read() -> None:
    head = struct.pack("<BBBBIII", 1, 1, 10, 0, 77, 0, 0)
    waiting = struct.pack("<HH2I", 12, sock_diag.UNIX_DIAG_ICONS, 5, 0)
    lengths = struct.pack("<HH2I", 12, sock_diag.UNIX_DIAG_RQLEN, 2, 16)
    name = struct.pack("<HH4s", 8, sock_diag.UNIX_DIAG_NAME, b"\0abc")
    facts = sock_diag.parse_unix(head + waiting + lengths + name)
    assert (facts.state, facts.inode, facts.waiting, facts.receive_queue, facts.send_queue) == (10, 77, (5, 0), 2, 16)
    assert (facts.name, facts.peer, facts.file) == (b"\0abc", None, None)


def test_a_message_cut_short_ends_the_list_of_attributes() -> None:
    assert sock_diag.attributes(struct.pack("<HHI", 8, 3, 9) + b"\0\0\0\0") == {3: struct.pack("<I", 9)}


def test_ipv4_in_ipv6_is_locked_as_ipv4() -> None:
    mapped = bytes(10) + b"\xff\xff\x7f\0\0\1"
    found = connection((mapped, 1), (mapped, 2))
    assert (found.family, found.local, found.remote) == (socket.AF_INET, "127.0.0.1", "127.0.0.1")


def test_peers_come_before_those_that_are_connected_to_them() -> None:
    entries = {ino: m.unix_sk_entry(ino=ino, peer=peer) for ino, peer in ((1, 3), (2, 1), (3, 3), (4, 5), (5, 4))}
    order = [entry.ino for entry in _peers_first(entries)]
    assert sorted(order) == [1, 2, 3, 4, 5]
    assert order.index(3) < order.index(1) < order.index(2)


def test_a_socket_that_only_some_groups_may_have_is_measured_by_another() -> None:
    found = socket_extras._plain(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)  # ping_group_range(icmp(7))
    with found.sock:
        assert (socket_extras.Option(socket.SOL_SOCKET, socket.SO_DEBUG), bytes(4)) in found.usual(False)
