"""The one error of this package."""

from __future__ import annotations

import os


class ImageError(Exception):
    """An image that is missing, torn, altered, or not what its name says.

    `path` is the image file, `offset` the byte in it where reading stopped making sense (None when the
    trouble is the file as a whole).
    """

    def __init__(self, path: str | os.PathLike[str], reason: str, offset: int | None = None) -> None:
        self.path = os.fspath(path)
        self.offset = offset
        self.reason = reason
        place = f"{path}" if offset is None else f"{path}, byte {offset}"
        super().__init__(f"{place}: {reason}")
