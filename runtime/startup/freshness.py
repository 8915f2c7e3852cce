"""Whether the files that a snapshot was made of are still the same."""

from __future__ import annotations

import os
import sys

_INSTALLED = "-packages"
"""how the directories end that distributions are installed into (site-packages, dist-packages)"""


def stamps() -> bytes:
    """Path, time of the last change (ns) and size of each file, as one text.

    They are the interpreter, the directories that pip installs into, and in a working copy the modules that are loaded.
    Were they objects by the thousand, looking at them would copy all the pages that they lie in.
    """
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    paths = {os.path.realpath(sys.executable)}
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None) or ""
        if path.startswith(root + os.sep) and _INSTALLED not in path:
            paths.add(path)
    for directory in sys.path:
        if os.path.isdir(directory) and directory.endswith(_INSTALLED):
            paths.add(directory)  # changes with every distribution that comes or goes
    return b"".join(map(stamp, sorted(map(os.fsencode, paths))))


def stamp(path: bytes) -> bytes:
    """One line; a path cannot have a zero byte in it."""
    status = os.stat(path)
    return b"%s\0%d\0%d\0\n" % (path, status.st_mtime_ns, status.st_size)


def fresh(known: bytes) -> bool:
    """Whether all of them are as they were."""
    try:
        return all(stamp(line.partition(b"\0")[0]) == line + b"\0\n" for line in known.split(b"\0\n")[:-1])
    except OSError:
        return False
