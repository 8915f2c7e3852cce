"""First process of a pid namespace, root of a user namespace, alone with lo in a network namespace."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from lib import workload


def maps() -> list[list[str]]:
    return [Path(f"/proc/self/{name}").read_text().split() for name in ("uid_map", "gid_map")]


def loopback_works() -> bool:
    server = socket.create_server(("127.0.0.1", 0))
    with server, socket.create_connection(server.getsockname(), timeout=5):
        return True


with workload() as check:
    before = os.getpid(), os.getuid(), os.getgid(), maps()
    check.equal(os.getpid(), 1, "pid")
    os.system("ip link set lo up")
    check.wait()
    check.equal((os.getpid(), os.getuid(), os.getgid(), maps()), before, "pid, ids and maps")
    check.that(loopback_works(), "no connection over lo")
    check.equal([name for _, name in socket.if_nameindex()], ["lo"], "network links")
