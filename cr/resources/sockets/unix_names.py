"""Names of unix sockets: which file a name stands for, and how to bind to it again.

A name may be absolute, relative to the directory that its maker was in, abstract (it begins with a zero
byte), or of a file that is gone.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from cr.contract import idmaps
from cr.contract.mounts import mounts
from cr.contract.socket_extras import extras_of, known_extras
from cr.kernel.files import mount_id
from cr.kernel.ids import making_files_as
from cr.kernel.rooted import private_tmpfs, rooted
from cr.kernel.sockets import bound_file, lent
from cr.model import CheckpointError
from cr.resources.files.file_name import DELETED
from cr.resources.sockets.unix_hidden import Room, bind_elsewhere, hidden_place

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask, OpenFile
    from cr.contract.restoring import RestoreContext
    from cr.kernel.sock_diag import UnixFacts
    from images import messages as m

_PATH = os.O_PATH | os.O_CLOEXEC


def is_abstract(name: bytes) -> bool:
    return name.startswith(b"\0")


def describe_name(entry: m.unix_sk_entry, facts: UnixFacts, file: OpenFile, context: DumpContext) -> None:
    """Fill in name, name_dir, mnt_id, deleted and file_perms."""
    entry.name = b""
    if not facts.name:
        return
    if is_abstract(facts.name):
        entry.name = facts.name
        return
    name = facts.name.rstrip(b"\0")
    entry.name = name + b"\0"
    bound = bound_file(file.local)
    if bound is None:
        entry.deleted = True
        return
    try:
        _describe_file(entry, os.fsdecode(name), bound, file, context)
    finally:
        os.close(bound)


def _describe_file(entry: m.unix_sk_entry, name: str, bound: int, file: OpenFile, context: DumpContext) -> None:
    status = os.fstat(bound)
    entry.file_perms.mode = status.st_mode
    entry.file_perms.uid = idmaps.uids(context).inside(status.st_uid)
    entry.file_perms.gid = idmaps.gids(context).inside(status.st_gid)
    mount = mount_id(bound)
    path = os.readlink(f"/proc/self/fd/{bound}")
    if status.st_nlink and mount in mounts(context):
        entry.mnt_id = mount
    if name.startswith("/"):
        there = any(_is(f"/proc/{task.pid}/root{name}", status) for task in _tasks(file, context))
        hidden = entry.HasField("mnt_id") and _in_root(path, next(_tasks(file, context))) == name
        if not (there or hidden):
            _note_gone(entry, path, status, file, context)
        return
    for task in _tasks(file, context):
        if _is(f"/proc/{task.pid}/cwd/{name}", status):
            entry.name_dir = _in_root(os.readlink(f"/proc/{task.pid}/cwd"), task)
            return
    if status.st_nlink and path.endswith("/" + name):
        entry.name_dir = _in_root(path[: -len(name) - 1] or "/", next(_tasks(file, context)))
    else:
        _note_gone(entry, path, status, file, context)


def _note_gone(entry: m.unix_sk_entry, path: str, status: os.stat_result, file: OpenFile, context: DumpContext) -> None:
    """Its name leads to it no more: it is deleted, or was renamed since, as some servers do to replace another."""
    entry.deleted = True
    for task in _tasks(file, context) if status.st_nlink else ():
        for there in _neighbours(path.removesuffix(DELETED), status, f"/proc/{task.pid}/root"):
            extras_of(file.id, context).moved = os.fsencode(there)
            return


def _neighbours(path: str, status: os.stat_result, root: str) -> Iterator[str]:
    """Names of the file: `path`, or in the same directory one that it was given by link(2)."""
    if _is(root + path, status):
        yield path
    with contextlib.suppress(OSError):
        for name in os.listdir(root + os.path.dirname(path)):
            if _is(root + (there := os.path.join(os.path.dirname(path), name)), status):
                yield there


def _tasks(file: OpenFile, context: DumpContext) -> Iterator[DumpTask]:
    """The task that has the socket, then all others."""
    if file.task in context.live_tasks:
        yield file.task
    yield from (task for task in context.live_tasks if task is not file.task)


def _is(path: str, status: os.stat_result) -> bool:
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == (status.st_dev, status.st_ino)


def _in_root(path: str, task: DumpTask) -> str:
    """A path as we see it, as the task sees it."""
    root = os.readlink(f"/proc/{task.pid}/root")
    if root != "/" and (path + "/").startswith(root + "/"):
        return path[len(root) :] or "/"
    return path


def bind(fd: int, entry: m.unix_sk_entry, context: RestoreContext) -> int:
    """Bind our socket to its name; an O_PATH descriptor of the file, -1 for an abstract name."""
    if is_abstract(entry.name):
        _bind(fd, entry.name)
        return -1
    name = entry.name.rstrip(b"\0")
    known = known_extras(entry.id, context)
    if known is not None and known.moved:
        return _bind_to_file(fd, name, entry, context, os.fsdecode(known.moved))
    if entry.deleted:
        return _bind_to_deleted(fd, name)
    return _bind_to_file(fd, name, entry, context)


def _bind(fd: int, name: bytes) -> None:
    with lent(fd) as sock:
        try:
            sock.bind(name)
        except OSError as error:
            shown = os.fsdecode(name).replace("\0", "@")
            raise CheckpointError(f"cannot bind a unix socket to {shown}: {error.strerror}") from error


def take_name(fd: int, name: bytes) -> None:
    """Bind our socket to a name for as long as it lives; an abstract name that is taken is left to its owner."""
    if not is_abstract(name):
        os.close(_bind_to_deleted(fd, name.rstrip(b"\0")))
        return
    with lent(fd) as sock, contextlib.suppress(OSError):
        sock.bind(name)


def _bind_to_deleted(fd: int, name: bytes) -> int:
    """The name is only a name: it is bound in a file system of its own, where nobody else sees it."""

    def act() -> int:
        if directory := os.path.dirname(name):
            os.makedirs(directory, exist_ok=True)
        _bind(fd, name)
        file = os.open(name, _PATH | os.O_NOFOLLOW)
        os.unlink(name)
        return file

    scratch = private_tmpfs()
    try:
        return rooted(scratch, scratch, act)
    finally:
        os.close(scratch)


def _bind_to_file(fd: int, name: bytes, entry: m.unix_sk_entry, context: RestoreContext, moved: str = "") -> int:
    """`moved`: the path of the file, where it has been renamed since."""
    perms = entry.file_perms  # what lacks them belongs to root
    owner = idmaps.uids(context).outside(perms.uid), idmaps.gids(context).outside(perms.gid)
    path = moved or os.path.normpath(os.path.join(entry.name_dir or "/", os.fsdecode(name)))
    try:
        with making_files_as(*owner):
            place = hidden_place(path, entry.mnt_id, context)
            if place is not None:
                file, replaced = place.bind(partial(_bind, fd), name, entry.name_dir or "/")
            elif moved:
                file, replaced = _bind_and_move(fd, name, moved, context)
            else:
                file, replaced = _bind_in_sight(fd, name, entry, context)
    except FileNotFoundError as error:
        raise CheckpointError(f"the directory of the unix socket {path} is missing: restore it first") from error
    if not replaced:
        _undo_with(path, file, context)
    if entry.HasField("file_perms"):
        os.chown(f"/proc/self/fd/{file}", *owner)
        os.chmod(f"/proc/self/fd/{file}", stat.S_IMODE(perms.mode))
    return file


def _bind_in_sight(fd: int, name: bytes, entry: m.unix_sk_entry, context: RestoreContext) -> tuple[int, bool]:
    def act() -> tuple[int, bool]:
        replaced = _clear(name)
        _bind(fd, name)
        return os.open(name, _PATH | os.O_NOFOLLOW), replaced

    directory = context.open(entry.name_dir or "/", _PATH | os.O_DIRECTORY)
    try:
        return rooted(context.root_fd, directory, act)
    finally:
        os.close(directory)


def _bind_and_move(fd: int, name: bytes, path: str, context: RestoreContext) -> tuple[int, bool]:
    above, leaf = os.path.split(path)
    directory = context.open(above, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return bind_elsewhere(partial(_bind, fd), name, "/", Room(directory, directory, directory, leaf))
    finally:
        os.close(directory)


def _clear(name: bytes) -> bool:
    """Remove what a socket of an earlier life left behind; whether there was something."""
    try:
        if not stat.S_ISSOCK(os.lstat(name).st_mode):
            raise CheckpointError(f"{os.fsdecode(name)} is in the way of a unix socket of that name: remove it")
    except FileNotFoundError:
        return False
    os.unlink(name)
    return True


def _undo_with(path: str, file: int, context: RestoreContext) -> None:
    """A restore that fails removes the file, unless somebody has put another one there."""
    made = os.fstat(file)
    path = os.path.join(context.options.root or "/", path.lstrip("/"))
    context.undo.append(partial(_unlink_if, path, made.st_dev, made.st_ino))


def _unlink_if(path: str, device: int, inode: int) -> None:
    found = os.lstat(path)
    if (found.st_dev, found.st_ino) == (device, inode):
        os.unlink(path)
