"""What is in a pipe or FIFO: read without taking it out, and put back."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from cr.kernel import files
from cr.kernel.events import pending
from cr.kernel.pipes import tee
from cr.model import CheckpointError

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext


def dump_content(kind: str, pipe_id: int, file: OpenFile, context: DumpContext) -> None:
    """Remember the content of the pipe that `file` is a readable end of, once; `write_contents` writes it."""
    if files.access_mode(file.flags) != os.O_WRONLY:
        context.once((kind, pipe_id), lambda: _note(kind, pipe_id, file, context))


def _note(kind: str, pipe_id: int, file: OpenFile, context: DumpContext) -> bool:
    size = fcntl.fcntl(file.local, fcntl.F_GETPIPE_SZ)
    packets = _copy(file, size)
    content = b"".join(packets)
    noted: list[tuple[int, int, bytes]] = context.once((kind, "contents"), list)
    noted.append((pipe_id, size, content))
    if len(packets) > 1 or (packets and file.flags & os.O_DIRECT):
        context.files.extra(file.id).packet.extend(map(len, packets))
    return True


def _copy(file: OpenFile, size: int) -> list[bytes]:
    """The bytes in the pipe; as packets where it has some."""
    length = pending(file.local)
    if not length:
        return []
    source, target = os.pipe()
    try:
        with contextlib.suppress(PermissionError):  # larger than we may: enough if not all of it is in use
            fcntl.fcntl(target, fcntl.F_SETPIPE_SZ, size)
        if tee(file.local, target, length) != length:
            raise CheckpointError(f"the {length} bytes in {file} cannot be copied: raise /proc/sys/fs/pipe-max-size")
        packets = [os.read(source, length)]
        while (rest := length - sum(map(len, packets))) > 0:
            packets.append(os.read(source, rest))
        return packets
    finally:
        os.close(source)
        os.close(target)


def write_contents(kind: str, context: DumpContext) -> None:
    """pipes-data.img or fifo-data.img."""
    from images import messages as m

    noted: list[tuple[int, int, bytes]] = context.once((kind, "contents"), list)
    if noted:
        with context.images.writer(kind) as image:
            for pipe_id, size, content in noted:
                image.add(m.pipe_data_entry(pipe_id=pipe_id, bytes=len(content), size=size), content)


def fill(kind: str, pipe_id: int, write_end: int, packets: list[int], context: RestoreContext) -> None:
    """Give a new pipe the size and the content that the image has for it; `write_end` must not block."""
    size, content = contents(kind, context).get(pipe_id, (0, b""))
    if size:
        _resize(write_end, pipe_id, size)
    position = 0
    for length in packets or [len(content)]:
        piece = content[position : position + length]
        position += length
        if piece and os.write(write_end, piece) != len(piece):
            raise CheckpointError(f"pipe {pipe_id:#x} does not take the {len(content)} bytes that were in it")


def _resize(fd: int, pipe_id: int, size: int) -> None:
    try:
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, size)
    except PermissionError as error:
        raise CheckpointError(
            f"pipe {pipe_id:#x} cannot get its {size} bytes of room: raise /proc/sys/fs/pipe-max-size"
        ) from error


def contents(kind: str, context: RestoreContext) -> dict[int, tuple[int, bytes]]:
    """pipe_id -> (size of the pipe, content)."""
    return context.once((kind, "contents"), lambda: _read(kind, context))


def _read(kind: str, context: RestoreContext) -> dict[int, tuple[int, bytes]]:
    if not context.images.exists(kind):
        return {}
    return {entry.pipe_id: (entry.size, payload.bytes()) for entry, payload in context.images.reader(kind)}
