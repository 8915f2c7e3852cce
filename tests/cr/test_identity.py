"""Restored under other addresses, ports and another name."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cr.contract.identity import identity
from cr.model import CheckpointError, Refused
from cr.options import Options
from netns.errors import NetnsError
from netns.remap import in_text
from tests.cr.harness import Workload
from tests.cr.test_namespaces import unshare


def at(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("10.0.0.2", "10.1.0.9"),
        ("10.0.0.7", "10.2.0.7"),
        ("10.9.0.1", "10.9.0.1"),
        ("fd00::2", "fd01::2"),
        ("::ffff:10.0.0.2", "::ffff:10.1.0.9"),
    ],
)
def test_an_address_moves_alone_or_with_its_network(old: str, new: str) -> None:
    words = ["10.0.0.2=10.1.0.9", "10.0.0.0/24=10.2.0.0/24", "fd00::/64=fd01::/64"]
    found = identity(Options(remap_ip=words))
    assert found is not None
    assert found.address(at(old)) == at(new)


@pytest.mark.parametrize(
    "words", [["10.0.0.2"], ["10.0.0.2=fd00::1"], ["10.0.0.0/24=10.1.0.0/16"], ["10.0.0.1/24=10.1.0.1/24"]]
)
def test_a_word_that_makes_no_sense_is_named(words: list[str]) -> None:
    with pytest.raises(CheckpointError, match=f"--remap-ip {words[0]}"):
        identity(Options(remap_ip=words))


def test_bad_ports_are_named() -> None:
    with pytest.raises(CheckpointError, match="--remap-port 80=99999"):
        identity(Options(remap_port=["80=99999"]))


def test_rule_sets_are_read_word_by_word() -> None:
    found = identity(Options(remap_ip=["10.0.0.2=10.1.0.9"]))
    assert found is not None
    text = "ip daddr 10.0.0.2 tcp dport 80 accept # 110.0.0.2 10.0.0.21 10.0.0.2/32 1.2"
    assert in_text(text, found.address) == text.replace(" 10.0.0.2 ", " 10.1.0.9 ").replace(" 10.0.0.2/", " 10.1.0.9/")


MOVES = {
    "remap_ip": ["10.9.8.0/24=10.9.9.0/24", "fd00::7=fd07::8"],
    "remap_port": ["8099=9099"],
    "hostname": "thawed",
}


@pytest.mark.root
def test_sockets_links_and_routes_go_along(tmp_path: Path) -> None:
    with Workload("new_identity", tmp_path, prefix=unshare("net", "uts")) as workload:
        workload.dump(tcp_established=True)
        workload.restore(tcp_established=True, **MOVES)
        workload.check()


@pytest.mark.root
def test_a_gateway_that_is_out_of_reach_is_named(tmp_path: Path) -> None:
    with Workload("new_identity", tmp_path, prefix=unshare("net", "uts")) as workload:
        workload.dump(tcp_established=True)
        with pytest.raises(NetnsError, match=r"gateway 10\.9\.8\.1, which is in none of the networks"):
            workload.restore(tcp_established=True, remap_ip=["10.9.8.7=10.9.9.7"])


@pytest.mark.root
def test_peers_outside_and_the_hosts_name_are_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with Workload("new_identity", tmp_path, ["outside", str(port)]) as workload:
            workload.dump(tcp_established=True)
            with pytest.raises(Refused, match=f"to 127.0.0.1 port {port} cannot follow to 127.0.0.9 port"):
                workload.restore(tcp_established=True, remap_ip=["127.0.0.1=127.0.0.9"])
            with pytest.raises(CheckpointError, match="share the host's name"):
                workload.restore(tcp_established=True, hostname="new")
            workload.restore(tcp_established=True)
            workload.check()
