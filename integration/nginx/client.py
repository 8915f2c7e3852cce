"""A client that keeps its connections: for each line that comes by the FIFO it asks once more on each.

    /usr/bin/python3 client.py DIRECTORY

One connection is TCP, one a unix socket.  Answers go to DIRECTORY/answers, a JSON line for each round.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys


class UnixConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("nginx.sock")


def ask(connection: http.client.HTTPConnection) -> str:
    """The answer; an error of a lost connection is an answer too."""
    try:
        connection.request("GET", "/who")
        return connection.getresponse().read().decode().strip()
    except OSError as error:
        return repr(error)


def main() -> None:
    os.chdir(sys.argv[1])
    connections = [http.client.HTTPConnection("127.0.0.1", 8080), UnixConnection("localhost")]
    answers = os.fdopen(os.open("answers", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), "w", buffering=1)
    commands = os.fdopen(os.open("commands", os.O_RDWR), buffering=1)  # a writer of our own: it never ends
    for _ in commands:
        print(json.dumps([ask(connection) for connection in connections]), file=answers)


if __name__ == "__main__":
    main()
