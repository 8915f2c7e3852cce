"""Real namespaces: saved, restored, compared; links that reach out."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netns import NetnsError, conntrack, externals, firewall, loopback, state, streams, typed, veth
from netns.enter import run_in
from netns.model import SETTABLE_FLAGS, NetworkState
from netns.wire import Socket
from values import replace

pytestmark = pytest.mark.root
Make = Callable[[], int]
Shell = Callable[[int | None, str], str]
Until = Callable[[Callable[[], bool]], None]

CROWDED = """
ip link set lo up
ip link add br0 type bridge forward_delay 400
ip link add va type veth peer name vb
ip link set va master br0; ip link set vb mtu 1400 alias "the other end"
ip tuntap add dev tap7 mode tap user 5
ip link add mv0 link vb type macvlan mode bridge
for link in br0 va vb mv0; do echo 1 > /proc/sys/net/ipv6/conf/$link/addr_gen_mode; ip link set $link up; done
ip addr add 10.1.2.3/24 dev br0
ip addr add 10.3.0.1 peer 10.3.0.2/32 dev vb
ip -6 addr add fd00::5/64 dev br0 nodad
ip route add 10.9.0.0/16 via 10.1.2.1 metric 7
ip route add default via 10.9.0.1 table 100 onlink dev br0
ip route add 10.77.0.0/16 nexthop via 10.1.2.1 weight 2 nexthop via 10.1.2.9
ip route add local 10.200.0.0/16 dev lo
ip route add unreachable 10.201.0.0/16
ip -6 route add fd01::/64 via fd00::1
ip rule add from 10.1.2.3 fwmark 4 table 100
ip rule del table default
ip -6 rule add from fd00::5 table 100
ip neigh add 10.1.2.9 lladdr 02:00:00:00:00:09 dev br0
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 2 > /proc/sys/net/ipv4/conf/br0/rp_filter
echo 0 9 > /proc/sys/net/ipv4/ping_group_range
echo 77 > /proc/sys/net/unix/max_dgram_qlen
"""


def settled(shell: Shell, fd: int) -> bool:
    """Whether every link that is up has found its state, and no address is being checked."""
    return "tentative" not in shell(fd, "ip addr") and "state DOWN" not in shell(fd, "ip link show up")


def views(saved: NetworkState) -> list[object]:
    """What must be the same after a restore, without flags that only report."""
    addresses = {(a.local, a.peer, a.prefix, a.index, a.scope, a.label) for a in typed.addresses(saved.addresses)}
    routes = [set(typed.routes(data)) for data in (saved.routes4, saved.routes6)]
    links = [replace(link, flags=link.flags & SETTABLE_FLAGS) for link in saved.links]
    return [links, addresses, routes, typed.rules(saved.rules), saved.neighbours, saved.sysctls]


def test_a_crowded_namespace_comes_back(namespace: Make, shell: Shell, until: Until) -> None:
    old, new = namespace(), namespace()
    shell(old, CROWDED)
    until(lambda: settled(shell, old))
    saved = state.dump(old)
    assert [link.kind for link in saved.links] == ["loopback", "bridge", "veth", "veth", "tun", "macvlan"]
    made = state.restore(saved, new)
    assert made.outside == ()
    until(lambda: settled(shell, new))
    for before, after in zip(views(saved), views(state.dump(new)), strict=True):
        assert before == after
    assert "nexthop via 10.1.2.1 dev br0 weight 2" in shell(new, "ip route")
    assert "the other end" in shell(new, "ip link show vb")


def test_an_empty_namespace_comes_back_empty(namespace: Make) -> None:
    old, new = namespace(), namespace()
    saved = state.dump(old)
    state.restore(saved, new)
    assert state.dump(new) == replace(saved, rules=state.dump(new).rules)
    assert typed.rules(saved.rules) == typed.rules(state.dump(new).rules)


def test_lo_is_brought_up_without_netlink(namespace: Make, shell: Shell) -> None:
    fd = namespace()
    loopback.bring_up(fd)
    loopback.bring_up(fd)
    assert "127.0.0.1/8" in shell(fd, "ip addr")
    with pytest.raises(NetnsError, match="cannot bring nolink up"):
        loopback.bring_up(fd, "nolink")


@pytest.fixture
def outside(namespace: Make, shell: Shell) -> Iterator[int]:
    """A namespace that plays the host, with a bridge and a plain link."""
    fd = namespace()
    shell(
        fd,
        "ip link set lo up; ip link add br9 type bridge; ip link set br9 up;ip link add h0 type veth peer name h1",
    )
    yield fd


def test_a_container_gets_its_veth(namespace: Make, outside: int, shell: Shell) -> None:
    fd = namespace()
    spec = veth.VethSpec("eth0", "vz0", "br9", ("10.8.0.2/24", "fd08::2/64"), ("10.8.0.1",), b"\x02\0\0\0\0\7", 1300)
    made = veth.setup(fd, [spec, veth.VethSpec("eth1")], outside)
    shell(outside, "ip addr add 10.8.0.1/24 dev br9")
    assert made[0].name == "vz0" and len(made) == 2
    seen = shell(fd, "ip addr show eth0; ip route")
    assert "02:00:00:00:00:07" in seen and "mtu 1300" in seen and "default via 10.8.0.1 dev eth0" in seen
    assert "master br9" in shell(outside, "ip link show vz0")
    veth.remove(made, outside)
    veth.remove(made, outside)
    assert "eth0" not in shell(fd, "ip link")


def test_a_failed_setup_leaves_nothing_outside(namespace: Make, outside: int, shell: Shell) -> None:
    before = shell(outside, "ip -br link")
    good, bad = veth.VethSpec("eth0", "vz0"), veth.VethSpec("eth1", "vz1", "nobridge")
    with pytest.raises(NetnsError, match="there is no network link nobridge in the namespace outside"):
        veth.setup(namespace(), [good, bad], outside)
    assert shell(outside, "ip -br link") == before


def test_links_that_reach_out_are_restored(namespace: Make, outside: int, shell: Shell) -> None:
    old, new = namespace(), namespace()
    made = veth.setup(old, [veth.VethSpec("eth0", "vz0", "", ("10.8.0.2/24",), ("10.8.0.1",))], outside)
    saved = state.dump(old)
    veth.remove(made, outside)
    given = replace(externals.parse(["veth[eth0]:vz0@br9"]), outer_fd=outside)
    again = state.restore(saved, new, given)
    assert [link.name for link in again.outside] == ["vz0"]
    assert "master br9" in shell(outside, "ip link show vz0")
    assert "10.8.0.2/24" in shell(new, "ip addr show eth0")
    assert "default via 10.8.0.1" in shell(new, "ip route")


def test_a_failed_restore_leaves_nothing_outside(namespace: Make, outside: int, shell: Shell) -> None:
    old, new = namespace(), namespace()
    made = veth.setup(old, [veth.VethSpec("eth0", "vz0", "", ("10.8.0.2/24",))], outside)
    saved = replace(state.dump(old), routes4=broken_route())
    veth.remove(made, outside)
    before = shell(outside, "ip -br link")
    given = replace(externals.parse(["veth[eth0]:vz1"]), outer_fd=outside)
    with pytest.raises(NetnsError, match=r"cannot add route to 10\.66\.0\.0/16"):
        state.restore(saved, new, given)
    assert shell(outside, "ip -br link") == before


def broken_route() -> bytes:
    """A stream with one route by a gateway that nobody can reach."""
    from netns import wire

    body = struct.pack("=BBBBBBBBI", socket.AF_INET, 16, 0, 0, 254, 3, 0, 1, 0)
    body += wire.attr(1, bytes([10, 66, 0, 0])) + wire.attr(5, bytes([10, 67, 0, 1]))
    return struct.pack("=I", streams.ROUTES.magic) + wire.message(streams.RTM_NEWROUTE, 0, body)


def test_a_macvlan_needs_to_know_its_lower_link(namespace: Make, outside: int, shell: Shell) -> None:
    old, new = namespace(), namespace()
    shell(
        outside,
        f"ip link add mv0 link h0 type macvlan mode vepa; ip link set mv0 netns /proc/{os.getpid()}/fd/{old}",
    )
    saved = state.dump(old)
    with pytest.raises(NetnsError, match=r"name that link with --external macvlan\[mv0\]"):
        state.restore(saved, namespace())
    state.restore(saved, new, replace(externals.parse(["macvlan[mv0]:h0"]), outer_fd=outside))
    assert "macvlan mode vepa" in shell(new, "ip -d link show mv0")


def test_a_link_that_a_script_has_put_there_is_taken(namespace: Make, outside: int, shell: Shell) -> None:
    old, new = namespace(), namespace()
    make = "ip link add mv0 link h0 type macvlan mode {}; ip link set mv0 netns /proc/{}/fd/{}"
    shell(outside, make.format("vepa", os.getpid(), old))
    shell(old, "ip addr add 10.9.0.1/24 dev mv0; ip link set mv0 up")
    saved = state.dump(old)
    shell(old, "ip link del mv0")
    shell(outside, make.format("bridge", os.getpid(), new))
    state.restore(saved, new)
    assert "macvlan mode bridge" in shell(new, "ip -d link show mv0")
    assert "10.9.0.1/24" in shell(new, "ip addr show mv0")


def test_a_pair_between_two_restored_namespaces(namespace: Make, shell: Shell) -> None:
    one, two, new_one, new_two = (namespace() for _ in range(4))
    shell(one, f"ip link add left type veth peer name right netns /proc/{os.getpid()}/fd/{two}")
    saved_one, saved_two = state.dump(one), state.dump(two)
    end_one = next(link for link in saved_one.links if link.name == "left")
    end_two = next(link for link in saved_two.links if link.name == "right")
    assert end_one.peer_nsid is not None and end_two.peer_nsid is not None
    state.restore(saved_one, new_one, externals.Externals(peers={end_one.peer_nsid: new_two}))
    state.restore(saved_two, new_two, externals.Externals(peers={end_two.peer_nsid: new_one}))
    again = next(link for link in state.dump(new_two).links if link.name == "right")
    assert (again.index, again.peer_index, again.address) == (
        end_two.index,
        end_two.peer_index,
        end_two.address,
    )


def test_what_cannot_be_saved_is_refused_with_all_reasons(namespace: Make, shell: Shell) -> None:
    fd = namespace()
    shell(
        fd,
        "ip link add v0 type vxlan id 3 dstport 4789; ip link add w0 type vxlan id 4 dstport 4789",
    )
    with pytest.raises(NetnsError) as caught:
        state.dump(fd)
    assert [line.split()[2] for line in str(caught.value).splitlines()] == ["v0", "w0"]
    state.dump(fd, frozenset({"v0", "w0"}))


RULES = """
table inet keep {
    chain c {
        type filter hook input priority filter; policy accept;
        tcp dport 22 accept
    }
}
"""


def test_nftables_rules_come_back(namespace: Make, until: Until) -> None:
    old, new = namespace(), namespace()
    try:
        firewall.nft_command(old, RULES)
    except NetnsError as err:
        pytest.skip(f"this kernel lacks what is tested: {err}")
    saved = firewall.dump(old)
    assert saved.nftables is not None and "tcp dport 22 accept" in saved.nftables
    firewall.restore(new, saved)
    assert firewall.dump(new) == saved
    with pytest.raises(NetnsError, match="cannot restore the nftables rules"):
        firewall.restore(new, replace(saved, nftables="nonsense {"))


def test_rules_without_a_program_to_save_them_are_refused(namespace: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from netns import nft, wire

    fd = namespace()
    with run_in(fd, lambda: Socket(wire.NETFILTER)) as sock:
        sock.batch(lambda n: nft.batch([(nft.NEWTABLE, nft.table("keep", 0))], n), "make a table")
    monkeypatch.setattr(firewall, "LIBRARY", "libnothing.so")
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(NetnsError, match=r"\(inet keep\): neither libnothing\.so nor the program nft is installed"):
        firewall.dump(fd)


def test_tracked_connections_come_back(namespace: Make, shell: Shell) -> None:
    old, new = namespace(), namespace()
    for fd in (old, new):
        loopback.bring_up(fd)
        try:
            firewall.nft_command(
                fd, "table inet t { chain c { type filter hook input priority 0; ct state new accept; }; }"
            )
        except NetnsError as err:
            pytest.skip(f"this kernel lacks what is tested: {err}")

    def talk() -> int:
        with socket.socket() as server, socket.socket() as client:
            server.bind(("127.0.0.1", 0))
            server.listen()
            client.connect(server.getsockname())
            return int(server.getsockname()[1])

    run_in(old, talk)
    entries, expected = conntrack.dump(old)
    assert len(conntrack.parse(entries, conntrack.CONNTRACK)) == 1
    conntrack.restore(new, entries, expected)
    conntrack.restore(new, entries, expected)
    again, _ = conntrack.dump(new)
    tuples = [dict(m_attributes(data))[1] for data in (entries, again)]
    assert tuples[0] == tuples[1]


def m_attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    from netns import wire

    return wire.attributes(next(iter(wire.split(data))).body[4:])


IN_USER_NAMESPACE = """
import os, subprocess
from netns import loopback, lock, state
child = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; exec sleep 60"], stdout=subprocess.PIPE)
try:
    assert child.stdout.readline()
    fd = os.open(f"/proc/{child.pid}/ns/net", os.O_RDONLY)
    loopback.bring_up(fd)
    with lock.lock(fd):
        saved = state.dump(fd)
    assert [link.name for link in saved.links] == ["lo"]
