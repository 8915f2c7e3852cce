"""SO_PEERCRED of unix sockets (unix(7)): who made a pair, connected, or listened, as the tasks are told."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

from cr.contract.dumping import pid_in_root
from cr.contract.resource import ProcessResource
from cr.contract.socket_extras import extras_of
from cr.contract.unix_peers import with_peer

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpThread
    from cr.contract.restoring import RestoreContext, RestoreThread
    from cr.remote.program import Data, Program
    from images import messages as m

_CREDENTIALS = struct.Struct("<iII")
_NOBODY = 0xFFFFFFFF


class PeerCredentials(ProcessResource):
    """Asked in the task, which sees its own pids and user ids; restored when the sockets are made."""

    def ask(self, program: Program, thread: DumpThread, context: DumpContext) -> None:
        self._found: list[tuple[int, Data]] = []
        size = program.words(_CREDENTIALS.size)
        for fd, file_id in with_peer(context).pop(thread.task.pid, []):
            buffer = program.buffer(_CREDENTIALS.size)
            program.call("getsockopt", fd, socket.SOL_SOCKET, socket.SO_PEERCRED, buffer, size, may_fail=True)
            self._found.append((file_id, buffer))

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        for file_id, buffer in self._found:
            pid, uid, gid = _CREDENTIALS.unpack(buffer.bytes)
            pid = pid_in_root(pid, thread, context)
            if pid > 0 and uid != _NOBODY:
                peer = extras_of(file_id, context).peer
                peer.pid, peer.uid, peer.gid = pid, uid, gid

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        return
