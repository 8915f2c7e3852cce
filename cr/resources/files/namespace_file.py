"""Open files of /proc/PID/ns: descriptors that keep a namespace and can be given to setns(2)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cr.contract.resource import FdResource
from cr.kernel.namespaces import FLAGS
from cr.kernel.patterns import pattern
from cr.model import BadImages, CheckpointError

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext
    from images import messages as m

NUMBERS = "namespace numbers"
"""Key in the dump's `context.shared` of {(kind, inode): id} of every namespace that a task or we are in."""
_LINK = pattern(r"([a-z]+):\[(\d+)\]")
KINDS = {flag: name for name, flag in FLAGS.items()}


class NamespaceFile(FdResource):
    """open(2) of a file in /proc/PID/ns."""

    type = 14
    field = "nsf"

    @classmethod
    def recognises(cls, file: OpenFile) -> bool:
        match = _LINK.fullmatch(file.link)
        return match is not None and match[1] in FLAGS

    @classmethod
    def dump(cls, file: OpenFile, context: DumpContext) -> m.ns_file_entry:
        from images import messages as m

        match = _LINK.fullmatch(file.link)
        assert match is not None
        kind, inode = match[1], int(match[2])
        numbers: dict[tuple[str, int], int] = context.once(NUMBERS, dict)
        number = numbers.get((kind, inode), 0)
        if not number:
            context.refuse(f"{file} keeps a namespace that no task of the tree is in: close it, or put a task there")
        flags = file.flags & ~os.O_CLOEXEC
        return m.ns_file_entry(id=file.id, ns_id=number, ns_cflag=FLAGS[kind], flags=flags)

    @classmethod
    def describe(cls, entry: m.ns_file_entry) -> str:
        return f"namespace file {entry.id:#x}: open the {KINDS.get(entry.ns_cflag, 'unknown')} namespace {entry.ns_id}"

    @classmethod
    def make(cls, entry: m.ns_file_entry, context: RestoreContext) -> int:
        kind = KINDS.get(entry.ns_cflag)
        if kind is None:
            raise BadImages(f"file {entry.id:#x} is of a namespace of the unknown kind {entry.ns_cflag:#x}")
        path = f"/proc/{holder(kind, entry.ns_id, f'file {entry.id:#x}', context)}/ns/{kind}"
        try:
            return os.open(path, entry.flags | os.O_CLOEXEC)
        except OSError as error:
            raise CheckpointError(f"cannot open the {kind} namespace {entry.ns_id}: {error.strerror}") from error


def holder(kind: str, ns_id: int, what: str, context: RestoreContext) -> int | str:
    """A process that is in the namespace: a puppet, or we ourselves for the host's.  `what` is of it."""
    field = f"{kind}_ns_id"
    for task in context.tasks:
        if task.ids is not None and getattr(task.ids, field) == ns_id:
            return task.puppet.tid
    host = context.inventory.root_ids if context.inventory is not None else None
    if host is not None and getattr(host, field) == ns_id:
        return "self"
    raise BadImages(f"{what} is of the {kind} namespace {ns_id}, which no task is in")
