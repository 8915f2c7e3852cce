"""criu-shim: a program named criu in a directory of the user's, for runtimes that call criu by that name."""

from __future__ import annotations

import os
import stat
import sys

from runtime import startup
from runtime.errors import ContainerError, reason
from runtime.options import Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runtime.context import Context

VERB = Verb(
    "criu-shim",
    "write a program named criu, which is woodfrog-criu, into a directory",
    "<directory>",
    description="With that directory first in PATH, runc, podman, LXC and Docker use this engine in criu's place.",
)
# The interpreter's start is most of what a short command takes: -S leaves the hooks of site-packages out, -I the
# environment and the current directory, which are the caller's.
_PROGRAM = """#!{python} -IS
import sys

sys.path[:0] = {path!r}
from cr.cli import command

command()
"""


def run(context: Context, values: dict[str, Any], arguments: list[str]) -> int:
    """Write DIRECTORY/criu, in place of an older one; its path is printed."""
    path = os.path.join(os.path.abspath(arguments[0]), "criu")
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if startup.woken:
            _link(path)
        else:
            _write(path, program())
    except OSError as err:
        raise ContainerError(f"cannot write {reason(err)}") from err
    os.write(1, f"{path}\n".encode())
    return 0


def _link(path: str) -> None:
    """To this program, which starts at once, and knows itself by the name."""
    scratch = f"{path}.{os.getpid()}"
    os.symlink(os.readlink("/proc/self/exe"), scratch)
    os.rename(scratch, path)


def program() -> str:
    """The text: this interpreter, and the places where this process finds the project and its libraries."""
    project = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    packages = [place for place in sys.path if place.endswith(("site-packages", "dist-packages"))]
    return _PROGRAM.format(python=sys.executable, path=list(dict.fromkeys([project, *packages])))


def _write(path: str, text: str) -> None:
    """Whole or not at all: runtimes may be starting it now."""
    scratch = f"{path}.{os.getpid()}"
    try:
        with open(scratch, "w") as file:
            file.write(text)
            os.fchmod(file.fileno(), stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
        os.rename(scratch, path)
    except BaseException:
        if os.path.exists(scratch):
            os.unlink(scratch)
        raise
