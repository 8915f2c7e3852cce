"""autofs (Documentation/filesystems/autofs.rst): mounts that a daemon makes when somebody goes there.

The kernel writes its requests into the daemon's pipe, and lets the daemon's process group alone pass.  A new one is
made in the tree's pid namespace, without a daemon; when all processes are there, one of the daemon's group takes
it over.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from cr.contract.filesystem import FilesystemResource
from cr.contract.owner import virtual_pid
from cr.kernel import autofs, files, mounts, proc
from cr.kernel.namespaces import CLONE_NEWPID
from cr.kernel.visits import fetch
from cr.model import BadImages, CheckpointError
from cr.remote.program import Program

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask
    from cr.contract.restoring import RestoreContext, RestoreTask
    from cr.kernel.mountinfo import Mount
    from images import messages as m

_MODES = ("direct", "indirect", "offset")
"""in the order of autofs_entry.mode"""
_FLAGS = ("strictexpire", "ignore")


class Autofs(FilesystemResource):
    """autofs-N.img and woodfrog-autofs-N.img, N the device number of the filesystem."""

    names = ("autofs",)
    code = 18
    has_content = True
    triggers = True

    @classmethod
    def dump(cls, mount: Mount, fd: int, context: DumpContext) -> None:
        entry = parse(mount.options)
        extra = _content(entry, fd)
        if entry.fd >= 0:
            _find_daemon(entry, extra, mount, context)
        context.images.write("autofs", mount.device, entries=[entry])
        context.images.write("woodfrog-autofs", mount.device, entries=[extra])

    @classmethod
    def premade(cls, entry: m.mnt_entry, mountpoints: list[str], context: RestoreContext) -> int | None:
        namespace = os.open(f"/proc/{context.root.puppet.tid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return fetch([(namespace, CLONE_NEWPID)], lambda: _make_alone(entry, mountpoints, context))
        except OSError as error:
            raise CheckpointError(f"cannot mount an autofs at {', '.join(mountpoints)}: {error.strerror}") from error
        finally:
            os.close(namespace)

    @classmethod
    def fill(cls, device: int, fd: int, context: RestoreContext) -> None:
        entry, extra = _read(device, context)
        if entry.fd >= 0:
            context.when_grown.append(partial(_hand_over, entry, extra, fd, context))


def parse(options: str) -> m.autofs_entry:
    """From the options in mountinfo; `fd` is -1 where nobody serves it."""
    from images import messages as m

    words = dict(word.partition("=")[::2] for word in options.split(","))
    mode = next(number for number, name in enumerate(_MODES) if name in words)
    served = words.get("pipe_ino", "-1") != "-1"
    entry = m.autofs_entry(fd=int(words["fd"]) if served else -1, pgrp=int(words["pgrp"]), mode=mode)
    entry.timeout, entry.minproto, entry.maxproto = (int(words[name]) for name in ("timeout", "minproto", "maxproto"))
    for name in ("uid", "gid"):
        if name in words:
            setattr(entry, name, int(words[name]))
    return entry


def _pipe_of(mount: Mount) -> int:
    return int(dict(word.partition("=")[::2] for word in mount.options.split(","))["pipe_ino"])


def _content(entry: m.autofs_entry, fd: int) -> m.woodfrog_autofs_entry:
    """What is in an indirect autofs; deeper than that only mountpoints are known, going there would ask the daemon."""
    from images import messages as m

    extra = m.woodfrog_autofs_entry()
    if _MODES[entry.mode] != "indirect":
        return extra
    try:
        names = os.listdir(f"/proc/self/fd/{fd}")
    except FileNotFoundError:  # what the kernel says of an empty one
        return extra
    for name in sorted(os.fsencode(name) for name in names):
        try:
            extra.symlink.add(name=name, target=os.readlink(name, dir_fd=fd))
        except OSError:
            extra.directory.append(name)
    return extra


def _find_daemon(entry: m.autofs_entry, extra: m.woodfrog_autofs_entry, mount: Mount, context: DumpContext) -> None:
    """Who reads the requests: the pipe must end in the tree."""
    pipe = _pipe_of(mount)
    ends = [holder for holder in context.files.holders(_pipe_device(), pipe) if _reads(*holder[:2])]
    group = _group(entry.pgrp, context)
    if not ends or group is None:
        context.refuse(
            f"the daemon that serves {mount} (process group {entry.pgrp}) is outside of the tree: "
            f"leave it outside with --external mnt[{mount.mountpoint}]:NAME"
        )
        return
    extra.pipe_id, entry.pgrp = pipe, group
    for task, fd, _ in ends:
        if task.vpid == group:
            entry.read_fd = fd


def _pipe_device() -> int:
    ends = os.pipe()
    try:
        return os.fstat(ends[0]).st_dev
    finally:
        for fd in ends:
            os.close(fd)


def _reads(task: DumpTask, fd: int) -> bool:
    flags = next(line for line in proc.fdinfo(task.pid, fd).splitlines() if line.startswith("flags:"))
    return files.access_mode(int(flags.split()[1], 8)) == os.O_RDONLY


def _group(pgrp: int, context: DumpContext) -> int | None:
    """A process group of ours as the tree numbers it."""
    inside = virtual_pid(pgrp, context.root)
    return inside if any(task.vpgid == inside for task in context.live_tasks) else None


# Restore


def _read(device: int, context: RestoreContext) -> tuple[m.autofs_entry, m.woodfrog_autofs_entry]:
    from images import messages as m

    entry: m.autofs_entry = context.images.read_one("autofs", device)
    if entry.mode >= len(_MODES):
        raise BadImages(f"autofs-{device}.img has the mode {entry.mode}, which there is not")
    if context.images.exists("woodfrog-autofs", device):
        return entry, context.images.read_one("woodfrog-autofs", device)
    return entry, m.woodfrog_autofs_entry()


def _make_alone(entry: m.mnt_entry, mountpoints: list[str], context: RestoreContext) -> int:
    """In a session of its own."""
    os.setsid()
    return _make(entry, mountpoints, context)


def _make(mount_entry: m.mnt_entry, mountpoints: list[str], context: RestoreContext) -> int:
    """A detached mount, which nobody serves yet; the pipe is thrown away."""
    entry, extra = _read(mount_entry.root_dev, context)
    fs, options = mounts.fsopen("autofs"), mount_entry.options.split(",")
    values: dict[str, object] = {"source": mount_entry.source, "fd": os.pipe()[1]}
    values |= {name: getattr(entry, name) for name in ("minproto", "maxproto")}
    values |= {name: getattr(entry, name) for name in ("uid", "gid") if entry.HasField(name)}
    for name, value in values.items():
        mounts.fsconfig(fs, mounts.FSCONFIG_SET_STRING, name, str(value))
    for flag in (_MODES[entry.mode], *(name for name in _FLAGS if name in options)):
        mounts.fsconfig(fs, mounts.FSCONFIG_SET_FLAG, flag)
    mounts.fsconfig(fs, mounts.FSCONFIG_CMD_CREATE)
    mount = mounts.fsmount(fs)
    for directory in sorted({*extra.directory, *(os.fsencode(path) for path in mountpoints if path)}):
        _make_directories(directory, mount)
    for link in extra.symlink:
        os.symlink(link.target, link.name, dir_fd=mount)
    root = files.reopen(mount, os.O_RDONLY | os.O_DIRECTORY)
    autofs.set_timeout(root, entry.timeout)
    autofs.make_catatonic(root)
    return mount


def _make_directories(path: bytes, mount: int) -> None:
    for end in (index for index in range(1, len(path) + 1) if path[index : index + 1] in (b"/", b"")):
        try:
            os.mkdir(path[:end], 0o555, dir_fd=mount)
        except FileExistsError:
            continue


def _hand_over(entry: m.autofs_entry, extra: m.woodfrog_autofs_entry, mount: int, context: RestoreContext) -> None:
    """A process of the daemon's group gives the pipe to the kernel, under the number that it had then."""
    from cr.resources.files.pipe import write_end

    task = next((task for task in context.live_tasks if task.entry.pgid == entry.pgrp), None)
    if task is None:
        raise BadImages(f"the process group {entry.pgrp}, which serves an autofs, is not in the images")
    pipe = write_end(extra.pipe_id or _pipe_id(entry, context), context)
    device = context.keep(os.open(autofs.DEVICE, os.O_RDONLY | os.O_CLOEXEC))
    root = context.keep(files.reopen(mount, os.O_RDONLY | os.O_DIRECTORY))
    program = Program()
    slots = context.give(program, [device, root, pipe])
    number = slots[2]
    if entry.fd > number:
        program.call("dup3", number, entry.fd, 0)
        number = entry.fd
    request = program.data(autofs.device_request(slots[1], number))
    program.call("ioctl", slots[0], autofs.SET_PIPE_IOCTL, request, note="AUTOFS_DEV_IOCTL_SETPIPEFD")
    for fd in {*slots, number}:
        program.call("close", fd)
    context.run(task.leader, program)


def _pipe_id(entry: m.autofs_entry, context: RestoreContext) -> int:
    """Other engines name the pipe by a descriptor of the group's leader."""
    leader: RestoreTask | None = next((task for task in context.tasks if task.vpid == entry.pgrp), None)
    wanted = entry.read_fd if entry.HasField("read_fd") else entry.fd
    for slot in leader.fds if leader else ():
        if slot.fd == wanted and slot.id in context.file_entries and context.file_entries[slot.id].HasField("pipe"):
            return int(context.file_entries[slot.id].pipe.pipe_id)
    raise BadImages(f"descriptor {wanted} of task {entry.pgrp}, the pipe of an autofs, is not in the images")
