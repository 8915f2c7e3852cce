"""Netlink on the wire: messages, attributes, dumps, acknowledged requests and batches.

netlink(7), rtnetlink(7), Documentation/userspace-api/netlink/intro.rst.  Raw bytes go through untouched,
which the streams of `ip … save` need; pyroute2 (see `netns.codec`) decodes and encodes the bodies with many
fields.
"""

from __future__ import annotations

import errno
import itertools
import socket
import struct
from collections.abc import Callable, Iterable, Iterator

from netns.errors import NetnsError, from_errno
from values import dataclass

HEADER = struct.Struct("=IHHII")
ERROR, DONE = 2, 3
REQUEST, MULTI, ACK, ROOT_MATCH, DUMP_INTR = 0x1, 0x2, 0x4, 0x300, 0x10
REPLACE, EXCL, CREATE, APPEND = 0x100, 0x200, 0x400, 0x800
ACK_TLVS, CAPPED = 0x200, 0x100
NESTED = 0x8000
SOL_NETLINK, CAP_ACK, EXT_ACK, STRICT_CHECK = 270, 10, 11, 12
NETFILTER = 12
RECEIVE = 1 << 20


@dataclass(frozen=True)
class Message:
    """One netlink message; `raw` is all of it with header and padding, `body` what follows the header."""

    type: int
    flags: int
    sequence: int
    raw: bytes

    @property
    def body(self) -> bytes:
        return self.raw[16 : struct.unpack_from("=I", self.raw)[0]]


def attr(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return struct.pack("=HH", 4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)


def nest(kind: int, *attrs: bytes) -> bytes:
    """An attribute made of attributes."""
    return attr(kind | NESTED, b"".join(attrs))


def text(kind: int, value: str) -> bytes:
    """A zero-terminated string attribute."""
    return attr(kind, value.encode() + b"\0")


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type without flags, payload) of each attribute.  Raises ValueError for a length that does not fit."""
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4 or at + length > len(data):
            raise ValueError(f"netlink attribute of {length} bytes at offset {at} of {len(data)}")
        yield kind & 0x3FFF, data[at + 4 : at + length]
        at += length + (-length % 4)


def message(kind: int, flags: int, body: bytes, sequence: int = 0) -> bytes:
    """A message with its header, padded."""
    return HEADER.pack(16 + len(body), kind, flags, sequence, 0) + body + b"\0" * (-len(body) % 4)


def split(data: bytes) -> Iterator[Message]:
    """The messages of a buffer.  Raises ValueError for a length that does not fit."""
    at = 0
    while at < len(data):
        if at + 16 > len(data):
            raise ValueError(f"netlink header cut off at offset {at} of {len(data)}")
        length, kind, flags, sequence, _ = HEADER.unpack_from(data, at)
        if length < 16 or at + length > len(data):
            raise ValueError(f"netlink message of {length} bytes at offset {at} of {len(data)}")
        end = min(at + length + (-length % 4), len(data))
        yield Message(kind, flags, sequence, data[at:end])
        at = end


class Socket:
    """A netlink socket.  Make it inside the namespace (`netns.enter.run_in`); it stays there."""

    def __init__(self, family: int = socket.NETLINK_ROUTE, timeout: float = 10.0) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
        self._socket.settimeout(timeout)
        self._socket.bind((0, 0))
        for option in (CAP_ACK, EXT_ACK):
            self._socket.setsockopt(SOL_NETLINK, option, 1)
        self._sequence = itertools.count(1)

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(RECEIVE)
        except TimeoutError as err:
            raise NetnsError(f"the kernel gave no netlink answer in {self._socket.gettimeout()} s") from err
        except OSError as err:
            raise from_errno("read a netlink answer", err.errno or 0) from err

    def dump(self, kind: int, body: bytes, what: str) -> list[Message]:
        """All messages of a dump; one that changed while it was read is taken again.

        Raises NetnsError "cannot <what>".
        """
        for _ in range(20):
            messages, torn = self._dump_once(kind, body, what)
            if not torn:
                return messages
        raise from_errno(what, errno.EINTR, "it changes all the time")

    def _dump_once(self, kind: int, body: bytes, what: str) -> tuple[list[Message], bool]:
        sequence = next(self._sequence)
        self._socket.send(message(kind, REQUEST | ROOT_MATCH, body, sequence))
        found: list[Message] = []
        torn = False
        while True:
            for part in split(self._receive()):
                if part.sequence != sequence:
                    continue
                torn = torn or bool(part.flags & DUMP_INTR)
                if part.type in (ERROR, DONE) and (code := _code(part)):
                    raise from_errno(what, code, _said(part))
                if part.type in (ERROR, DONE):
                    return found, torn
                found.append(part)

    def request(self, kind: int, flags: int, body: bytes, what: str, fine: Iterable[int] = ()) -> int:
        """Send one message and wait for its acknowledgement.

        Answers 0, or an error number out of `fine`; for others raises NetnsError "cannot <what>".
        """
        sequence = next(self._sequence)
        self._socket.send(message(kind, REQUEST | ACK | flags, body, sequence))
        return self._acknowledged({sequence}, what, set(fine))

    def ask(self, kind: int, body: bytes, what: str) -> Message:
        """Send one message and give the one that answers it."""
        sequence = next(self._sequence)
        self._socket.send(message(kind, REQUEST, body, sequence))
        while True:
            for part in split(self._receive()):
                if part.sequence == sequence:
                    if part.type == ERROR:
                        raise from_errno(what, _code(part), _said(part))
                    return part

    def batch(
        self, build: Callable[[Iterator[int]], tuple[bytes, set[int]]], what: str, fine: Iterable[int] = ()
    ) -> int:
        """Send several messages at once.

        `build` takes sequence numbers and gives the bytes and those numbers that will be acknowledged.
        """
        data, sequences = build(self._sequence)
        self._socket.send(data)
        return self._acknowledged(sequences, what, set(fine))

    def _acknowledged(self, waiting: set[int], what: str, fine: set[int]) -> int:
        answer = 0
        while waiting:
            for part in split(self._receive()):
                if part.type != ERROR or part.sequence not in waiting:
                    continue
                waiting.discard(part.sequence)
                code = _code(part)
                if code and code not in fine:
                    raise from_errno(what, code, _said(part))
                answer = answer or code
        return answer


def _code(part: Message) -> int:
    """The error number of an ERROR or DONE message; 0 for success (a DONE may come without a number)."""
    if len(part.body) < 4:
        return 0
    number: int = struct.unpack_from("=i", part.body)[0]
    return -number


def _said(part: Message) -> str:
    """The kernel's sentence in an extended acknowledgement, or ""."""
    if part.type != ERROR or not part.flags & ACK_TLVS:
        return ""
    skip = 20 if part.flags & CAPPED else 4 + struct.unpack_from("=I", part.body, 4)[0]
    found = dict(attributes(part.body[skip:]))
    return found.get(1, b"").rstrip(b"\0").decode(errors="replace")
