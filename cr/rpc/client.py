"""A client of any engine that speaks criu's RPC: criu itself, this one, at the end of swrk or of a service.

    with Remote.start("/usr/sbin/criu") as engine:
        engine.dump(4242, "images", leave_running=True)
    with Remote.connect("/run/criu.socket") as engine:
        print(engine.version())

Options are the long options of criu(8) with underscores, as for `cr.dump` and `cr.restore`.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from cr.model import CheckpointError
from cr.options import Notify
from cr.rpc.fields import fill

if TYPE_CHECKING:
    from images import messages as m

QUESTIONS = ("VERSION", "FEATURE_CHECK")
"""What leaves the connection open for more; criu hangs up where any other request wants that."""
_ANSWER = 1 << 20
_ENDING = 10.0  # seconds that a server has to end once we are gone


class RemoteError(CheckpointError):
    """What the other engine said; `errno` is 0 where it gave none."""

    def __init__(self, sentence: str, errno: int = 0) -> None:
        self.errno = errno
        super().__init__(sentence)


class Version(NamedTuple):
    """Of the engine at the other end; comparable."""

    major: int
    minor: int
    sublevel: int


class Remote:
    """One connection, for any number of questions and one dump or restore, which comes last."""

    def __init__(self, sock: socket.socket, server: subprocess.Popen[bytes] | None = None) -> None:
        self.sock, self.server = sock, server

    @classmethod
    def start(cls, program: str, lend: Iterable[int] = ()) -> Remote:
        """Start `program swrk FD`; it also gets our descriptors 0 to 2 and those of `lend`, under their numbers."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                command = [program, "swrk", str(theirs.fileno())]
                server = subprocess.Popen(command, pass_fds=[theirs.fileno(), *lend])
            except OSError as error:
                ours.close()
                raise RemoteError(f"{program} cannot be started: {error.strerror}", error.errno or 0) from error
        return cls(ours, server)

    @classmethod
    def connect(cls, path: str) -> Remote:
        """Connect to a service."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            sock.connect(path)
        except OSError as error:
            sock.close()
            raise RemoteError(f"nobody serves at {path}: {error.strerror}", error.errno or 0) from error
        return cls(sock)

    def close(self) -> None:
        """End the conversation, and wait for the program that was started for it."""
        self.sock.close()
        if self.server is not None:
            self.server.wait(_ENDING)

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what can be asked --

    def version(self) -> Version:
        """VERSION."""
        found = self._ask(self._request("VERSION")).version
        return Version(found.major_number, found.minor_number, found.sublevel)

    def features(self) -> dict[str, bool]:
        """FEATURE_CHECK: mem_track, lazy_pages, pidfd_store."""
        request = self._request("FEATURE_CHECK")
        for field in request.features.DESCRIPTOR.fields:
            setattr(request.features, field.name, True)
        found = self._ask(request).features
        return {field.name: getattr(found, field.name) for field in found.DESCRIPTOR.fields}

    def dump(self, pid: int, directory: str, *, notify: Notify | None = None, **options: Any) -> None:
        """DUMP the tree of `pid` into `directory`."""
        self._work("DUMP", directory, notify, {"tree": pid, **options})

    def pre_dump(self, pid: int, directory: str, **options: Any) -> None:
        """SINGLE_PRE_DUMP."""
        self._work("SINGLE_PRE_DUMP", directory, None, {"tree": pid, **options})

    def restore(self, directory: str, *, notify: Notify | None = None, **options: Any) -> int:
        """RESTORE what is in `directory`; the pid of the root task: with restore_sibling=True it is our child."""
        return self._work("RESTORE", directory, notify, options).restore.pid

    # -- how --

    def _request(self, kind: str) -> m.criu_req:
        from images import messages as m

        request = m.criu_req(type=kind)
        if kind in QUESTIONS:
            request.keep_open = True
        return request

    def _work(self, kind: str, directory: str, notify: Notify | None, options: Mapping[str, Any]) -> m.criu_resp:
        request, values = self._request(kind), dict(options)
        work = values.pop("work_dir", "") or directory
        with _directory(directory) as images_fd, _directory(work) as work_fd:
            request.opts.images_dir_fd, request.opts.work_dir_fd = images_fd, work_fd
            request.opts.notify_scripts = notify is not None
            fill(request.opts, values)
            return self._ask(request, notify)

    def _ask(self, request: m.criu_req, notify: Notify | None = None) -> m.criu_resp:
        from images import messages as m

        self._send(request)
        while True:
            answer, fd = self._receive()
            if answer.type != m.criu_req_type.NOTIFY:
                break
            self._notified(answer.notify, fd, notify)
        if not answer.success:
            raise RemoteError(_sentence(answer), answer.cr_errno)
        return answer

    def _notified(self, told: m.criu_notify, fd: int | None, notify: Notify | None) -> None:
        """Call `notify`; where it raises, the other engine gives up, and so do we when it has said so."""
        agreement = self._request("NOTIFY")
        agreement.notify_success = False
        try:
            if notify is not None:
                notify(told.script, told.pid, fd)
            agreement.notify_success = True
        finally:
            if fd is not None:
                os.close(fd)
            self._send(agreement)
            if not agreement.notify_success:
                self._receive()

    def _send(self, request: m.criu_req) -> None:
        try:
            self.sock.send(request.SerializeToString())
        except OSError as error:
            raise RemoteError("the engine is gone") from error

    def _receive(self) -> tuple[m.criu_resp, int | None]:
        from google.protobuf.message import DecodeError

        from images import messages as m

        try:
            packet, fds, _, _ = socket.recv_fds(self.sock, _ANSWER, 1)
            if not packet:
                raise RemoteError("the engine ended without an answer: its log says why")
            return m.criu_resp.FromString(packet), fds[0] if fds else None
        except (OSError, DecodeError) as error:
            raise RemoteError(f"no answer can be read: {error}") from error


def _sentence(answer: m.criu_resp) -> str:
    """Without the place in the source that criu puts before it."""
    text = re.sub(r"^Error \([^)]*\): ", "", answer.cr_errmsg.strip())
    if not text and answer.cr_errno:
        text = os.strerror(answer.cr_errno)
    return text or "the engine failed without a word: its log says why"


class _directory:
    """A descriptor of a directory that a server can reach through /proc; closed at the end."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> int:
        try:
            self.fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise RemoteError(f"the directory {self.path} cannot be used: {error.strerror}") from error
        return self.fd

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)
