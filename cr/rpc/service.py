"""`woodfrog-criu service`: a listening socket; a process of its own serves each client, with that client's rights."""

from __future__ import annotations

import os
import signal
import socket
import stat
import sys
from typing import NoReturn

from cr import log
from cr.model import CheckpointError
from cr.options import Options
from cr.rpc import rights
from cr.rpc.conversation import Conversation, decline
from cr.rpc.transport import Client
from cr.values import replace
from cr.work import forget_status, tell_status, write_pidfile

DEFAULT_ADDRESS = "criu_service.socket"
PATIENCE = 60.0  # seconds that a client may take for its first request
_BACKLOG = 128
_PACKAGES = ("cr", "cgroups", "netns", "images")
_FOREIGN = ("google.protobuf.message", "google.protobuf.unknown_fields", "elftools.elf.elffile")
"""what modules of ours import only when they use it"""
_NOT_NEEDED = ("_pb2", "__main__", ".regenerate", ".crit")


def run(options: Options) -> int:
    """Serve until a signal ends it.  With --daemon: 0 once clients can connect."""
    listener = listen(options)
    child = os.fork() if options.daemon else os.getpid()
    if child:
        write_pidfile(options, child)
        tell_status(options)
    if options.daemon:
        if child:
            return 0
        _detach()
        forget_status(options)
    own = {"log_file": "", "work_dir": "", "address": "", "pidfile": "", "status_fd": -1, "daemon": False}
    return serve(listener, replace(options, **own))


def listen(options: Options) -> socket.socket:
    """The socket at --address, a path, relative to the work directory.  Anybody may connect, see cr.rpc.rights."""
    path = os.path.join(options.work_dir or "", options.address or DEFAULT_ADDRESS)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        _remove_stale(path)
        listener.bind(path)
        os.chmod(path, 0o666)
    except OSError as error:
        listener.close()
        raise CheckpointError(f"service: cannot listen at {path}: {error.strerror or error}") from error
    listener.listen(_BACKLOG)
    log.info(f"the service listens at {path}")
    return listener


def _remove_stale(path: str) -> None:
    """A socket that nobody listens at any more is in the way; anything else stays, and bind(2) says so."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
            probe.connect(path)
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        os.unlink(path)


def _detach() -> None:
    """A session of its own, away from the terminal and the directory of whoever started it."""
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.close(null)


def serve(listener: socket.socket, options: Options) -> NoReturn:
    """Accept clients for ever; none of them can end this."""
    _load_all()  # a client's rights may not reach to where we are installed
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    while True:
        try:
            sock, _ = listener.accept()
        except OSError as error:
            log.warning(f"a client could not be accepted: {error.strerror}")
            continue
        with sock:
            _fork(listener, sock, options)


def _load_all() -> None:
    """Every module of ours, but for the commands themselves: those that end when they are imported."""
    import importlib
    import pkgutil

    for package in _PACKAGES:
        found = importlib.import_module(package)
        for module in pkgutil.walk_packages(found.__path__, f"{package}."):
            if not module.name.endswith(_NOT_NEEDED):
                importlib.import_module(module.name)
    for name in _FOREIGN:
        importlib.import_module(name)


def _fork(listener: socket.socket, sock: socket.socket, options: Options) -> None:
    try:
        child = os.fork()
    except OSError as error:
        log.warning(f"a client could not be served: {error.strerror}")
        return
    if child == 0:
        listener.close()
        _serve(sock, options)


def _await_request(sock: socket.socket) -> None:
    """The first request must come soon; everything later may take its time."""
    sock.settimeout(PATIENCE)
    sock.recv(1, socket.MSG_PEEK)
    sock.settimeout(None)


def _serve(sock: socket.socket, options: Options) -> NoReturn:
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        client = Client(sock, apart=True)
        log.info(f"process {client.pid} of user {client.uid} has connected")
        rights.take_on(client)
        log.close_log()
        _await_request(sock)
        code = Conversation(client, options).serve()
    except Exception as error:
        log.warning(f"a client could not be served: {error}")
        decline(sock, error)
    finally:
        sys.stdout.flush()
        os._exit(code)
