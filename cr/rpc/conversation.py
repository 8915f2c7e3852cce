"""One client: its requests, the notifications on the way, the answers."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from cr import log
from cr.model import CheckpointError
from cr.options import Options
from cr.reporting import errno_of, report
from cr.rpc.actions import ACTIONS, Work
from cr.rpc.transport import BadRequest, Client, Gone

if TYPE_CHECKING:
    from images import messages as m

LONGEST_ERROR = 800
"""Bytes of cr_errmsg: clients with a buffer of 1024 are out there."""
FAILED = 1


class Conversation:
    """Serves one client; `base` is what configuration files and the command line say."""

    def __init__(self, client: Client, base: Options) -> None:
        self.client, self.base = client, base

    def serve(self) -> int:
        """Answer requests until the client has no more; the exit status."""
        try:
            while (packet := self._next()) is not None:
                request = self._parse(packet)
                if not self._answer(request):
                    return 0
        except BadRequest as error:
            decline(self.client.sock, error)
            return FAILED
        except Gone:
            return FAILED
        return 0

    def _next(self) -> bytes | None:
        return self.client.receive()

    def _parse(self, packet: bytes) -> m.criu_req:
        from google.protobuf.message import DecodeError

        from images import messages as m

        request: Any = m.criu_req()
        try:
            request.MergeFromString(packet)
        except DecodeError as error:
            raise BadRequest(f"what process {self.client.pid} sent is no criu_req message") from error
        if missing := request.FindInitializationErrors():
            raise BadRequest(
                f"the request of process {self.client.pid} lacks {', '.join(missing)}, or has an unknown value"
            )
        if request.type not in ACTIONS:
            raise BadRequest(f"{m.criu_req_type.Name(request.type)} is not a request that can be made here")
        return cast("m.criu_req", request)

    def _answer(self, request: m.criu_req) -> bool:
        """Do what is asked; whether the client may ask for more."""
        from images import messages as m

        action = ACTIONS[request.type]
        answer = m.criu_resp(type=request.type, success=False)
        notify = self._notify if request.opts.notify_scripts else None
        successor = None
        try:
            successor = action.function(Work(request, self.client, self.base, notify), answer)
            answer.success = True
        except Exception as error:
            _explain(report(action.doing, error), error, answer)
        finally:
            log.close_log()
            self.client.close()
        self.client.send(answer.SerializeToString())
        if successor is not None:
            successor.take_over()
        return bool(request.keep_open) or action.goes_on

    def _notify(self, event: str, pid: int = 0, fd: int | None = None) -> None:
        """Tell the client, and wait until it agrees."""
        from images import messages as m

        message = m.criu_resp(type=m.criu_req_type.NOTIFY, success=True)
        message.notify.script = event
        if pid:
            message.notify.pid = pid
        self.client.send(message.SerializeToString(), fd)
        packet = self.client.receive()
        if packet is None:
            raise Gone(f"process {self.client.pid}, which asked for this, went away at {event}")
        agreed = self._parse_acknowledgement(packet)
        if not agreed:
            raise CheckpointError(f"process {self.client.pid}, which asked for this, refused to go on at {event}")

    def _parse_acknowledgement(self, packet: bytes) -> bool:
        from google.protobuf.message import DecodeError

        from images import messages as m

        try:
            request: Any = m.criu_req.FromString(packet)
        except DecodeError as error:
            raise BadRequest(f"what process {self.client.pid} answered is no criu_req message") from error
        return bool(request.type == m.criu_req_type.NOTIFY and request.notify_success)


def decline(sock: socket.socket, error: Exception) -> None:
    """Answer what cannot be understood or allowed: it has no type that could be repeated."""
    from images import messages as m

    answer = m.criu_resp(type=m.criu_req_type.EMPTY, success=False)
    _explain([str(error)], error, answer)
    with suppress(OSError):  # whoever is gone does not want to know
        sock.send(answer.SerializeToString())


def _explain(reasons: list[str], error: BaseException, answer: m.criu_resp) -> None:
    text = "; ".join(reasons).encode("utf-8", "backslashreplace")[:LONGEST_ERROR]
    answer.cr_errmsg = text.decode("utf-8", "ignore")
    if number := errno_of(error):
        answer.cr_errno = number
