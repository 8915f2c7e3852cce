"""A firewall that lets established connections pass only; the connection was allowed by a rule that is gone."""

from __future__ import annotations

import socket
import subprocess

from lib import workload

RULES = """
table inet guard {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        tcp dport 7100 ct state new accept
    }
}
"""


def nft(text: str) -> str:
    return subprocess.run(["nft", "-f", "-"], input=text, check=True, capture_output=True, text=True).stdout


with workload() as check:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    nft(RULES)
    server = socket.create_server(("127.0.0.1", 7100))
    client = socket.create_connection(server.getsockname(), timeout=5)
    accepted = server.accept()[0]
    nft("flush chain inet guard input; add rule inet guard input ct state established,related accept")
    before = nft("list table inet guard")
    check.wait()
    check.equal(nft("list table inet guard"), before, "rules")
    accepted.settimeout(5)
    client.send(b"still allowed")
    check.equal(accepted.recv(100), b"still allowed", "data over the connection")
    stranger = socket.socket()
    stranger.settimeout(0.3)
    try:
        stranger.connect(server.getsockname())
        check.that(False, "a new connection passes the firewall")
    except TimeoutError:
        pass
