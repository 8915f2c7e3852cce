"""Bind mounts of files and directories that have been removed since: made for a moment, mounted, removed again."""

from __future__ import annotations

import os
import stat
from functools import partial
from types import TracebackType
from typing import Self

from cr.contract.idmaps import gids, uids
from cr.kernel.ids import making_files_as
from cr.model import CheckpointError
from cr.resources.mounts.machinery.nodes import Node
from cr.resources.mounts.machinery.workshop import Workshop


class DeletedParts:
    """What has to exist while the mounts are put together.  `remove` takes it away; so does an error."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self._made: list[tuple[str, bool]] = []
        """(path, is a directory), parents first"""

    def __enter__(self) -> Self:
        nodes = [node for node in self._workshop.plan.nodes if node.entry.deleted and node.part]
        context = self._workshop.context
        with making_files_as(uids(context).outside(0), gids(context).outside(0)):
            for node in nodes:
                self._make(node)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def remove(self) -> None:
        while self._made:
            path, directory = self._made.pop()
            (os.rmdir if directory else os.unlink)(path)

    def _make(self, node: Node) -> None:
        parts = node.part.split("/")
        for depth in range(1, len(parts)):
            self._add(node, "/".join(parts[:depth]), directory=True)
        self._add(node, node.part, directory=self._on_directory(node))

    def _base(self, node: Node) -> str:
        fd = self._workshop.source_fds.get(node.source)
        if fd is None:
            raise CheckpointError(f"{node} was removed from {node.source.fsname}, which is mounted too late for that")
        return f"/proc/self/fd/{fd}"

    def _add(self, node: Node, part: str, *, directory: bool) -> None:
        """Something new; what exists by that name is taken as it is, unless it is of the other kind."""
        path = f"{self._base(node)}/{part}"
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            if directory:
                os.mkdir(path, 0o700)
            else:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            self._made.append((path, directory))
            if node.source.path is not None:  # on the host's disk; a filesystem of the container's dies with it
                undo = partial(os.rmdir if directory else os.unlink, os.path.join(node.source.path, part))
                self._workshop.context.undo.append(undo)
            return
        if stat.S_ISDIR(found.st_mode) != directory:
            raise CheckpointError(f"/{part} in {node.source.path or node.source.fsname} is in the way of {node}")

    def _on_directory(self, node: Node) -> bool:
        """A directory can be mounted on a directory only, a file on anything else."""
        if node.parent is None or not node.where:
            return True
        base = self._base(node.parent)
        return os.path.isdir(os.path.join(base, node.parent.part, node.where))
