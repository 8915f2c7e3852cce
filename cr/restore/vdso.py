"""The vDSO of this kernel: how it is laid out, and how a task leaves its scratch memory through it."""

from __future__ import annotations

import os
from functools import cache

from cr.contract.restoring import RestoreTask
from cr.kernel import mman, proc
from cr.model import CheckpointError
from cr.remote.call_site import CallSite
from cr.remote.foothold import Foothold, find_system_call
from cr.restore.inheritance import Span, has_vdso, kernel_made, mapped, subtract


@cache
def ours() -> tuple[list[Span], int]:
    """(vDSO and its variables as offsets from the first of them, offset of a `syscall` instruction)."""
    mappings = [mapping for mapping in proc.mappings(os.getpid()) if mapping.path.startswith(("[vvar", "[vdso]"))]
    base = mappings[0].start
    vdso = next(mapping for mapping in mappings if mapping.path == "[vdso]")
    found = find_system_call(os.getpid(), vdso.start, vdso.end)
    assert found is not None
    return [(mapping.start - base, mapping.end - base) for mapping in mappings], found - base


def lacking(made: list[Span]) -> list[Span]:
    """Of what the kernel maps at the address of the first of `made`: what the task has unmapped."""
    spans = ours()[0]
    return list(subtract([(made[0][0], made[0][0] + spans[-1][1])], made))


def leave(task: RestoreTask, foothold: Foothold) -> None:
    """Take the scratch memory out of a finished task, by a `syscall` instruction of its own."""
    foothold.remove(task.puppet, CallSite(instruction(task)))


def instruction(task: RestoreTask) -> int:
    """Address of a `syscall` instruction of a finished task's own."""
    assert task.mm is not None
    made = kernel_made(task.mm)
    if has_vdso(task.mm):
        return made[0][0] + ours()[1]
    for vma in mapped(task.mm):
        if vma.prot & mman.PROT_EXEC and vma.prot & mman.PROT_READ and vma.end < 1 << 47:
            found = find_system_call(task.puppet.tid, vma.start, vma.end)
            if found is not None:
                return found
    raise CheckpointError(f"{task} has no vDSO and no system call instruction in its memory to leave it by")
