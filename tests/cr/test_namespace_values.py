"""What the namespaces' resources compute without any kernel: options, id maps, network images."""

from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cr.contract import idmaps, outside
from cr.contract.net_images import OUTSIDE, link_message, link_of, settings_of, without_legacy_lock, without_lock
from cr.kernel import proc
from cr.model import CheckpointError
from images import messages as m
from netns.model import Link, MacvlanData, Sysctls, TunData

IDS = (idmaps.IDENTITY, idmaps.IDENTITY)
MAP = idmaps.parse("         0     100000       1000\n      1000       5000         10\n")


def test_ids_inside_and_outside() -> None:
    assert MAP.inside(100033) == 33
    assert MAP.inside(5009) == 1009
    assert MAP.inside(0) == idmaps.OVERFLOW_ID
    assert MAP.outside(1000) == 5000
    assert MAP.outside(1010) == idmaps.OVERFLOW_ID
    assert MAP.text() == "0 100000 1000\n1000 5000 10\n"


@given(st.integers(0, 1009))
def test_ids_come_back(number: int) -> None:
    assert MAP.inside(MAP.outside(number)) == number


def test_inherited_descriptors() -> None:
    assert outside.inherited(["fd[7]:net", "fd[9]:pipe:[123]"]) == {"net": 7, "pipe:[123]": 9}
    with pytest.raises(CheckpointError, match="fd"):
        outside.inherited(["7:net"])


def test_joined_namespaces() -> None:
    found = outside.joined(["net:42", "uts:/run/ns", "user:/run/user,5,6"])
    assert [(join.kind, join.path, join.uid, join.gid) for join in found] == [
        ("net", "/proc/42/ns/net", None, None),
        ("uts", "/run/ns", None, None),
        ("user", "/run/user", 5, 6),
    ]
    for wrong in ("pid:1", "net", "disk:/x", ""):
        with pytest.raises(CheckpointError, match="--join-ns"):
            outside.joined([wrong])


def test_a_file_that_is_no_namespace_cannot_be_joined(tmp_path: object) -> None:
    with pytest.raises(CheckpointError, match="is no net namespace"):
        outside.open_joined(outside.Joined("net", "/dev/null"))
    with pytest.raises(CheckpointError, match="is no net namespace"):
        outside.open_joined(outside.Joined("net", "/proc/self/ns/uts"))


LINKS = [
    Link("loopback", "lo", 1, 65536, 0x49),
    Link("veth", "eth0", 2, 1500, 0x1043, address=b"\x02\0\0\0\0\1", master=5, peer_index=7, peer_nsid=OUTSIDE),
    Link("veth", "eth1", 3, 1500, 0x1043, peer_index=4),
    Link("tun", "tun0", 6, 1500, 0x1090, tun=TunData(0x1001, owner=33)),
    Link("macvlan", "mac0", 8, 1500, 0x1003, peer_index=2, macvlan=MacvlanData(4, 1)),
]


@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.name)
def test_links_come_back(link: Link) -> None:
    entry = link_message(link, 9, {}, Sysctls(), IDS)
    back = link_of(m.net_device_entry.FromString(entry.SerializeToString()), 9, IDS)
    assert back.__dict__ | {"peer_index": 0} == link.__dict__ | {"peer_index": 0}
    assert back.peer_index == (link.peer_index or link.index)


def test_settings_come_back() -> None:
    saved = Sysctls(conf4={"lo": {"rp_filter": "2", "tag": "-5"}}, conf6={"lo": {"stable_secret": "::1"}})
    entry = link_message(LINKS[0], 9, {}, saved, IDS)
    back = settings_of(m.netns_entry(), [entry])
    assert back.conf4["lo"] == saved.conf4["lo"]
    assert back.conf6["lo"] == saved.conf6["lo"]


def test_the_lock_in_criu_s_images_is_left_out() -> None:
    rules = """table ip filter {
\tchain CRIU {
\t\tmeta mark 0x0000c114 accept
\t\tdrop
\t}

\tchain INPUT {
\t\ttype filter hook input priority filter; policy accept;
\t\tcounter packets 0 bytes 0 jump CRIU
\t\ttcp dport 80 accept
\t}
}
table inet CRIU-77 {
\tchain input {
\t\tdrop
\t}
}
"""
    left = without_lock(rules)
    assert "CRIU" not in left
    assert "tcp dport 80 accept" in left
    assert left.count("{") == left.count("}") == 2
    saved = ":INPUT ACCEPT [0:0]\n:CRIU - [0:0]\n-A INPUT -j CRIU\n-A INPUT -j DROP\n-A CRIU -j DROP\n"
    assert without_legacy_lock(saved) == ":INPUT ACCEPT [0:0]\n-A INPUT -j DROP\n"


def test_a_task_that_ends_while_its_namespaces_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel says EACCES of it, as of one that may not be looked at (proc_ns_get_link, fs/proc/namespaces.c)."""

    def refuse(path: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    for there, error in ((True, PermissionError), (False, ProcessLookupError)):
        with monkeypatch.context() as patch:
            patch.setattr(os.path, "exists", lambda path, there=there: there)
            patch.setattr(os, "stat", refuse)
            with pytest.raises(error):
                proc.namespace_inode(os.getpid(), "user")
