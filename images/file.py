"""Bytes of image files: on reading, bounds are checked against the real size before anything is allocated."""

from __future__ import annotations

import os
import stat

from images.errors import ImageError

_BLOCK = 1 << 16


def write_all(fd: int, path: str, data: bytes | bytearray | memoryview) -> None:
    """Write all of `data`; ImageError naming `path` if the filesystem refuses, e.g. because it is full."""
    view = memoryview(data).cast("B")
    try:
        while view:
            view = view[os.write(fd, view) :]
    except OSError as err:
        raise ImageError(path, f"cannot be written: {err.strerror}") from err


class ImageFile:
    """Owns a descriptor of a regular file; closes it when the last reader or payload lets go of it."""

    def __init__(self, fd: int, path: str | os.PathLike[str]) -> None:
        self.fd = fd
        self.path = os.fspath(path)
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(path, "an image must be a regular file, this is something else")
        self.size = status.st_size
        self._block = b""
        self._start = 0

    def __del__(self) -> None:
        os.close(self.fd)

    def read(self, offset: int, size: int, what: str) -> bytes:
        """Exactly `size` bytes at `offset`; ImageError naming `what` if the file ends before."""
        if size < 0 or offset + size > self.size:
            left = max(self.size - offset, 0)
            raise ImageError(self.path, f"{what} needs {size} bytes, the file has {left} left", offset)
        begin = offset - self._start
        if begin < 0 or begin + size > len(self._block):
            self._fill(offset, size)
            begin = 0
        return self._block[begin : begin + size]

    def _fill(self, offset: int, size: int) -> None:
        """Load at least `size` bytes from `offset` on into the buffer."""
        wanted = min(max(size, _BLOCK), self.size - offset)
        parts: list[bytes] = []
        done = 0
        while done < size:
            part = os.pread(self.fd, wanted - done, offset + done)
            if not part:
                raise ImageError(self.path, "the file became shorter while it was read", offset + done)
            parts.append(part)
            done += len(part)
        self._block, self._start = b"".join(parts), offset
