"""The one error of this package."""

from __future__ import annotations

import os


class CgroupError(Exception):
    """Something about a cgroup failed; the text names the file or controller and the way out.

    `errno` is the kernel's answer where there was one, else None.
    """

    def __init__(self, text: str, errno: int | None = None) -> None:
        super().__init__(text)
        self.errno = errno


def from_os(action: str, err: OSError) -> CgroupError:
    """Turn the kernel's answer into a sentence: "cannot <action>: <reason>"."""
    reason = os.strerror(err.errno).lower() if err.errno else str(err)
    return CgroupError(f"cannot {action}: {reason}", err.errno)
