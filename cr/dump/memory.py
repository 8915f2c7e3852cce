"""The address space of a task: its layout (mm image) and its private pages."""

from __future__ import annotations

import os
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from cr.contract.dumping import DumpContext, DumpTask
from cr.contract.vma import UPROBES, VmaResource, vma_resources, why_unclaimed
from cr.dump import drafts, snapshot, tracking, user_faults
from cr.dump.copier import Copier
from cr.dump.lending import lending
from cr.dump.pages import PrivatePages, Span, clip, find, gaps
from cr.kernel import faults, mman, proc, vm
from cr.resources.memory import aio_ring, mapped_file
from cr.resources.memory.anonymous_memory import HUGE
from cr.values import dataclass, field
from images.kinds import VmaStatus
from images.pages import run_entry

if TYPE_CHECKING:
    from cr.contract.page_store import PageWriter
    from cr.options import Options
    from cr.remote.program import Program, Result
    from images import messages as m

# VmFlags of smaps -> madvise(2) advice numbers, kept as bits of vma_entry.madv
_ADVICE = {"rr": 1, "sr": 2, "dc": 10, "mg": 12, "hg": 14, "nh": 15, "dd": 16, "wf": 18}
_MAP_FLAGS = {"gd": mman.MAP_GROWSDOWN, "nr": mman.MAP_NORESERVE, "lo": mman.MAP_LOCKED, "ht": mman.MAP_HUGETLB}
_WHOLE = int(VmaStatus.VDSO | VmaStatus.AIORING)
_AT_ONCE = frozenset({"lo", "lf", *faults.FLAGS})
"""VmFlags of mappings whose pages a restore may not bring later: locked, or the program's userfaultfd brings others"""
_PROT = {"r": mman.PROT_READ, "w": mman.PROT_WRITE, "x": mman.PROT_EXEC}


def claim(mapping: proc.Mapping) -> type[VmaResource] | None:
    """The one kind that recognises a mapping; all mappings of one path are of one kind."""
    return _claim(mapping.path, mapping.shared)


@lru_cache(maxsize=4096)
def _claim(path: str, shared: bool) -> type[VmaResource] | None:
    mapping = proc.Mapping(0, 0, "---s" if shared else "---p", 0, "", 0, path, frozenset())
    claims = [resource for resource in vma_resources() if resource.recognises(mapping)]
    if len(claims) > 1:
        raise RuntimeError(f"{path} is claimed by {', '.join(c.__name__ for c in claims)}")
    return claims[0] if claims else None


@lru_cache(maxsize=1 << 14)
def as_shown(mapping: proc.Mapping) -> m.vma_entry:
    """What /proc tells of a mapping of a known kind; the kind itself may know more.  Not to be changed."""
    from images import messages as m

    resource = claim(mapping)
    assert resource is not None
    entry = m.vma_entry(
        start=mapping.start, end=mapping.end, pgoff=mapping.offset, shmid=0, fd=-1,
        prot=sum(bit for letter, bit in _PROT.items() if letter in mapping.perms),
        flags=mman.MAP_SHARED if mapping.shared else mman.MAP_PRIVATE,
        status=resource.status | resource.also,
    )  # fmt: skip
    entry.flags |= sum(bit for name, bit in _MAP_FLAGS.items() if name in mapping.flags)
    if "dp" in mapping.flags:
        entry.flags ^= mman.MAP_PRIVATE | mman.MAP_DROPPABLE
    if "lf" in mapping.flags:
        entry.flags |= mman.MAP_LOCKED | mman.MAP_NONBLOCK  # locked as it is touched, not populated
    if entry.flags & mman.MAP_HUGETLB:
        entry.flags |= (mapping.page_size.bit_length() - 1) << mman.MAP_HUGE_SHIFT
    if advice := sum(1 << bit for name, bit in _ADVICE.items() if name in mapping.flags):
        entry.madv = advice
    return entry


