"""How the faces of the engine open the log, and say what went wrong: one sentence a reason."""

from __future__ import annotations

import errno
import os

from cr import log
from cr.model import CheckpointError, Refused
from cr.options import Options


def open_log(options: Options) -> None:
    """--log-file in the work directory, or standard error.  CheckpointError where that cannot be."""
    directory = options.work_dir or options.images_dir
    if not directory:
        raise CheckpointError(f"the log {options.log_file} needs a directory: name that of the images, or of the work")
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise CheckpointError(f"the directory {directory} cannot be used: {error.strerror}; make it first") from error
    try:
        log.open_log(options.log_file, fd, options.verbosity, per_task=options.log_pid)
    except OSError as error:
        raise CheckpointError(f"the log {options.log_file} cannot be written: {error.strerror}") from error
    finally:
        os.close(fd)


def report(doing: str, error: BaseException) -> list[str]:
    """Write the reasons of a failure into the log, and give them."""
    reasons = _reasons(error)
    for reason in reasons:
        log.error(reason)
        for text in getattr(error, "__notes__", []):
            log.error(f"  {text}")
    log.error(f"{doing} FAILED.")
    return reasons


def _reasons(error: BaseException) -> list[str]:
    from cgroups.errors import CgroupError
    from images.errors import ImageError

    if isinstance(error, Refused):
        return error.reasons
    if errno_of(error) in (errno.EMFILE, errno.ENFILE):
        return [f"{error}: the tree has more open files than we may hold; raise the hard limit of open files for us"]
    if isinstance(error, (CheckpointError, ImageError, CgroupError, OSError)):
        return [str(error)]
    log.trace(error)  # the last resort: a defect of ours, but nobody shall have to read a traceback
    return [f"unexpected {type(error).__name__}: {error}; see where with -v4, and report it"]


def errno_of(error: BaseException | None) -> int:
    """The errno behind an error; 0 where there is none."""
    while error is not None:
        if number := getattr(error, "errno", None):
            return int(number)
        error = error.__cause__
    return 0
