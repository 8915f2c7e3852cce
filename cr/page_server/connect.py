"""Connections of page servers: who listens, who connects, and TLS around either."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from cr.model import CheckpointError
from cr.options import Options
from cr.page_server.wire import Wire

if TYPE_CHECKING:
    import ssl

PATIENCE = 30.0
"""seconds without any progress after which the other side counts as gone"""
_CA = "/etc/pki/CA/cacert.pem"
_CERTIFICATE = "/etc/pki/criu/cert.pem"
_KEY = "/etc/pki/criu/private/key.pem"


def listen(options: Options) -> socket.socket:
    """A socket that waits at --address and --port (0: any free one)."""
    host, port = options.address or "0.0.0.0", options.port
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(place)
        sock.listen(1)
    except OSError as error:
        raise CheckpointError(
            f"the page server cannot listen at {host} port {port}: {error.strerror}; choose --address and --port"
        ) from error
    return sock


def accept(listening: socket.socket, options: Options) -> Wire:
    """The next connection, with TLS where that is wanted."""
    sock, place = listening.accept()
    return _wire(sock, f"the client at {place[0]}", options, server=True)


def inherited(options: Options, *, server: bool) -> Wire:
    """The connection that --ps-socket brings."""
    try:
        sock = socket.socket(fileno=os.dup(options.ps_socket))
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
    except OSError as error:
        raise CheckpointError(f"--ps-socket {options.ps_socket} is not a socket: {error.strerror}") from error
    return _wire(sock, f"the other end of --ps-socket {options.ps_socket}", options, server=server)


def connect(options: Options) -> Wire:
    """A connection to the page server of --address and --port, or --ps-socket."""
    if options.ps_socket >= 0:
        return inherited(options, server=False)
    host, port = options.address or "127.0.0.1", options.port
    if not port:
        raise CheckpointError("--page-server needs the port of the page server: use --port")
    try:
        sock = socket.create_connection((host, port), timeout=PATIENCE)
    except OSError as error:
        raise CheckpointError(
            f"the page server at {host} port {port} cannot be reached: {error.strerror or error}; is it running?"
        ) from error
    return _wire(sock, f"the page server at {host} port {port}", options, server=False)


def _wire(sock: socket.socket, peer: str, options: Options, *, server: bool) -> Wire:
    sock.settimeout(PATIENCE)
    if not options.tls:
        return Wire(sock, peer)
    try:
        return Wire(_encrypted(sock, options, server=server), peer)
    except OSError as error:
        sock.close()
        raise CheckpointError(_why_no_tls(error, peer)) from error


def _why_no_tls(error: OSError, peer: str) -> str:
    if wrong := getattr(error, "verify_message", ""):
        return f"the TLS certificate of {peer} does not match: {wrong}; see --tls-cacert and --tls-no-cn-verify"
    reason = getattr(error, "reason", "") or error.strerror or str(error)
    return f"no TLS with {peer}: {reason}; see --tls-cacert, --tls-cert and --tls-key, here and there"


def _encrypted(sock: socket.socket, options: Options, *, server: bool) -> ssl.SSLSocket:
    context = tls_context(options, server=server)
    if server or not context.check_hostname:
        return context.wrap_socket(sock, server_side=server)
    return context.wrap_socket(sock, server_hostname=options.address or "127.0.0.1")


def tls_context(options: Options, *, server: bool) -> ssl.SSLContext:
    """Both sides show a certificate that the other's CA has signed; the client looks at the server's name too."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    if server:
        context.num_tickets = 0  # GnuTLS takes a ticket for an answer that has not come yet
    else:
        context.check_hostname = not options.tls_no_cn_verify
    context.verify_mode = ssl.CERT_REQUIRED
    _load(context.load_cert_chain, "certificate", options.tls_cert or _CERTIFICATE, options.tls_key or _KEY)
    if options.tls_cacert or os.path.exists(_CA):
        _load(context.load_verify_locations, "CA certificate", options.tls_cacert or _CA)
    else:
        context.load_default_certs(ssl.Purpose.CLIENT_AUTH if server else ssl.Purpose.SERVER_AUTH)
    if options.tls_cacrl:
        _load(context.load_verify_locations, "revocation list", options.tls_cacrl)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return context


def _load(load: object, what: str, *paths: str) -> None:
    try:
        load(*paths)  # type: ignore[operator]
    except OSError as error:
        reason = error.strerror or getattr(error, "reason", "") or str(error)
        raise CheckpointError(f"the TLS {what} in {' and '.join(paths)} cannot be used: {reason}") from error
