"""`woodfrog-criu swrk FD`: serve the client at the other end of an inherited socket."""

from __future__ import annotations

import os
import socket

from cr.model import CheckpointError
from cr.options import Options
from cr.rpc.conversation import Conversation
from cr.rpc.transport import Client


def run(options: Options) -> int:
    """Status 0 once the client has been answered, whatever the answer is."""
    if len(options.operands) != 1 or not options.operands[0].isdecimal():
        raise CheckpointError("swrk needs the number of an inherited socket: swrk FD")
    fd = int(options.operands[0])
    try:
        os.set_inheritable(fd, False)
        sock = socket.socket(fileno=fd)
    except OSError as error:
        raise CheckpointError(f"swrk: descriptor {fd} is no socket: {error.strerror}") from error
    return Conversation(Client(sock), options).serve()
