"""A server with an address and a port; thawed it has others ("outside PORT": a client of a server elsewhere)."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

from lib import workload

SETUP = """
link set lo up
link add ve0 type veth peer name ve1
link set ve0 address 02:00:00:00:00:07 up
link set ve1 up
addr add 10.9.8.7/24 brd + dev ve0
addr add fd00::7/64 dev ve0 nodad
route add default via 10.9.8.1
route add 10.55.0.0/16 via 10.9.8.1 src 10.9.8.7
rule add from 10.9.8.7 lookup 77 priority 50
neigh add 10.9.8.9 lladdr 02:00:00:00:00:09 dev ve0
"""


def ask(*arguments: str) -> list[dict[str, object]]:
    answer = subprocess.run(["ip", "-j", *arguments], check=True, capture_output=True, text=True).stdout
    found: list[dict[str, object]] = json.loads(answer)
    return found


def addresses() -> list[tuple[object, object]]:
    infos = [info for link in ask("addr", "show", "dev", "ve0") for info in link["addr_info"]]  # type: ignore[attr-defined]
    return sorted((info["local"], info.get("broadcast")) for info in infos if info["scope"] == "global")


if "outside" in sys.argv:
    with workload() as check:
        client = socket.create_connection(("127.0.0.1", int(sys.argv[-1])))
        before = client.getsockname()
        check.wait()
        check.equal(client.getsockname(), before, "name of the socket")
    sys.exit()

with workload() as check:
    subprocess.run(["ip", "-b", "-"], input=SETUP, check=True, text=True)
    subprocess.run(["hostname", "frozen"], check=True)
    server = socket.create_server(("10.9.8.7", 8099))
    client = socket.create_connection(("10.9.8.7", 8099))
    accepted = server.accept()[0]
    port = client.getsockname()[1]
    wide = socket.socket(socket.AF_INET6)
    wide.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    wide.bind(("::", 8099))
    wide.listen(1)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("10.9.8.7", 8099))
    udp6 = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    udp6.bind(("fd00::7", 5555))
    client.send(b"before")
    check.wait()
    check.equal(socket.gethostname(), "thawed", "host name")
    check.equal(addresses(), [("10.9.9.7", "10.9.9.255"), ("fd07::8", None)], "addresses")
    routes = {(route["dst"], route.get("gateway"), route.get("prefsrc")) for route in ask("route")}
    wanted = {
        ("default", "10.9.9.1", None),
        ("10.55.0.0/16", "10.9.9.1", "10.9.9.7"),
        ("10.9.9.0/24", None, "10.9.9.7"),
    }
    check.equal(routes, wanted, "routes")
    check.equal([rule["src"] for rule in ask("rule") if rule["priority"] == 50], ["10.9.9.7"], "rules")
    check.equal([n["dst"] for n in ask("neigh") if "PERMANENT" in n["state"]], ["10.9.9.9"], "neighbours")
    check.equal(server.getsockname(), ("10.9.9.7", 9099), "name of the listening socket")
    check.equal(wide.getsockname()[:2], ("::", 9099), "name of the wide listening socket")
    check.equal((client.getsockname(), client.getpeername()), (("10.9.9.7", port), ("10.9.9.7", 9099)), "ends")
    check.equal((accepted.getsockname(), accepted.getpeername()), (("10.9.9.7", 9099), ("10.9.9.7", port)), "ends")
    check.equal((udp.getsockname(), udp6.getsockname()[:2]), (("10.9.9.7", 9099), ("fd07::8", 5555)), "UDP sockets")
    check.equal(accepted.recv(9), b"before", "data from before")
    accepted.send(b"after")
    check.equal(client.recv(9), b"after", "data from afterwards")
    newcomer = socket.create_connection(("10.9.9.7", 9099), timeout=5)
    check.that(server.accept(), "no new connection")
