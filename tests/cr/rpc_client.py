"""The client's side of test conversations."""

from __future__ import annotations

import socket
from typing import Any

from images import messages as m


def ask(sock: socket.socket, kind: str, **fields: Any) -> m.criu_resp:
    """Send a request; the answer to it."""
    sock.send(m.criu_req(type=kind, **fields).SerializeToString())
    return hear(sock)


def hear(sock: socket.socket) -> m.criu_resp:
    """The next message, in a buffer no larger than that of the smallest client."""
    return m.criu_resp.FromString(sock.recv(1024))


def kind_of(answer: m.criu_resp) -> str:
    return m.criu_req_type.Name(answer.type)


def acknowledge(sock: socket.socket, agree: bool = True) -> None:
    sock.send(m.criu_req(type="NOTIFY", notify_success=agree).SerializeToString())


def follow(sock: socket.socket, refuse: str = "") -> tuple[list[str], m.criu_resp]:
    """Acknowledge notifications, all but one; their names, and the answer."""
    names = []
    while kind_of(message := hear(sock)) == "NOTIFY":
        names.append(message.notify.script)
        acknowledge(sock, message.notify.script != refuse)
    return names, message