def left_out(mapping: proc.Mapping, options: Options) -> bool:
    """--allow-uprobes: the page where probed instructions are carried out; the kernel makes it when it is needed."""
    return mapping.path == UPROBES and options.allow_uprobes


def look(mapping: proc.Mapping, task: DumpTask, context: DumpContext) -> list[str]:
    """Before the freeze: the same as `obstacles`, and what can be prepared is."""
    if (found := obstacles(mapping, task, context.options)) or left_out(mapping, context.options):
        return found
    as_shown(mapping)
    if mapped_file.is_file(mapping):
        flags = mapped_file.access(mapping)
        key = ("looked at", mapping.device, mapping.inode, mapping.path, flags)
        context.once(key, lambda: drafts.begin(context).note_path(task, mapped_file.link(mapping), flags))
    return []


def obstacles(mapping: proc.Mapping, task: DumpTask, options: Options) -> list[str]:
    """Why this mapping cannot be dumped: nothing where it can."""
    if left_out(mapping, options):
        return []
    resource = claim(mapping)
    reasons = [why_unclaimed(mapping)] if resource is None else resource.obstacles(mapping, task)
    return [f"{mapping} of {task} {reason}" for reason in reasons]


class AddressSpaceDump:
    """Asks inside the task for what only it knows, then writes the images of its address space."""

    def __init__(self, task: DumpTask, context: DumpContext) -> None:
        self.task, self.context = task, context
        self._brk: Result | None = None
        self._private = Private()
        self._pages: PrivatePages | None = None
        self._refused: dict[proc.Mapping, list[str]] = {}

    def ask(self, program: Program) -> None:
        self._brk = program.call("brk", 0)
        self._dumpable = program.call("prctl", mman.PR_GET_DUMPABLE, 0, 0, 0, 0)
        self._thp_disabled = program.call("prctl", mman.PR_GET_THP_DISABLE, 0, 0, 0, 0, may_fail=True)

    def copy(self) -> None:
        """Begin to copy the pages, if they are to be read from the task itself."""
        track, copies = tracking.begin(self.context), snapshot.begin(self.context)
        for mapping in self.task.mappings:
            if reasons := obstacles(mapping, self.task, self.context.options):
                self._refused[mapping] = reasons
            else:
                self._private.add(mapping, claim(mapping))
        copy = copies.of(self.task)
        if copy is None or track.concerns(self.task):
            self._pages = self._private.find(self.task, self.context)
        if tracking.goes_on(self.context.options):
            track.arm(self.task, self._private.anonymous)
        if copy is None:
            self._write_pages(self.task.pid)

    def record(self) -> None:
        """Write mm-PID; what cannot be dumped is refused.

        Where there is a copy of the memory, it is written, with its pages, when the tasks run again.
        """
        entry = self._layout()
        copies = snapshot.begin(self.context)
        copy = copies.of(self.task)
        if copy is None:
            self._write(entry)
        else:
            copies.later(partial(self._write_later, entry, copy.pid))

    def _write_later(self, entry: m.mm_entry, source: int) -> None:
        self._write_pages(source)
        self._write(entry)

    def _write_pages(self, source: int) -> None:
        """`source` is the process whose memory is read."""
        private, pages = self._private, self._pages
        if pages is None:
            self._pages = pages = private.find(self.task, self.context, source)
        pages.runs = sorted([*pages.runs, *private.whole])
        if marks := user_faults.without_content(self.task, self.context):
            pages.runs = list(clip(pages.runs, gaps(marks)))
        pages.lazy = private.lazy
        self.context.report.pages_scanned += private.size // vm.PAGE_SIZE
        write_pages(pages, self.task, self.context, source)

    def _write(self, entry: m.mm_entry) -> None:
        assert self._pages is not None
        for start, end in self._pages.guards:
            entry.vmas.add(start=start, end=end, pgoff=0, shmid=0, prot=0, flags=0, status=VmaStatus.GUARD, fd=-1)
        self.context.images.write("mm", self.task.vpid, entries=[entry])

    def _layout(self) -> m.mm_entry:
        entry = self._borders()
        for mapping in self.task.mappings:
            if not left_out(mapping, self.context.options):
                self._describe(mapping, entry)
        return entry

    def _borders(self) -> m.mm_entry:
        from images import messages as m

        assert self._brk is not None
        stat, task = self.task.stat, self.task
        auxv = proc.read_bytes(task.pid, "auxv").rstrip(b"\0")  # AT_NULL goes without saying, criu has no room for it
        auxv += bytes(-len(auxv) % 16)
        return m.mm_entry(
            mm_start_code=stat.start_code, mm_end_code=stat.end_code, mm_start_data=stat.start_data,
            mm_end_data=stat.end_data, mm_start_stack=stat.start_stack, mm_start_brk=stat.start_brk,
            mm_brk=self._brk.value, mm_arg_start=stat.arg_start, mm_arg_end=stat.arg_end,
            mm_env_start=stat.env_start, mm_env_end=stat.env_end,
            mm_saved_auxv=[int.from_bytes(auxv[i : i + 8], "little") for i in range(0, len(auxv), 8)],
            exe_file_id=self.context.files.add_path(task, "exe", os.O_RDONLY),
            dumpable=self._dumpable.value, thp_disabled=self._thp_disabled.value == 1,
        )  # fmt: skip

    def _describe(self, mapping: proc.Mapping, mm: m.mm_entry) -> None:
        resource = claim(mapping)
        if mapping in self._refused:
            self.context.refuse(self._refused[mapping][0])
            return
        assert resource is not None
        if resource.joined and mm.vmas and mm.vmas[-1].status & resource.status and mm.vmas[-1].end == mapping.start:
            mm.vmas[-1].end = mapping.end
            return
        mm.vmas.append(as_shown(mapping))
        entry = mm.vmas[-1]
        try:
            resource.dump(mapping, entry, self.task, self.context)
        except Exception as error:
            error.add_note(f"while dumping {mapping} of {self.task}")
            raise
        if resource is aio_ring.AioRing:
            mm.aios.append(aio_ring.describe(entry))


