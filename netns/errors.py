"""The one error of this package."""

from __future__ import annotations

import os


class NetnsError(Exception):
    """Something about a network namespace failed; the text names the link, file or request and the way out.

    `errno` is the kernel's answer where there was one, else None.
    """

    def __init__(self, text: str, errno: int | None = None) -> None:
        super().__init__(text)
        self.errno = errno


def from_errno(action: str, code: int, detail: str = "") -> NetnsError:
    """ "cannot <action>: <reason>", with what the kernel said in its extended answer."""
    reason = os.strerror(code).lower()
    return NetnsError(f"cannot {action}: {reason}" + (f" ({detail})" if detail else ""), code)
