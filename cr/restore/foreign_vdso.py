"""Images of another kernel: its vDSO stays where it was, as plain memory, and leads to this kernel's.

Programs remember addresses of functions in the vDSO (vdso(7)).  Where this kernel's is laid out in another way, the old
code is kept with a jump at the entry of each function; its variables become a page of zeros, and this kernel's vDSO
is mapped where all tasks have room.
"""

from __future__ import annotations

import ctypes
import io
import os
import struct
from typing import TYPE_CHECKING

from cr.contract.restoring import RestoreContext, RestoreTask
from cr.kernel import mman
from cr.kernel.numbers import NUMBERS
from cr.model import BadImages, CheckpointError
from cr.remote.machine import SYSCALL_INSTRUCTION
from cr.restore.inheritance import Span, has_vdso, kernel_made, mapped
from cr.restore.memory_check import TASK_SIZE, page_reader
from cr.restore.vdso import ours
from cr.values import dataclass
from images.kinds import VmaStatus
from images.pages import PAGE_SIZE

if TYPE_CHECKING:
    from images import messages as m

_BY_CALL = ("clock_gettime", "gettimeofday", "time", "clock_getres", "getcpu", "getrandom")
_STATEFUL = "getrandom"  # its buffers, which the program holds, are laid out as the kernel likes
_MARGIN = 16 * PAGE_SIZE
_JUMP = 12


@dataclass(frozen=True)
class Patch:
    """Code to be written over the entry of a function: its address and bytes."""

    address: int
    code: bytes


def settle(context: RestoreContext) -> None:
    """Change the images' values so that they describe address spaces with this kernel's vDSO."""
    tasks = [task for task in context.tasks if task.mm is not None and has_vdso(task.mm)]
    if not tasks:
        return
    code = _code(tasks[0], context)
    if _fits(tasks, code):
        return
    for task in tasks:
        _check(task, code)
    address = _room(context, _length(ours()[0]))
    patches: dict[int, list[Patch]] = context.once("foreign vDSO", dict)
    for task in tasks:
        patches[task.vpid] = _take_over(task, code, address)


def patch(task: RestoreTask, context: RestoreContext) -> None:
    """Write the jumps into a puppet whose memory is complete otherwise."""
    found: dict[int, list[Patch]] = context.once("foreign vDSO", dict)
    if task.vpid not in found:
        return
    memory = os.open(f"/proc/{task.puppet.tid}/mem", os.O_RDWR | os.O_CLOEXEC)
    try:
        for each in found[task.vpid]:
            if os.pread(memory, len(each.code), each.address) != each.code:  # a child may have it by birth
                os.pwrite(memory, each.code, each.address)
    finally:
        os.close(memory)


def _fits(tasks: list[RestoreTask], code: bytes) -> bool:
    own, own_spans = our_code(), ours()[0]
    for task in tasks:
        assert task.mm is not None
        made = kernel_made(task.mm)
        if (_length(made), _length(made[-1:])) != (_length(own_spans), _length(own_spans[-1:])):
            return False
    return not code or code == own or functions(code) == functions(own)


def our_code() -> bytes:
    """This kernel's vDSO, from our own memory."""
    with open("/proc/self/maps") as maps:
        span = next(line for line in maps if line.rstrip().endswith("[vdso]")).split()[0]
    start, end = (int(word, 16) for word in span.split("-"))
    return ctypes.string_at(start, end - start)


def functions(code: bytes) -> dict[str, int]:
    """Names of the functions of a vDSO without their prefix, and where they begin."""
    from elftools.elf.elffile import ELFFile

    try:
        table = ELFFile(io.BytesIO(code)).get_section_by_name(".dynsym")
        symbols = [each for each in table.iter_symbols() if each["st_info"]["type"] == "STT_FUNC"]
        return {each.name.removeprefix("__vdso_"): int(each["st_value"]) for each in symbols}
    except Exception as error:
        raise BadImages(f"the vDSO in the images cannot be read: {error}") from error


