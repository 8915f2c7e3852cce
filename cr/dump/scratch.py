"""Scratch memory in a task whose limits leave none: the soft limits are raised for the moment of mapping it."""

from __future__ import annotations

import errno
import os
import resource
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from cr import log
from cr.contract.dumping import DumpTask
from cr.kernel import faults, proc
from cr.kernel.numbers import NUMBERS
from cr.model import CheckpointError
from cr.remote import gadgets
from cr.remote.call_site import DATA, CallSite
from cr.remote.foothold import Foothold, find_system_call
from cr.resources.tasks.limits import INFINITY, parse_limits

_LIMITS = {
    "RLIMIT_AS": resource.RLIMIT_AS,
    "RLIMIT_DATA": resource.RLIMIT_DATA,
    "RLIMIT_MEMLOCK": resource.RLIMIT_MEMLOCK,
}


@contextmanager
def foothold(task: DumpTask, size: int, address: int = 0) -> Iterator[Foothold]:
    """`size` bytes of scratch memory (at `address`, if given), as long as the block lasts; use inside of `critical`.

    Keep it short: whoever kills us there leaves the mapping behind.
    """
    site = call_site(task)
    made = make(task, site, size, address)
    try:
        yield made
    finally:
        _remove(made, task, site)


def _remove(made: Foothold, task: DumpTask, site: CallSite) -> None:
    try:
        made.remove(task.leader.tracee, site)
    except ProcessLookupError:
        log.warning(f"{task} was killed while it was frozen")
    except OSError as error:
        log.warning(f"{error}; {task} runs on with it")


def call_site(task: DumpTask) -> CallSite:
    """How the main thread makes a single call; where it can be, such that the thread finds home without us."""
    code = gadgets.find(task.pid, task.mappings)
    stack = next(((each.start, each.end) for each in task.mappings if _is_usable_stack(each)), (0, 0))
    if code and not _has_shadow_stack(task) and gadgets.are_there(task.pid, code):
        site = CallSite(code.call, code.restorer, stack)
        if site.has_room(task.leader.tracee):
            return site
    log.debug(f"{task} has no code, or no room on its stack, to find home by if we are killed at the wrong moment")
    return CallSite(_syscall_instruction(task))


def _is_usable_stack(mapping: proc.Mapping) -> bool:
    """Where pages are the affair of a userfaultfd(2) nothing may be written: we would wait for a frozen program."""
    return mapping.path == "[stack]" and mapping.flags.isdisjoint(faults.FLAGS)


def _has_shadow_stack(task: DumpTask) -> bool:
    """A return must go where the call came from then (Documentation/arch/x86/shstk.rst)."""
    return "shstk" in task.leader.status.get("x86_Thread_features", "")


def _syscall_instruction(task: DumpTask) -> int:
    """Where the task has a `syscall` instruction: in the vDSO, else in its program text."""
    mappings = sorted(task.mappings, key=lambda mapping: mapping.path != "[vdso]")
    for mapping in mappings:
        if "x" in mapping.perms and "r" in mapping.perms and mapping.path != "[vsyscall]":
            found = find_system_call(task.pid, mapping.start, mapping.end)
            if found is not None:
                return found
    raise CheckpointError(f"{task} has no system call instruction in its memory to act by")


def make(task: DumpTask, site: CallSite, size: int, address: int = 0) -> Foothold:
    """Map `size` bytes."""
    try:
        return Foothold.make(task.leader.tracee, site, address=address, size=size)
    except OSError as error:
        if error.errno not in (errno.ENOMEM, errno.EAGAIN):
            raise
    with _raised(task, site):
        try:
            return Foothold.make(task.leader.tracee, site, address=address, size=size)
        except OSError as error:
            raise CheckpointError(
                f"{task} has no room for {size} bytes of scratch memory: raise its limits "
                f"({', '.join(_LIMITS)}, see prlimit(1)) or /proc/sys/vm/max_map_count"
            ) from error


@contextmanager
def _raised(task: DumpTask, site: CallSite) -> Iterator[None]:
    """The soft limits on memory are as high as the hard ones inside the block."""
    before: list[tuple[int, tuple[int, int]]] = []
    try:
        have = parse_limits(proc.read_text(task.pid, "limits"))
        for limit in _LIMITS.values():
            soft, hard = have[limit]
            if soft != hard:
                _set(task, site, limit, (hard, hard))
                before.append((limit, (soft, hard)))
        yield
    except PermissionError as error:
        raise CheckpointError(
            f"{task} is at its limits on memory, and raising them takes CAP_SYS_RESOURCE: raise them before the dump"
        ) from error
    finally:
        for limit, values in before:
            _set(task, site, limit, values)


def _set(task: DumpTask, site: CallSite, limit: int, values: tuple[int, int]) -> None:
    """By the task itself, where it can: for us it would take a right if the task is another user's."""
    if not site.restorer:
        soft, hard = (resource.RLIM_INFINITY if value == INFINITY else value for value in values)
        resource.prlimit(task.pid, limit, (soft, hard))
        return
    data = struct.pack("<QQ", *values)
    result = site.call(task.leader.tracee, NUMBERS["prlimit64"], 0, limit, DATA, 0, data=data)
    if result < 0:
        raise OSError(-result, f"prlimit: {os.strerror(-result)}")
