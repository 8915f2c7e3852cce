"""Tun and tap devices: attached queues, a detached one, a persistent device that nobody is attached to."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from pathlib import Path

from lib import workload

SETIFF, SETPERSIST, GETIFF, SETQUEUE = 0x400454CA, 0x400454CB, 0x800454D2, 0x400454D9
SETSNDBUF, GETSNDBUF, SETVNETHDRSZ, GETVNETHDRSZ = 0x400454D4, 0x800454D3, 0x400454D8, 0x800454D7
TUN, TAP, MULTI_QUEUE, DETACH, ATTACH, NO_PI, VNET_HDR = 1, 2, 0x100, 0x400, 0x200, 0x1000, 0x4000
REQUEST = struct.Struct("=16sH22x")


def opened(name: str = "", flags: int = 0) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    if name:
        fcntl.ioctl(fd, SETIFF, REQUEST.pack(name.encode(), flags))
    return fd


def interface(fd: int) -> tuple[str, int]:
    name, flags = REQUEST.unpack(fcntl.ioctl(fd, GETIFF, REQUEST.pack(b"", 0)))
    return name.rstrip(b"\0").decode(), flags


def number(fd: int, request: int) -> int:
    return int(struct.unpack("i", fcntl.ioctl(fd, request, bytes(4)))[0])


def links() -> list[list[str]]:
    lines = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line.replace("LOWER_UP", "").split("qdisc")[0].split() for line in lines]


with workload() as check:
    nothing = opened()
    tun = opened("wt0", TUN | NO_PI)
    queues = [opened("wt1", TAP | MULTI_QUEUE | VNET_HDR) for _ in range(2)]
    fcntl.ioctl(queues[1], SETQUEUE, REQUEST.pack(b"", DETACH))
    fcntl.ioctl(queues[0], SETSNDBUF, struct.pack("i", 123456))
    fcntl.ioctl(queues[0], SETVNETHDRSZ, struct.pack("i", 12))
    kept = opened("wt2", TUN)
    fcntl.ioctl(kept, SETPERSIST, 1)
    os.close(kept)
    subprocess.run("ip link set wt0 mtu 1300 up; ip addr add 10.7.7.1/24 dev wt0", shell=True, check=True)
    held = [tun, *queues]
    before = [interface(fd) for fd in held], links()

    check.wait()

    check.equal([interface(fd) for fd in held], before[0], "devices of the descriptors")
    check.equal(links(), before[1], "links")
    check.equal(number(queues[0], GETSNDBUF), 123456, "size of the send buffer")
    check.equal(number(queues[0], GETVNETHDRSZ), 12, "size of the header")
    os.write(tun, bytes.fromhex("450000140000000040010000") + bytes([10, 7, 7, 2, 10, 7, 7, 1]))
    counts = [line.split() for line in Path("/proc/net/dev").read_text().splitlines()]
    check.equal([line[2] for line in counts if line[0] == "wt0:"], ["1"], "packets that came out of the device")
    fcntl.ioctl(queues[1], SETQUEUE, REQUEST.pack(b"", ATTACH))
    fcntl.ioctl(nothing, SETIFF, REQUEST.pack(b"wt3", TUN))
    for fd in held:
        os.close(fd)
    names = [line[1] for line in links()]
    check.that("wt0:" not in names and "wt1:" not in names, f"devices outlive their users: {names}")
    check.that("wt2:" in names, "the persistent device is gone")