@dataclass
class Private:
    """The spans of an address space whose pages are its own."""

    anonymous: list[Span] = field(default_factory=list)
    """the only ones that are tracked: in others, a page that was dropped (madvise(2) MADV_DONTNEED, or reclaimed by
    the kernel) leaves a mark (PTE markers, include/linux/swapops.h) that looks like an unwritten page in swap"""
    lazy: list[Span] = field(default_factory=list)
    """those whose pages a restore may bring later; see cr.lazy_pages.which"""
    files: list[Span] = field(default_factory=list)
    """mappings of files, of huge pages, and others that may hold pages which are not the task's own"""
    whole: list[Span] = field(default_factory=list)
    """mappings of the kernel's that are written as they are: criu compares the vDSO with that of where it restores"""

    def add(self, mapping: proc.Mapping, resource: type[VmaResource] | None) -> None:
        """One more mapping, in ascending order."""
        if resource is None:
            return
        span = mapping.start, mapping.end
        if resource.status & _WHOLE:
            self.whole.append(span)
        if not resource.private_pages or "dp" in mapping.flags:
            return
        plain = resource.status == VmaStatus.ANON_PRIVATE and not mapping.path.startswith(HUGE)
        (self.anonymous if plain else self.files).append(span)
        if plain and mapping.flags.isdisjoint(_AT_ONCE):
            self.lazy.append(span)

    @property
    def size(self) -> int:
        """Bytes of address space."""
        return sum(end - start for start, end in (*self.anonymous, *self.files))

    def find(self, task: DumpTask, context: DumpContext, source: int = 0) -> PrivatePages:
        """The pages (of process `source`, or of the task); those that the parent snapshot has apart from the others."""
        track = tracking.begin(context)
        if source:
            return find(source, self.anonymous, self.files)
        pages = find(task.pid, self.anonymous, self.files, track.written_since(task))
        if pages.unchanged and track.parent is not None:
            known = track.parent.pages(task.vpid)
            pages.runs = sorted([*pages.runs, *clip(pages.unchanged, gaps(known))])
            pages.unchanged = list(clip(pages.unchanged, known))
        return pages


