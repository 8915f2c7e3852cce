"""binfmt_misc (Documentation/admin-guide/binfmt-misc.rst): interpreters registered in a user namespace's instance.

The initial user namespace has one instance for the whole host, whose entries stay where they are.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cr.contract.filesystem import FilesystemResource
from cr.kernel import proc

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext
    from cr.contract.restoring import RestoreContext
    from cr.kernel.mountinfo import Mount
    from images import messages as m

_CONTROLS = frozenset({"register", "status"})


class BinfmtMisc(FilesystemResource):
    """binfmt-misc.img, an entry each."""

    names = ("binfmt_misc",)
    code = 4
    everywhere = True
    has_content = True

    @classmethod
    def dump(cls, mount: Mount, fd: int, context: DumpContext) -> None:
        if proc.namespace_inode(context.root.pid, "user") == proc.namespace_inode("self", "user"):
            return
        names = sorted(set(os.listdir(f"/proc/self/fd/{fd}")) - _CONTROLS)
        if names:
            context.images.write("binfmt-misc", entries=[parse(name, _read(fd, name)) for name in names])

    @classmethod
    def fill(cls, device: int, fd: int, context: RestoreContext) -> None:
        if not context.images.exists("binfmt-misc"):
            return
        there = set(os.listdir(f"/proc/self/fd/{fd}"))
        for entry in context.images.read("binfmt-misc"):
            if entry.name not in there:
                _write(fd, "register", registration(entry))
                if not entry.enabled:
                    _write(fd, entry.name, "0")


def parse(name: str, text: str) -> m.binfmt_misc_entry:
    """From what the kernel shows of an entry."""
    from images import messages as m

    lines = text.splitlines()
    fields = dict(line.replace(":", "").partition(" ")[::2] for line in lines[1:])
    entry = m.binfmt_misc_entry(name=name, enabled=lines[0] == "enabled", interpreter=fields["interpreter"])
    entry.flags = fields.get("flags", "").strip()
    if "extension" in fields:
        entry.extension = fields["extension"].removeprefix(".")
    else:
        entry.magic, entry.offset = fields["magic"], int(fields["offset"])
        if "mask" in fields:
            entry.mask = fields["mask"]
    return entry


def registration(entry: m.binfmt_misc_entry) -> str:
    """What registers an entry: :name:type:offset:magic:mask:interpreter:flags."""
    if entry.HasField("extension"):
        match = f"E::{entry.extension}:"
    else:
        match = f"M:{entry.offset}:{_escaped(entry.magic)}:{_escaped(entry.mask)}"
    return f":{entry.name}:{match}:{entry.interpreter}:{entry.flags}"


def _escaped(digits: str) -> str:
    return "".join(f"\\x{digits[i : i + 2]}" for i in range(0, len(digits), 2))


def _read(directory: int, name: str) -> str:
    with open(f"/proc/self/fd/{directory}/{name}") as file:
        return file.read()


def _write(directory: int, name: str, text: str) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
