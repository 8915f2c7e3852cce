"""Sources of bind mounts that the container's process may not open itself: we do, with the host's privileges.

These are all bind mounts of a container in a user namespace, whose root may not reach their sources, and id-mapped ones
anywhere.  A source is opened before the fork, in the host's view.  But one in the container's own root may be what an
earlier mount of the container makes there: it is opened when its turn comes, by a helper of ours in the container's
mount namespace.
"""

from __future__ import annotations

import os
import signal

from cr.kernel import prctl
from cr.kernel.namespaces import CLONE_NEWNS, fork_into, setns
from runtime import idmapped, paths
from runtime.errors import ContainerError, reason
from runtime.init.mounting import open_source, tree_at
from runtime.mount_options import Options, is_bind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.types import Config, Mount

_LONGEST = 4096  # of an error's sentence, in bytes


class Source:
    """Of one bind mount.  `mapping` is the user namespace whose ids it shows, or -1."""

    def __init__(self, mount: Mount, options: Options, mapping: int) -> None:
        self.mount = mount
        self.options = options
        self.mapping = mapping
        self.path = os.path.realpath(mount.get("source", ""))

    def open(self) -> int:
        """A detached copy in the host's view."""
        return self._mapped(open_source(self.mount, self.options))

    def open_below(self, rootfs: str) -> int:
        """A detached copy of what is there now.  Links that earlier mounts have brought stay within the root."""
        root_fd = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            place = paths.open_path(root_fd, os.path.relpath(self.path, rootfs))
            tree = tree_at(place, "", self.options)
            os.close(place)
        except OSError as err:
            raise ContainerError(f"stat {self.path}: {os.strerror(err.errno or 0).lower()}") from err
        finally:
            os.close(root_fd)
        return self._mapped(tree)

    def close(self) -> None:
        """Nothing more is to be id-mapped for it."""
        if self.mapping >= 0:
            os.close(self.mapping)

    def _mapped(self, tree: int) -> int:
        if self.mapping >= 0:
            idmapped.map_tree(tree, self.mapping, self.mount, self.options)
        return tree


class Sources:
    """By index in `mounts`: `trees` are open; `late` are opened by a helper, which the container's process asks.

    `tree` and `done` are for the child, `serve` and `close` for the parent.
    """

    def __init__(self, config: Config, rootfs: str) -> None:
        self._rootfs = rootfs
        self.trees: dict[int, int] = {}
        self.late: dict[int, Source] = {}
        self._helper = 0
        linux = config.get("linux") or {}
        foreign = os.geteuid() == 0 and any(entry["type"] == "user" for entry in linux.get("namespaces") or [])
        for index, mount in enumerate(config.get("mounts") or []):
            options = Options(mount.get("options") or [])
            mapping = idmapped.namespace_of(mount, options, linux)
            if mapping >= 0 or (foreign and is_bind(mount)):
                self._add(index, Source(mount, options, mapping))
        if self.late:
            import socket  # the child, which cannot import, finds it loaded

            self._asking, self._answering = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def _add(self, index: int, source: Source) -> None:
        if os.path.commonpath((source.path, self._rootfs)) == self._rootfs:
            self.late[index] = source
        else:
            self.trees[index] = source.open()
            source.close()

    def tree(self, index: int) -> int:
        """A detached copy of the source, -1 where the child may open it itself.  Raises ContainerError."""
        if index not in self.late:
            return self.trees.get(index, -1)
        import socket

        self._answering.close()  # not ours: so that we see the helper end
        try:
            self._asking.send(str(index).encode(), socket.MSG_NOSIGNAL)
            text, fds, _, _ = socket.recv_fds(self._asking, _LONGEST, 1, socket.MSG_CMSG_CLOEXEC)
        except OSError as err:
            raise ContainerError(f"the process that opens the sources of mounts has ended: {reason(err)}") from err
        if not fds:
            raise ContainerError(os.fsdecode(text) or "the process that opens the sources of mounts has ended")
        return fds[0]

    def done(self) -> None:
        """All mounts are made: the helper may end."""
        if self.late:
            self._asking.close()
        for source in self.late.values():
            source.close()

    def serve(self, pid: int) -> None:
        """Let a helper answer the process `pid`, which is in its namespaces; we give up our descriptors."""
        if self.late:
            self._helper = fork_into(0)
            if self._helper == 0:
                self._help(pid)
            self._asking.close()
            self._answering.close()
        for source in self.late.values():
            source.close()
        for tree in self.trees.values():
            os.close(tree)

    def close(self) -> None:
        """End the helper: all mounts are made, or never will be."""
        if self._helper:
            os.kill(self._helper, signal.SIGKILL)
            os.waitpid(self._helper, 0)
            self._helper = 0

    def _help(self, pid: int) -> None:
        """Answer until nobody asks; never returns.  It holds nothing that outlives it."""
        try:
            prctl.set_parent_death_signal(signal.SIGKILL)
            self._asking.close()
            setns(os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC), CLONE_NEWNS)
            while index := self._answering.recv(16):
                self._answer(self.late[int(index)])
        except OSError as err:
            self._refuse(reason(err))
        finally:
            os._exit(1)

    def _answer(self, source: Source) -> None:
        import socket

        try:
            tree = source.open_below(self._rootfs)
        except (ContainerError, OSError) as err:
            self._refuse(reason(err) if isinstance(err, OSError) else str(err))
            return
        socket.send_fds(self._answering, [b"tree"], [tree])
        os.close(tree)

    def _refuse(self, text: str) -> None:
        self._answering.send(os.fsencode(text)[:_LONGEST])