def write_pages(pages: PrivatePages, task: DumpTask, context: DumpContext, source: int) -> None:
    """The pages image, read from process `source`: the task or a copy of it.

    Tasks that share an address space (CLONE_VM) share it too.
    """
    key = ("pages of", task.ids["vm_id"])
    if isinstance(pages_id := context.shared.get(key), int):
        _refer(pages, pages_id, task, context)
        return
    copier = context.once("copier", Copier)
    writer = context.pages.writer("pagemap", task.vpid)
    context.shared[key] = writer.pages_id
    lent = lending(context) is not None
    try:
        for start, end, own in _in_order(pages):
            _announce(writer, start, end, own=own, lazy=pages.is_lazy(start), lent=lent)
    except BaseException as error:
        writer.__exit__(type(error), error, None)
        raise
    runs = _written_now(pages, task, context)
    shared = source != task.pid or task.shares_pages or context.once("newcomers", lambda: _has_newcomers(context))
    copier.submit(source, runs, writer, lambda: writer.__exit__(None, None, None), shared=shared)
    context.report.pages_written += _count(runs)
    context.report.pages_skipped_parent += _count(pages.unchanged)


def _has_newcomers(context: DumpContext) -> bool:
    """Whether there was a fork(2) since the look from outside, so that it is not known what is shared with whom."""
    known = {(task.pid, task.stat.start_time) for task in context.scouted}
    return any((task.pid, task.stat.start_time) not in known for task in context.live_tasks)


def _announce(writer: PageWriter, start: int, end: int, *, own: bool, lazy: bool, lent: bool) -> None:
    count = (end - start) // vm.PAGE_SIZE
    if not own:
        writer.in_parent(start, count)
    elif lazy and lent:
        writer.lazy(start, count)
    else:
        writer.present(start, count, lazy=lazy)


def _written_now(pages: PrivatePages, task: DumpTask, context: DumpContext) -> list[Span]:
    """All runs, but for those that stay in the task until a daemon fetches them."""
    if (later := lending(context)) is None:
        return pages.runs
    kept = [run for run in pages.runs if pages.is_lazy(run[0])]
    later.pages.keep(task, kept)
    context.report.pages_lazy += _count(kept)
    return [run for run in pages.runs if not pages.is_lazy(run[0])]


def _in_order(pages: PrivatePages) -> list[tuple[int, int, bool]]:
    """(start, end, whether it is written here) of all pages."""
    return sorted([*((*run, True) for run in pages.runs), *((*run, False) for run in pages.unchanged)])


def _count(runs: list[Span]) -> int:
    return sum(end - start for start, end in runs) // vm.PAGE_SIZE


def _refer(pages: PrivatePages, pages_id: int, task: DumpTask, context: DumpContext) -> None:
    from images import messages as m
    from images.kinds import PageFlag

    with context.images.writer("pagemap", task.vpid) as image:
        image.add(m.pagemap_head(pages_id=pages_id))
        for start, end, own in _in_order(pages):
            flags = PageFlag.PRESENT | (PageFlag.LAZY if pages.is_lazy(start) else 0) if own else PageFlag.PARENT
            image.add(run_entry(start, _count([(start, end)]), flags))


def finish_pages(context: DumpContext) -> None:
    """Wait until all pages are where they belong."""
    copier, report = context.once("copier", Copier), context.report
    copier.finish()
    context.pages.finish()
    report.memdump_time, report.memwrite_time = copier.reading // 1000, copier.writing // 1000
