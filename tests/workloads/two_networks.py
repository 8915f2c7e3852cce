"""Two tasks in network namespaces of their own, joined by a veth pair; the child's server has a datagram waiting."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess

from lib import workload

NEWNET = 0x40000000
OUTER = """
link set lo up
link add out0 type veth peer name in0 netns {}
addr add 10.3.0.1/24 dev out0
link set out0 up
"""
INNER = """
link set lo up
addr add 10.3.0.2/24 dev in0
link set in0 up
"""


def links() -> list[tuple[object, ...]]:
    answer = subprocess.run(["ip", "-j", "link"], check=True, capture_output=True, text=True).stdout
    keys = ("ifname", "ifindex", "address", "mtu", "link_index", "link_netnsid")
    return sorted(tuple(link.get(key) for key in keys) for link in json.loads(answer))


def child(talk: socket.socket) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    if ctypes.CDLL(None).unshare(NEWNET):
        raise OSError("unshare")
    talk.send(b"ready")
    talk.recv(1)
    subprocess.run(["ip", "-b", "-"], input=INNER, text=True, check=True)
    server = socket.create_server(("10.3.0.2", 7000))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("10.3.0.2", 7000))
    udp.sendto(b"early", udp.getsockname())
    talk.send(repr(links()).encode())
    talk.recv(1)
    talk.send(repr(links()).encode())
    talk.recv(1)
    accepted = server.accept()[0]
    accepted.send(udp.recv(10))
    talk.recv(1)
    os._exit(0)


with workload() as check:
    ours, theirs = socket.socketpair()
    if not (pid := os.fork()):
        child(theirs)
    ours.recv(10)
    subprocess.run(["ip", "-b", "-"], input=OUTER.format(pid), text=True, check=True)
    ours.send(b".")
    theirs_before, before = ours.recv(10000), links()
    check.wait()
    check.equal(links(), before, "links of the parent")
    ours.send(b".")
    check.equal(ours.recv(10000), theirs_before, "links of the child")
    ours.send(b".")
    client = socket.create_connection(("10.3.0.2", 7000), timeout=5)
    check.equal(client.recv(10), b"early", "the datagram that waited")
    ours.send(b".")
    os.waitpid(pid, 0)