finally:
    child.kill()
    child.wait()
"""


def test_it_works_inside_a_user_namespace() -> None:
    command = ["unshare", "-U", "-r", sys.executable, "-c", IN_USER_NAMESPACE]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


def test_the_streams_are_those_of_criu(shell: Shell, tmp_path: Path, namespace: Make, until: Until) -> None:
    criu = os.environ.get("WOODFROG_TEST_CRIU")
    if not criu or not shutil.which(criu):
        pytest.skip("needs WOODFROG_TEST_CRIU, a criu to compare with")
    script = (
        CROWDED.replace("ip tuntap add dev tap7 mode tap user 5", ":")
        + "echo; exec sleep 300 </dev/null >/dev/null 2>&1"
    )
    task = subprocess.Popen(["unshare", "-n", "setsid", "-w", "sh", "-ec", script], stdout=subprocess.PIPE)
    try:
        assert task.stdout is not None and task.stdout.readline()
        task.stdout.close()
        pid = task.pid
        fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        until(lambda: settled(shell, fd))
        saved = state.dump(fd)
        os.close(fd)
        dump = [
            criu,
            "dump",
            "-t",
            str(pid),
            "-D",
            str(tmp_path),
            "--leave-running",
            "--shell-job",
            "-o",
            "log",
        ]
        result = subprocess.run(dump, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, (tmp_path / "log").read_text()[-2000:]
    finally:
        task.kill()
        task.wait(10)
    theirs = {kind: next(tmp_path.glob(f"{kind}-*.img")).read_bytes() for kind in ("ifaddr", "route", "route6", "rule")}
    # ip rule save leaves IPv6 out
    assert typed.rules(theirs["rule"]) == [r for r in typed.rules(saved.rules) if r.family == socket.AF_INET]
    assert typed.addresses(theirs["ifaddr"]) == typed.addresses(saved.addresses)
    assert set(typed.routes(theirs["route"])) <= set(typed.routes(saved.routes4))
    assert set(typed.routes(theirs["route6"])) <= set(typed.routes(saved.routes6))
    new = namespace()
    foreign = replace(
        saved,
        addresses=theirs["ifaddr"],
        routes4=theirs["route"],
        routes6=theirs["route6"],
        rules=theirs["rule"],
    )
    state.restore(foreign, new)
    assert set(typed.routes(theirs["route"])) <= set(typed.routes(state.dump(new).routes4))


def test_rules_that_only_iptables_can_name_come_back(namespace: Make, shell: Shell) -> None:
    for name in ("iptables-nft", "iptables-legacy"):
        if shutil.which(name) is None:
            pytest.skip(f"this kernel lacks what is tested: {name} is not installed")
    old, new = namespace(), namespace()
    rule = "-A OUTPUT -m string --string foo --algo bm -m comment --comment why -j DROP"
    shell(old, f"iptables-nft {rule}; ip6tables-nft {rule}; iptables-legacy {rule}")
    shell(old, "iptables-nft -t nat -A POSTROUTING -s 10.0.0.0/8 -j MASQUERADE")
    saved = firewall.dump(old)
    assert "xt match" not in (saved.nftables or "")
    firewall.restore(new, saved)
    for program in ("iptables-nft", "ip6tables-nft", "iptables-legacy"):
        assert shell(new, f"{program}-save").count("--string") == 1
        before, after = (
            [line for line in shell(fd, f"{program}-save").splitlines() if line[:1] in "-:"] for fd in (old, new)
        )
        assert after == before
