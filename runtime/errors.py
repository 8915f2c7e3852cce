"""The error of this package."""

from __future__ import annotations

import os


class ContainerError(Exception):
    """Something about a container failed: one sentence, lower case, without a full stop."""


def reason(err: OSError) -> str:
    """The kernel's answer in lower case, after the path or the call: "/x: no such file or directory"."""
    text = os.strerror(err.errno).lower() if err.errno else str(err)
    if err.filename is not None:
        return f"{os.fsdecode(err.filename)}: {text}"
    call = str(err.strerror or "").partition(":")[0]
    return f"{call}: {text}" if ":" in str(err.strerror or "") else text
