"""startup-snapshot: our programs once more, started from a snapshot of an interpreter in a tenth of the time."""

from __future__ import annotations

import os

from runtime import startup
from runtime.errors import ContainerError, reason
from runtime.options import Option, UsageError, Verb
from runtime.startup.layout import PROGRAMS

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from typing import Any

    from runtime.context import Context

VERB = Verb(
    "startup-snapshot",
    "write woodfrog, woodfrog-criu and woodfrog-crit, which start in some milliseconds, into a directory",
    "<directory>",
    minimum=0,
    description="They hold the memory of an interpreter that has everything imported, for this installation and this\n"
    "processor; on another, or after a change, they start as ordinary programs. The directory may be that of this one.",
    options=(
        Option("if-stale", "do nothing if they are there and up to date", "flag"),
        Option("check", "only say whether this very program was started from a snapshot", "flag"),
    ),
)


def run(context: Context, values: dict[str, Any], arguments: list[str]) -> int:
    """Write the programs, in place of older ones; their paths are printed."""
    if values["check"]:
        return _check()
    if not arguments:
        raise UsageError(f'woodfrog: "{VERB.name}" requires a directory')
    directory = os.path.abspath(arguments[0])
    if values["if_stale"] and _current(directory):
        return 0
    scratch = os.path.join(directory, f".woodfrog-startup.{os.getpid()}")
    try:
        os.makedirs(directory, exist_ok=True)
        try:
            _record(scratch)
            for name in PROGRAMS:
                _place(scratch, os.path.join(directory, name))
        finally:
            if os.path.exists(scratch):
                os.unlink(scratch)
    except OSError as err:
        raise ContainerError(f"cannot write {reason(err)}") from err
    return 0


def _check() -> int:
    state = "started from a snapshot" if startup.woken else "started as an ordinary program"
    os.write(1, f"{state}\n".encode())
    return 0 if startup.woken else 1


def _current(directory: str) -> bool:
    """Whether there is such a program, and it is not out of date."""
    own = os.path.join(directory, "woodfrog")
    return os.path.exists(own) and _ask(own).returncode == 0


def _ask(path: str) -> subprocess.CompletedProcess[bytes]:
    """A program about its start, without variables that would make it an ordinary one."""
    import subprocess

    return subprocess.run([path, VERB.name, "--check"], capture_output=True, timeout=60, env={})


def _record(path: str) -> None:
    """Make the program, and try it before anybody relies on it."""
    from runtime.startup import hot_pages
    from runtime.startup.recorder import record

    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        record(fd)
        os.fchmod(fd, 0o755)
    finally:
        os.close(fd)
    _try(path)
    hot_pages.note(path, hot_pages.find(path))


def _try(path: str) -> None:
    done = _ask(path)
    if done.returncode:
        words = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise ContainerError(f"a program with a snapshot does not run here (status {done.returncode}): {words}")


def _place(scratch: str, path: str) -> None:
    """Under its name, at once: somebody may be starting it now."""
    link = f"{scratch}.link"
    os.link(scratch, link)
    os.rename(link, path)
    os.write(1, f"{path}\n".encode())
