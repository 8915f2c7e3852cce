"""What can be mapped into an address space: the contract of VMA kinds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, ClassVar

from cr.contract.resource import discover, subclasses
from images.kinds import VmaStatus

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask
    from cr.contract.restoring import RestoreContext, RestoreTask
    from cr.kernel.proc import Mapping
    from cr.remote.program import Program
    from images import messages as m

BASES = VmaStatus.FILE_PRIVATE | VmaStatus.FILE_SHARED | VmaStatus.ANON_SHARED | VmaStatus.ANON_PRIVATE
"""status bits that say how it is mapped; a kind with a bit of its own besides is more special"""

UPROBES = "[uprobes]"
UNSUPPORTED_PATHS = {
    "anon_inode:[perf_event]": "is a buffer of perf_event_open(2), which cannot be made anew with its counts",
    "anon_inode:bpf-map": "is a BPF map, which cannot be dumped",
    "anon_inode:": "is memory of a kernel device that cannot be dumped",
    "/secretmem": "is memory of memfd_secret(2), which nobody but its owner may read",
    UPROBES: "shows that the task is or was being probed (uprobes): use --allow-uprobes, at restore too",
}
"""how the path of a mapping begins that no kind recognises, and why"""

UNSUPPORTED_FLAGS = {
    "pf": "is memory of a device, which the images cannot hold",
    "io": "is memory of a device, which the images cannot hold",
    "ss": "is a shadow stack (arch_prctl(2) ARCH_SHSTK_ENABLE), which cannot be rebuilt",
}
"""VmFlags of smaps that stand against a dump, and why"""


class VmaResource(ABC):
    """One kind of mapping.  Exactly one resource recognises a mapping of /proc/PID/maps."""

    status: ClassVar[VmaStatus]
    """the bits of vma_entry.status that name the kind"""
    also: ClassVar[VmaStatus] = VmaStatus.REGULAR
    """bits that are set besides"""
    private_pages: ClassVar[bool] = True
    """whether pages belong to this address space alone, and are dumped with it"""
    recreated: ClassVar[bool] = True
    """whether the restore maps it with mmap(2); False for what the kernel maps by itself"""
    own_way: ClassVar[bool] = False
    """whether `attach` maps it, before all others, instead of mmap(2)"""
    joined: ClassVar[bool] = False
    """whether mappings of this kind that adjoin are one in the images (newer kernels split what was one)"""
    inherited: ClassVar[bool] = True
    """whether a child of fork(2) has it too, so that it may be kept instead of being made anew"""

    @classmethod
    @abstractmethod
    def recognises(cls, mapping: Mapping) -> bool:
        """From the path in /proc/PID/maps and from whether it is shared."""

    @classmethod
    def obstacles(cls, mapping: Mapping, task: DumpTask) -> Iterable[str]:
        """Reasons against a dump: what follows "the mapping START-END of task T"."""
        return unsupported_flags(mapping)

    @classmethod
    def dump(cls, mapping: Mapping, entry: m.vma_entry, task: DumpTask, context: DumpContext) -> None:
        """Fill in shmid, pgoff and what else is special; start, end, prot, flags and status are set."""

    @classmethod
    def fd(cls, entry: m.vma_entry, task: RestoreTask, context: RestoreContext) -> int | None:
        """Our descriptor of the file to map, None where the mapping is anonymous."""
        return None

    @classmethod
    def attach(
        cls, room: Callable[[], Program], entries: list[m.vma_entry], task: RestoreTask, context: RestoreContext
    ) -> None:
        """Calls that map all mappings of an `own_way` kind; `room()` is the program that takes the next ones."""


def _is_execute_only(mapping: Mapping) -> bool:
    """Whether the kernel itself has given it its key, as it does for PROT_EXEC alone (v6.18, arch/x86/mm/pkeys.c).

    It takes the first that is free: of a program that has no others, key 1.
    """
    return mapping.perms[:3] == "--x" and mapping.protection_key == 1


def unsupported_flags(mapping: Mapping) -> Iterable[str]:
    if mapping.flags.isdisjoint(UNSUPPORTED_FLAGS) and not mapping.protection_key:
        return ()
    reasons = [reason for flag, reason in UNSUPPORTED_FLAGS.items() if flag in mapping.flags][:1]
    if mapping.protection_key and not _is_execute_only(mapping):
        reasons.append(f"has protection key {mapping.protection_key} (pkeys(7)), which cannot be allocated anew")
    return reasons


def why_unclaimed(mapping: Mapping) -> str:
    """The reason why a mapping of no known kind cannot be dumped."""
    for start, reason in UNSUPPORTED_PATHS.items():
        if mapping.path.startswith(start):
            return reason
    return next(iter(unsupported_flags(mapping)), "is of a kind that cannot be dumped")


@cache
def vma_resources() -> tuple[type[VmaResource], ...]:
    discover()
    kinds = (cls for cls in subclasses(VmaResource) if hasattr(cls, "status"))  # the others are common parts
    return tuple(sorted(kinds, key=lambda cls: cls.__name__))


@cache
def vma_resource(status: int) -> type[VmaResource]:
    """The kind that an image's status names; LookupError where it is none of ours."""
    found = [cls for cls in vma_resources() if status & cls.status == cls.status]
    if not found:
        raise LookupError(f"no mapping has the status {status:#x}")
    return max(found, key=lambda cls: (cls.status & ~BASES).bit_count())
