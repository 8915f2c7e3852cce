"""Deleted names of files that live on under other names: a new name is made for the restore to find."""

from __future__ import annotations

import contextlib
import os
from functools import partial
from typing import TYPE_CHECKING

from cr.contract.idmaps import gids, uids
from cr.contract.mounts import image_mount_id
from cr.kernel.files import link_file
from cr.kernel.ids import making_files_as
from cr.model import BadImages
from cr.resources.files.file_name import existing_directory, root_path
from cr.resources.files.remaps import LINKED, add_remap

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext
    from images import messages as m


def dump_link(name: str, file: OpenFile, context: DumpContext) -> None:
    """Link the file as link_remap.ID beside its old name; taken back when the dump fails."""
    if not context.options.link_remap:
        context.refuse(needs_link(file))
        return
    remap_id = context.once(
        ("link remap", file.stat.st_dev, file.stat.st_ino, name), lambda: _link(name, file, context)
    )
    if remap_id:
        add_remap(file.id, LINKED, remap_id, context)


def needs_link(file: OpenFile) -> str:
    return f"{file} was deleted, but has other names elsewhere: use --link-remap to give it one for the restore"


def _link(name: str, file: OpenFile, context: DumpContext) -> int:
    from cr.resources.files.regular_file import RegularFile
    from images import messages as m

    remap_id = context.files.new_id()
    leaf = f"link_remap.{remap_id}"
    place = os.path.dirname(name)
    try:
        while (directory := existing_directory(place, file, context)) < 0:
            place = os.path.dirname(place)
        context.at_end.append(lambda: os.close(directory))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(leaf, dir_fd=directory)  # of a dump whose images were thrown away
        with making_files_as(uids(context).outside(0), gids(context).outside(0)):
            link_file(file.local, directory, leaf)
    except OSError as error:
        context.refuse(f"{file} was deleted, and {leaf} cannot be linked beside its old name: {error.strerror}")
        return 0
    context.undo.append(partial(os.unlink, os.path.join(root_path(file, context) + place, leaf)))
    entry = m.reg_file_entry(
        id=remap_id, flags=0, pos=0, name=os.path.join(place, leaf), mnt_id=image_mount_id(file, context)
    )
    entry.fown.CopyFrom(m.fown_entry(uid=0, euid=0, signum=0, pid_type=0, pid=0))
    context.files.add_record(RegularFile, entry)
    return remap_id


def linked_file(remap_id: int, name: bytes, context: RestoreContext) -> int:
    """An O_PATH descriptor of a linked file under the name that it had."""
    return context.once(("link remap", remap_id, name), lambda: _open(remap_id, name, context))


def _open(remap_id: int, name: bytes, context: RestoreContext) -> int:
    from cr.resources.files.regular_file import path_of

    entry: m.file_entry | None = context.file_entries.get(remap_id)
    if entry is None:
        raise BadImages(f"files.img has no file {remap_id:#x}, which stands for the deleted {os.fsdecode(name)}")
    link = path_of(entry.reg, context)
    directory = context.keep(context.open(os.path.dirname(link), os.O_PATH | os.O_DIRECTORY, mnt_id=entry.reg.mnt_id))
    leaf, old = os.path.basename(link), os.path.basename(name)
    if os.path.dirname(link) != os.path.dirname(name):  # its own directory was gone already
        old = leaf
    context.once(("link remap", remap_id), lambda: _remove_when_done(leaf, directory, context))
    try:
        with making_files_as(uids(context).outside(0), gids(context).outside(0)):
            os.link(leaf, old, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    except FileExistsError:
        return context.keep(os.open(leaf, os.O_PATH | os.O_NOFOLLOW, dir_fd=directory))
    try:
        return context.keep(os.open(old, os.O_PATH | os.O_NOFOLLOW, dir_fd=directory))
    finally:
        os.unlink(old, dir_fd=directory)


def _remove_when_done(leaf: bytes, directory: int, context: RestoreContext) -> bool:
    """The link has served when everything is restored, not before: a failed restore can be tried again."""

    def remove() -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(leaf, dir_fd=directory)

    context.when_done.append(remove)
    return True
