"""userfaultfd(2) made again: by the task whose memory it is for, and registered when that memory is complete."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from cr.contract.owner import restore_owner
from cr.kernel import faults, files, missing_pages
from cr.kernel.pidfd import pidfd_getfd, pidfd_open
from cr.kernel.vm import PAGE_SIZE
from cr.model import BadImages, CheckpointError
from cr.remote.program import Program, ProgramError
from cr.resources.events.userfaultfd_ranges import register

if TYPE_CHECKING:
    from collections.abc import Callable

    from cr.contract.restoring import RestoreContext, RestoreTask
    from images import messages as m

_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK
_IMAGE = "woodfrog-userfaultfd"


def _entries(context: RestoreContext) -> dict[int, m.woodfrog_userfaultfd_entry]:
    def read() -> dict[int, m.woodfrog_userfaultfd_entry]:
        found = context.images.read(_IMAGE) if context.images.exists(_IMAGE) else []
        return {entry.id: entry for entry in found}

    return context.once("userfaultfds", read)


def is_userfaultfd(file_id: int, context: RestoreContext) -> bool:
    return file_id in _entries(context)


def plan_registration(context: RestoreContext) -> None:
    """Make all of them while every task still takes descriptors; see to it that they are registered at the end."""
    for entry in _entries(context).values():
        check(entry)
        context.file(entry.id)
    if _entries(context):
        context.last.append(lambda: _register_all(context))


def _register_all(context: RestoreContext) -> None:
    work = [
        (_owner(entry, context), context.file(entry.id), entry) for entry in _entries(context).values() if entry.range
    ]
    register(work, context)


def check(entry: m.woodfrog_userfaultfd_entry) -> None:
    """BadImages where an entry cannot be."""
    if entry.range and not entry.owner:
        raise BadImages(f"{_IMAGE}.img has memory of nobody registered")
    for each in entry.range:
        spans = [each, *each.zero, *each.protected, *each.poisoned, *each.mapped, *each.present]
        if not 0 < each.modes < 8 or any(not _lies_in(span, each) for span in spans):
            raise BadImages(f"{_IMAGE}.img has a range {each.start:#x}-{each.end:#x} that cannot be")


def _lies_in(span: Any, whole: Any) -> bool:
    within = whole.start <= span.start < span.end <= whole.end < 1 << 47
    return within and not (span.start | span.end) & (PAGE_SIZE - 1)


def _owner(entry: m.woodfrog_userfaultfd_entry, context: RestoreContext) -> RestoreTask:
    found = next((task for task in context.live_tasks if task.vpid == entry.owner), None)
    if found is None:
        raise BadImages(f"{_IMAGE}.img has memory of task {entry.owner}, which is not in the images")
    return found


def build(record: m.ext_file_entry, context: RestoreContext) -> int:
    """Our descriptor of a new one, with nothing registered yet."""
    entry = _entries(context)[record.id]
    try:
        fd = _fetch(entry, context)
    except ProgramError as error:
        raise CheckpointError(
            f"cannot make a userfaultfd for task {entry.owner}: {error} (see /proc/sys/vm/unprivileged_userfaultfd and "
            "/dev/userfaultfd)"
        ) from error
    try:
        faults.shake_hands(fd, entry.features)
    except OSError as error:
        os.close(fd)
        raise CheckpointError(
            f"this kernel has no userfaultfd with the features {entry.features:#x}, or it takes CAP_SYS_PTRACE "
            f"({error.strerror})"
        ) from error
    files.set_status_flags(fd, entry.flags)
    restore_owner(fd, record.fown, context)
    return fd


def _fetch(entry: m.woodfrog_userfaultfd_entry, context: RestoreContext) -> int:
    if entry.owner:
        task = _owner(entry, context)
        return _make(entry, task.puppet.tid, lambda program: context.run(task.leader, program), context)
    with context.passing_child() as (passing, identity):  # its memory will be gone
        return _make(entry, passing.tid, lambda program: context.foothold.run(passing, identity, program), context)


def _make(
    entry: m.woodfrog_userfaultfd_entry, tid: int, run: Callable[[Program], None], context: RestoreContext
) -> int:
    """Through the device where there is one: in a user namespace the call needs a right that nobody has there."""
    program = Program()
    device = -1 if entry.user_mode_only else _device(context)
    if device >= 0:
        (slot,) = context.give(program, [device])
        made = program.call("ioctl", slot, missing_pages.NEW, _FLAGS, note="a userfaultfd")
        program.call("close", slot)
    else:
        made = program.call("userfaultfd", _FLAGS | (faults.USER_MODE_ONLY if entry.user_mode_only else 0))
    run(program)
    pidfd = pidfd_open(tid)
    try:
        fd = pidfd_getfd(pidfd, made.value)
    finally:
        os.close(pidfd)
    program = Program()
    program.call("close", made.value)
    run(program)
    return fd


def _device(context: RestoreContext) -> int:
    def open_it() -> int:
        try:
            return context.keep(os.open(missing_pages.DEVICE, os.O_RDWR | os.O_CLOEXEC))
        except (FileNotFoundError, PermissionError):
            return -1

    return context.once("device of userfaultfds", open_it)
