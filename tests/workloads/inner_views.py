"""A child in ipc, network and mount namespaces of its own, where it has mounted the mqueue and the sysfs of these."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path

from lib import DIRECTORY, answering, workload

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWNET = 0x20000, 0x8000000, 0x40000000
MS_PRIVATE, MS_REC = 1 << 18, 1 << 14
MQ_OPEN, MQ_UNLINK, MQ_SEND = 240, 241, 242
QUEUES, SYSTEM = DIRECTORY / "queues", DIRECTORY / "system"
libc = ctypes.CDLL(None, use_errno=True)


def mount(kind: str, place: Path) -> None:
    place.mkdir(exist_ok=True)
    assert libc.mount(kind.encode(), bytes(place), kind.encode(), 0, None) == 0, os.strerror(ctypes.get_errno())


def faults() -> str:
    """In the child: what its filesystems show that they should not."""
    links = sorted(os.listdir(SYSTEM / "class/net"))
    if "frog" not in links:
        return f"its sysfs shows {links}"
    queue = libc.syscall(MQ_OPEN, b"one", os.O_RDWR | os.O_CREAT, 0o600, None)
    found = sorted(os.listdir(QUEUES))
    os.close(queue)
    libc.syscall(MQ_UNLINK, b"one")
    kept = (QUEUES / "kept").read_text().split()[0]
    return "" if (found, kept) == (["kept", "one"], "QSIZE:7") else f"its mqueue shows {found}, and {kept} in one"


def child(asked: int, answer: int) -> None:
    assert libc.unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWNET) == 0
    assert libc.mount(None, b"/", None, MS_PRIVATE | MS_REC, None) == 0
    subprocess.run(["ip", "link", "add", "frog", "type", "bridge"], check=True)
    mount("mqueue", QUEUES)
    mount("sysfs", SYSTEM)
    queue = libc.syscall(MQ_OPEN, b"kept", os.O_RDWR | os.O_CREAT, 0o600, None)
    assert libc.syscall(MQ_SEND, queue, b"message", 7, 1, None) == 0
    os.close(queue)
    os.write(answer, (faults() or "well").encode())
    os.read(asked, 1)
    os.write(answer, (faults() or "well").encode())


with workload() as check:
    pid, ask, answered = answering(child)
    mount("mqueue", DIRECTORY / "own-queues")
    mount("sysfs", DIRECTORY / "own-system")
    check.equal(os.read(answered, 1000), b"well", "before")
    check.wait()
    os.write(ask, b"?")
    check.equal(os.read(answered, 1000), b"well", "after")
    check.equal(sorted(os.listdir(DIRECTORY / "own-system/class/net")), ["lo"], "what the root task sees")
    os.waitpid(pid, 0)
