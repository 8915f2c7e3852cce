"""devpts: an instance of pseudo terminals (Documentation/filesystems/devpts.rst)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cr.contract.filesystem import FilesystemResource

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext
    from cr.kernel.mountinfo import Mount


class Devpts(FilesystemResource):
    """Its terminals come back with the tasks that have them open."""

    names = ("devpts",)
    code = 6

    @classmethod
    def options(cls, mount: Mount, context: DumpContext) -> str:
        """Every mount is an instance of its own today, but the kernel does not show the option that once said so."""
        return ",".join(word for word in (mount.options, "newinstance") if word)
