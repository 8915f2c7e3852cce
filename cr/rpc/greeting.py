"""VERSION: runtimes ask it in a process of its own before each thing they do, so it is answered before all imports.

Nothing here may import more than `os`; a test measures it.
"""

from __future__ import annotations

VERSION = 10  # criu_req_type
MAJOR, MINOR, NAME = 4, 2, "Woodfrog"
"""The criu whose features and images these are: clients compare major * 10000 + minor * 100."""
_TYPE, _KEEP_OPEN = 1, 4  # fields of criu_req


def greet(words: list[str]) -> bool:
    """Answer if the first packet on socket FD asks for the version and no more; else leave it there."""
    import _socket  # the module `socket` costs 8 ms

    if len(words) != 1 or not words[0].isdecimal():
        return False
    try:
        sock = _socket.socket(fileno=int(words[0]))
    except OSError:
        return False  # the long way says what is wrong
    try:
        asked = outline(sock.recv(4096, _socket.MSG_PEEK))
        if asked.get(_TYPE) != VERSION or asked.get(_KEEP_OPEN):
            return False
        sock.recv(4096)  # closed with a packet unread, the socket would reset the connection
        sock.send(answer())
    except OSError:
        return False
    finally:
        sock.detach()
    return True


def answer() -> bytes:
    """The criu_resp, serialized: type, success, version (major, minor, name)."""
    name = NAME.encode()
    version = bytes([0x08, MAJOR, 0x10, MINOR, 0x32, len(name)]) + name
    return bytes([0x08, VERSION, 0x10, 1, 0x52, len(version)]) + version


def outline(packet: bytes) -> dict[int, int]:
    """The top-level numbers of a protobuf message by field; nested messages are left out.  {} if it is torn."""
    found: dict[int, int] = {}
    place = 0
    try:
        while place < len(packet):
            key, place = _varint(packet, place)
            value, place = _varint(packet, place)
            if key & 7 == 2:
                place += value
            elif key & 7 == 0:
                found[key >> 3] = value
            else:
                return {}
    except IndexError:
        return {}
    return found if place == len(packet) else {}


def _varint(packet: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while packet[place] & 0x80:
        value |= (packet[place] & 0x7F) << shift
        shift, place = shift + 7, place + 1
    return value | packet[place] << shift, place + 1
