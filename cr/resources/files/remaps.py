"""remap-fpath.img: files that are not opened by their name at restore, but by something that stands for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext
    from cr.contract.restoring import RestoreContext
    from images import messages as m

LINKED, GHOST, PROCFS = 0, 1, 2


def add_remap(file_id: int, kind: int, remap_id: int, context: DumpContext) -> None:
    """The file `file_id` has `remap_id` (a file, a ghost-file image, a pid) standing for it."""
    context.once("remaps", dict[int, tuple[int, int]])[file_id] = (kind, remap_id)


def write_remaps(context: DumpContext) -> None:
    from images import messages as m

    found = context.once("remaps", dict[int, tuple[int, int]])
    entries = (
        m.remap_file_path_entry(orig_id=file_id, remap_id=remap_id, remap_type=m.remap_type.Name(kind))
        for file_id, (kind, remap_id) in found.items()
    )
    if found:
        context.images.write("remap-fpath", entries=entries)


def remaps(context: RestoreContext) -> dict[int, m.remap_file_path_entry]:
    """Remaps by the id of the file that has one."""
    return context.once("remaps", lambda: _read(context))


def _read(context: RestoreContext) -> dict[int, m.remap_file_path_entry]:
    found = context.images.read("remap-fpath") if context.images.exists("remap-fpath") else []
    return {entry.orig_id: entry for entry in found}
