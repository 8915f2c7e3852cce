"""Leases of files (fcntl(2), F_SETLEASE), also those that somebody else's open(2) is breaking.

We take them on our descriptor of the open file: inside a user namespace nobody has the right to a lease on a file
of another user.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from cr.kernel import files
from cr.model import BadImages, CheckpointError

if TYPE_CHECKING:
    from cr.contract.restoring import RestoreContext, RestoreTask
    from images import messages as m

F_SETLEASE = 1024
BREAKING = 4
"""bit of file_lock_entry.type: the other bits are the type that the lease is being broken to"""


def take_lease(lock: m.file_lock_entry, task: RestoreTask, context: RestoreContext) -> None:
    """Take a lease; its signals go to nobody until the owner of the open file is set, when all is complete."""
    slot = next((slot for slot in task.fds if slot.fd == lock.fd), None)
    if slot is None:
        raise BadImages(f"filelocks.img has a lease on descriptor {lock.fd} of {task}, which it does not have")
    fd, target = context.file(slot.id), lock.type & ~BREAKING
    try:
        fcntl.fcntl(fd, F_SETLEASE, target if target == lock.type else _original(fd, target))
    except OSError as error:
        raise CheckpointError(f"cannot take the lease on descriptor {lock.fd} of {task}: {error.strerror}") from error
    fcntl.fcntl(fd, fcntl.F_SETOWN, 0)
    if lock.type != target:
        _break(fd, target)


def _original(fd: int, target: int) -> int:
    """What a lease was that is being broken to `target`; the kernel does not say, and the difference ends here."""
    writable = files.access_mode(fcntl.fcntl(fd, fcntl.F_GETFL)) != os.O_RDONLY
    return fcntl.F_WRLCK if writable or target == fcntl.F_RDLCK else fcntl.F_RDLCK


def _break(fd: int, target: int) -> None:
    """Open the file as whoever broke the lease did; the holder has its full time again to give it up."""
    try:
        mode = os.O_RDONLY if target == fcntl.F_RDLCK else os.O_WRONLY
        os.close(files.reopen(fd, mode | os.O_NONBLOCK))
    except BlockingIOError:
        return
    raise CheckpointError("a lease that was being broken does not stand against opening the file: it is another file")
