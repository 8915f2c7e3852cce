"""Sends datagrams all the time: none may be refused by a firewall that is not its own."""

from __future__ import annotations

import socket
import subprocess
import threading
import time

from lib import workload

errors: list[str] = []
stop = threading.Event()


def talk() -> None:
    one, other = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    other.bind(("127.0.0.1", 0))
    one.connect(other.getsockname())
    while not stop.is_set():
        try:
            one.send(b"word")
            other.recv(10, socket.MSG_DONTWAIT)
        except OSError as error:
            errors.append(str(error))
        time.sleep(0)


with workload() as check:
    setup = "link set lo up\nlink add va type veth peer name vb\n"
    subprocess.run(["ip", "-b", "-"], input=setup, text=True, check=True)
    talker = threading.Thread(target=talk)
    talker.start()
    check.wait()
    stop.set()
    talker.join()
    check.equal(sorted(set(errors)), [], "errors of datagrams")
