"""User namespaces below the root task's: made ahead by processes of ours, kept by descriptors.

There may be some in which no task is: they own other namespaces, or stand between two that have tasks.
"""

from __future__ import annotations

import os
import signal
from functools import partial
from typing import TYPE_CHECKING

from cr.contract.nesting import nesting
from cr.kernel import controls, proc
from cr.kernel.namespaces import CLONE_NEWUSER, unshare
from cr.kernel.prctl import prctl, set_dumpable
from cr.kernel.visits import fetch
from cr.model import CheckpointError
from cr.values import dataclass

if TYPE_CHECKING:
    from cr.contract.restoring import RestoreContext

MAPS = ("uid_map", "gid_map")


@dataclass(frozen=True)
class _Design:
    """A user namespace to be: the texts of its maps, and its maker's ids as the namespace above counts.

    The kernel keeps the maker's uid; as a gid, any that is known up there will do.
    """

    maps: dict[str, str]
    setgroups_denied: bool
    maker: int
    group: int


def descriptor(user: int, context: RestoreContext) -> int:
    """Ours, of a user namespace by its id; one that is not there yet is made."""
    return context.once(("user namespace", user), lambda: context.keep(_open(user, context)))


def _open(user: int, context: RestoreContext) -> int:
    known = nesting(context)
    if user == known.root_user:
        return os.open(f"/proc/{context.root.puppet.tid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    entry = known.entry(user)
    above = descriptor(entry.parent, context)
    ours = os.fstat(above).st_ino == proc.namespace_inode("self", "user")
    maps = {name: known.map(user, name).text() for name in MAPS}
    maker = known.from_root(entry.owner_uid, entry.parent, "uid_map")
    design = _Design(maps, entry.setgroups_denied, maker, known.some_gid(entry.parent))
    try:
        return fetch([] if ours else [(above, CLONE_NEWUSER)], partial(_make, design))
    except OSError as error:
        raise CheckpointError(f"user namespace {user} of the images cannot be made: {error.strerror}") from error


def _make(design: _Design) -> int:
    """In the namespace above: a child unshares, and has its maps written by us; a descriptor of what it made."""
    child, made = _child_in_new_namespace(design)
    try:
        if error := os.read(made, 16):
            raise OSError(int(error), os.strerror(int(error)))
        if design.setgroups_denied:
            proc.write_file(f"/proc/{child}/setgroups", "deny")
        for name, text in design.maps.items():
            if text:
                proc.write_file(f"/proc/{child}/{name}", text)
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(made)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _child_in_new_namespace(design: _Design) -> tuple[int, int]:
    """Its pid, and a descriptor from which comes the end of file when it is there, or the number of an error."""
    made, telling = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child:
        os.close(telling)
        return child, made
    try:
        prctl(controls.PR_SET_SECUREBITS, controls.SECBIT_NO_SETUID_FIXUP)  # rights stay when the uid changes
        os.setegid(design.group)
        os.seteuid(design.maker)
        unshare(CLONE_NEWUSER)
        set_dumpable(True)  # or its parent, with no rights but in its own user namespace, could not see to it
        os.close(telling)
        signal.pause()
    except OSError as error:
        os.write(telling, str(error.errno).encode())
    finally:
        os._exit(1)