def patches_of(code: bytes, base: int, new: dict[str, int], new_base: int) -> list[Patch]:
    """For each function of an old vDSO at `base`: a jump to the new one's, or the system call that it stands for."""
    found: dict[int, Patch] = {}
    for name, offset in functions(code).items():
        if name in new and name != _STATEFUL:
            jump = b"\x48\xb8" + struct.pack("<Q", new_base + new[name]) + b"\xff\xe0"  # mov rax, ...; jmp rax
        elif name in _BY_CALL:
            jump = b"\xb8" + struct.pack("<I", NUMBERS[name]) + SYSCALL_INSTRUCTION + b"\xc3"  # mov eax, ...; ret
        else:
            continue  # code that needs no variables of the kernel
        if offset + _JUMP > len(code):
            raise BadImages(f"the vDSO in the images has its function {name} beyond its end")
        found.setdefault(offset, Patch(base + offset, jump))
    return list(found.values())


def _code(task: RestoreTask, context: RestoreContext) -> bytes:
    """The vDSO that the images hold; nothing where they have only its place."""
    assert task.mm is not None
    start, end = kernel_made(task.mm)[-1]
    content = bytearray()
    for source in page_reader(task, context).sources():
        if start <= source.vaddr < end and source.offset is not None:
            fd = source.directory.open_raw("pages", source.pages_id)
            try:
                content += os.pread(fd, min(end - source.vaddr, source.nr_pages * PAGE_SIZE), source.offset)
            finally:
                os.close(fd)
    return bytes(content) if len(content) == end - start else b""


def _length(spans: list[Span]) -> int:
    return spans[-1][1] - spans[0][0]


def _check(task: RestoreTask, code: bytes) -> None:
    """CheckpointError where the old vDSO cannot be kept: it is not in the images, or code of it was under way."""
    assert task.mm is not None
    start, end = kernel_made(task.mm)[-1]
    if len(code) != end - start:
        raise CheckpointError(
            f"the vDSO of {task} is not this kernel's, and the images do not have it: "
            "restore it on the kernel that it was dumped on"
        )
    entries = set(functions(code).values())
    for thread in task.threads:
        place = thread.core.thread_info.gpregs.ip - start
        called = SYSCALL_INSTRUCTION in (code[place : place + 2], code[max(0, place - 2) : place])
        if 0 <= place < len(code) and place not in entries and not called:
            raise CheckpointError(
                f"thread {thread.vtid} of {task} was inside a function of its kernel's vDSO, which is not this "
                "kernel's: restore it on the kernel that it was dumped on, or take another dump"
            )


def _room(context: RestoreContext, size: int) -> int:
    """An address, the same for all, where no task has anything near; not below a stack that may grow."""
    taken = sorted(
        (vma.start, vma.end, bool(vma.flags & mman.MAP_GROWSDOWN))
        for task in context.tasks
        if task.mm is not None
        for vma in mapped(task.mm)
        if vma.end <= TASK_SIZE
    )
    lower, found = 0, 0
    for start, end, grows in taken:
        if not grows and start - lower >= size + 2 * _MARGIN:
            found = start - size - _MARGIN
        lower = max(lower, end)
    if found:
        return found
    raise CheckpointError("the tasks leave no room for this kernel's vDSO besides that of the kernel they come from")


def _take_over(task: RestoreTask, code: bytes, address: int) -> list[Patch]:
    """The old one becomes plain memory, the new one is mapped at `address`."""
    mm = task.mm
    assert mm is not None
    base = kernel_made(mm)[-1][0]
    for vma in mm.vmas:
        if vma.status & (VmaStatus.VDSO | VmaStatus.VVAR):
            vma.status = int(VmaStatus.REGULAR | VmaStatus.ANON_PRIVATE)
            vma.flags = mman.MAP_PRIVATE | mman.MAP_ANONYMOUS
    spans, _ = ours()
    vdso = address + spans[-1][0]
    _add(mm, address, vdso, mman.PROT_READ, VmaStatus.VVAR)
    _add(mm, vdso, address + spans[-1][1], mman.PROT_READ | mman.PROT_EXEC, VmaStatus.VDSO)
    return patches_of(code, base, functions(our_code()), vdso)


def _add(mm: m.mm_entry, start: int, end: int, prot: int, status: VmaStatus) -> None:
    kind = int(status | VmaStatus.REGULAR | VmaStatus.ANON_PRIVATE)
    flags = mman.MAP_PRIVATE | mman.MAP_ANONYMOUS
    mm.vmas.add(start=start, end=end, pgoff=0, shmid=0, prot=prot, flags=flags, status=kind, fd=-1)
