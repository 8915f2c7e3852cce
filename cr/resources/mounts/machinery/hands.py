"""Mount calls inside the root puppet, or a child of its.

A program that grows until it is run; its results are good for later ones too.
"""

from __future__ import annotations

import os

from cr.contract.restoring import RestoreContext
from cr.kernel import mounts as sys
from cr.kernel.pidfd import pidfd_getfd, pidfd_open
from cr.model import CheckpointError
from cr.remote.foothold import Identity
from cr.remote.program import Argument, Data, Program, ProgramError, Result
from cr.remote.tracee import Tracee
from cr.values import dataclass, field

INSIDE = sys.RESOLVE_BENEATH | sys.RESOLVE_NO_SYMLINKS | sys.RESOLVE_NO_XDEV
"""No path of an image leads anywhere else than into its own mount."""
BOTH_EMPTY = sys.MOVE_MOUNT_F_EMPTY_PATH | sys.MOVE_MOUNT_T_EMPTY_PATH
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_ROOM = 2000  # calls in one program


@dataclass
class Hands:
    """Calls for one thread.  A descriptor of the puppet's is an `Argument`: a number or a result."""

    context: RestoreContext
    worker: tuple[Tracee, Identity] | None = None
    """another puppet than the root task's"""
    program: Program = field(default_factory=Program)

    @property
    def tid(self) -> int:
        """Our number of the puppet."""
        return self.worker[0].tid if self.worker is not None else self.context.root.puppet.tid

    def call(self, name: str, *arguments: Argument, may_fail: bool = False, note: str = "") -> Result:
        return self.program.call(name, *map(self._now, arguments), may_fail=may_fail, note=note)

    def _now(self, argument: Argument) -> Argument:
        if isinstance(argument, Result) and argument.program is not self.program:
            return argument.value
        return argument

    def text(self, text: str) -> Data:
        return self.program.cstr(text)

    def run(self) -> None:
        """Do everything asked for so far."""
        program, self.program = self.program, Program()
        try:
            if self.worker is None:
                self.context.run(self.context.root.leader, program)
            elif program.calls:
                self.context.foothold.run(*self.worker, program)
        except ProgramError as error:
            raise CheckpointError(f"the mounts of the container cannot be restored: {error.strerror}") from error

    def breathe(self) -> None:
        """Between two mounts: run what is there if it has become long."""
        if len(self.program.calls) > _ROOM:
            self.run()

    def fetch(self, fd: Argument) -> int:
        """A descriptor of ours, kept until the restore is over, of one that the puppet has."""
        pidfd = pidfd_open(self.tid)
        try:
            number = fd.value if isinstance(fd, Result) else fd
            assert isinstance(number, int)
            return self.context.keep(pidfd_getfd(pidfd, number))
        finally:
            os.close(pidfd)

    # One call each

    def look(self, path: str) -> Result:
        """An O_PATH descriptor of a path of our own making, relative to the puppet's current directory."""
        return self.call("openat", sys.AT_FDCWD, self.text(path), _LOOK, note=path)

    def look_inside(self, base: Argument, path: str, note: str, *, triggers: bool = False) -> Result:
        """An O_PATH descriptor of a path from the images below `base`, within the same mount.

        The kernel takes what `triggers` a mount for another mount, even if nothing is mounted there.
        """
        how = self.program.words(_LOOK, 0, INSIDE & ~sys.RESOLVE_NO_XDEV if triggers else INSIDE)
        return self.call("openat2", base, self.text(path), how, how.size, note=note)

    def clone(self, fd: Argument, note: str) -> Result:
        """A detached copy of the mount that `fd` is in, from `fd` on."""
        flags = sys.OPEN_TREE_CLONE | sys.OPEN_TREE_CLOEXEC | sys.AT_EMPTY_PATH
        return self.call("open_tree", fd, self.text(""), flags, note=note)

    def attach(self, tree: Argument, path: str) -> None:
        """Attach a detached mount at a path of our own making."""
        empty = self.text("")
        self.call("move_mount", tree, empty, sys.AT_FDCWD, self.text(path), sys.MOVE_MOUNT_F_EMPTY_PATH, note=path)

    def attach_at(self, tree: Argument, target: Argument, note: str, flags: int = 0) -> None:
        """Attach a detached mount over what `target` is a descriptor of."""
        empty = self.text("")
        self.call("move_mount", tree, empty, target, empty, BOTH_EMPTY | flags, note=note)

    def set_attributes(self, tree: Argument, note: str, *, to_set: int = 0, to_clear: int = 0, kind: int = 0) -> None:
        """mount_setattr(2) of one mount; `kind` is a propagation type."""
        attr = self.program.words(to_set, to_clear, kind, 0)
        self.call("mount_setattr", tree, self.text(""), sys.AT_EMPTY_PATH, attr, attr.size, note=note)

    def mount(self, source: str, target: str, fsname: str, flags: int, data: str) -> None:
        """mount(2) at a path of our own making."""
        arguments = (self.text(source), self.text(target), self.text(fsname), flags, self.text(data))
        self.call("mount", *arguments, note=f"{fsname} {data}")

    def close(self, *descriptors: Argument) -> None:
        for fd in descriptors:
            self.call("close", fd)
