"""Whether the files that a snapshot was made of are still the same."""

from __future__ import annotations

import os
import sys

Stamp = tuple[str, int, int]
"""A path with the time of its last change (ns) and its size."""


def stamps() -> list[Stamp]:
    """Those of the modules of the project that are loaded, of the interpreter, and of what pip has installed."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    paths = {os.path.realpath(sys.executable)}
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None) or ""
        if path.startswith(root + os.sep) and "-packages" not in path[len(root) :]:
            paths.add(path)
    for directory in sys.path:
        if os.path.isdir(directory) and directory.endswith("-packages"):
            paths.add(directory)  # changes with every distribution that comes or goes
    return [_stamp(path) for path in sorted(paths)]


def _stamp(path: str) -> Stamp:
    status = os.stat(path)
    return path, status.st_mtime_ns, status.st_size


def fresh(known: list[Stamp]) -> bool:
    """Whether all of them are as they were."""
    try:
        return all(_stamp(stamp[0]) == stamp for stamp in known)
    except OSError:
        return False
