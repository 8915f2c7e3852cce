"""The mounts of config.json, one by one, onto places that are found safely below the root."""

from __future__ import annotations

import os
import stat

from cr.kernel import mounts as m
from runtime import paths
from runtime.errors import ContainerError, reason
from runtime.init.copyup import copy_tree
from runtime.mount_options import Options, is_bind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from oci.types import Mount
    from runtime.sources import Sources

# what may be mounted over below /proc: files that programs read to learn about their machine
_PROC_FILES = (
    "cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo", "net/dev",
    "sys/kernel/ns_last_pid", "sys/crypto/fips_enabled",
)  # fmt: skip


class Mounter:
    """Mounts below `root_fd`.

    `sources` gives those of bind mounts that this process may not open itself;
    `user`: in a user namespace;
    `cgroups` are (name, host directory) pairs of the container's v1 cgroups, or one ("", directory) for v2.
    """

    def __init__(
        self,
        root_fd: int,
        rootfs: str,
        sources: Sources,
        cgroups: Sequence[tuple[str, str]],
        shared: bool,
        user: bool,
    ) -> None:
        self.root_fd = root_fd
        self.rootfs = rootfs
        self.sources = sources
        self.cgroups = cgroups
        self.shared = shared
        self.user = user
        self.late_readonly: list[str] = []

    def mount_all(self, mounts: list[Mount]) -> None:
        """Every mount, in order.  Raises ContainerError that names source and destination."""
        for index, mount in enumerate(mounts):
            try:
                self._mount(index, {**mount, "destination": self._inside(mount["destination"])})
            except (OSError, ContainerError) as err:
                text = reason(err) if isinstance(err, OSError) else str(err)
                source, place = mount.get("source", ""), mount["destination"]
                raise ContainerError(f'error mounting "{source}" to rootfs at "{place}": {text}') from err

    def _inside(self, destination: str) -> str:
        """A destination may be given as the host's path of a place below the root (older callers do)."""
        below = destination.startswith(self.rootfs + "/")
        return destination[len(self.rootfs) :] if below else destination

    def finish(self) -> None:
        """What must be read-only but had to be written to until now."""
        for path in self.late_readonly:
            fd = paths.open_path(self.root_fd, path)
            m.mount_setattr(fd, "", m.AT_EMPTY_PATH, attr_set=m.MOUNT_ATTR_RDONLY)
            os.close(fd)

    def _mount(self, index: int, mount: Mount) -> None:
        options = Options(mount.get("options") or [])
        place, kind = mount["destination"], mount.get("type", "")
        if is_bind(mount):
            self._bind(index, mount, options)
        elif kind == "cgroup":
            self._cgroup(place, options)
        elif kind in ("proc", "sysfs"):
            self._plain_directory(mount, options)
        elif kind == "tmpfs":
            self._tmpfs(mount, options)
        else:
            self._filesystem(mount, options, paths.ensure(self.root_fd, place, True))
        self._propagate(place, options)

    # -- kinds --

    def _bind(self, index: int, mount: Mount, options: Options) -> None:
        tree = self.sources.tree(index)
        if tree < 0:
            tree = open_source(mount, options)
        target = paths.ensure(self.root_fd, mount["destination"], paths.is_directory(tree))
        self._check_proc(target, tree)
        tree_propagation = 0 if self.shared else m.MS_SLAVE
        if tree_propagation:
            m.mount_setattr(tree, "", m.AT_EMPTY_PATH | m.AT_RECURSIVE, propagation=tree_propagation)
        on, off = options.demanded() if self.user else options.attributes()
        if on or off:
            m.mount_setattr(tree, "", m.AT_EMPTY_PATH, on, off)
        self._tree_attributes(tree, options)
        m.attach(tree, target)
        os.close(tree)
        os.close(target)

    def _plain_directory(self, mount: Mount, options: Options) -> None:
        """proc and sysfs: a symlink on the way would give them to whoever placed it."""
        target = paths.ensure(self.root_fd, mount["destination"], True)
        os.close(target)
        try:
            target = paths.open_plain(self.root_fd, mount["destination"])
        except OSError as err:
            raise ContainerError("it must be mounted on ordinary directory, without symbolic links") from err
        self._filesystem(mount, options, target)

    def _tmpfs(self, mount: Mount, options: Options) -> None:
        """tmpfs takes on the mode of the directory that it covers, and with tmpcopyup its content.

        Where there is none, it is for all, as tmpfs(5) has it.
        """
        place = mount["destination"]
        covers = paths.exists(self.root_fd, place)
        target = paths.ensure(self.root_fd, place, True)
        if "mode=" not in options.data:
            mode = stat.S_IMODE(os.fstat(target).st_mode) if covers else 0o1777
            options.data = ",".join(filter(None, (options.data, f"mode={mode:o}")))
        if options.flags & m.MS_RDONLY:
            self.late_readonly.append(place)
            options.flags &= ~m.MS_RDONLY
        covered = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=target) if options.copy_up else -1
        self._filesystem(mount, options, target)
        if options.copy_up:
            fresh = m.open_in_root(self.root_fd, place, os.O_RDONLY | os.O_DIRECTORY)
            copy_tree(covered, fresh)
            os.close(covered)
            os.close(fresh)

    def _filesystem(self, mount: Mount, options: Options, target: int) -> None:
        self._check_proc(target, -1, mount.get("type", ""))
        source, kind = mount.get("source", ""), mount.get("type", "")
        m.mount(source or kind, paths.proc_path(target), kind, options.flags, options.data or None)
        os.close(target)
        if options.tree != (0, 0):
            fresh = paths.open_path(self.root_fd, mount["destination"])
            self._tree_attributes(fresh, options)
            os.close(fresh)

    def _cgroup(self, place: str, options: Options) -> None:
        """v2: a bind of the container's cgroup; v1: a tmpfs with a bind of each controller's directory."""
        on, off = options.attributes()
        if len(self.cgroups) == 1 and self.cgroups[0][0] == "":
            self._bind_cgroup(self.cgroups[0][1], place, on, off)
            return
        target = paths.ensure(self.root_fd, place, True)
        flags = (options.flags & ~m.MS_RDONLY) | m.MS_NOEXEC | m.MS_NOSUID | m.MS_NODEV
        m.mount("tmpfs", paths.proc_path(target), "tmpfs", flags, "mode=755")
        os.close(target)
        for name, directory in self.cgroups:
            shown = name.removeprefix("name=")
            self._bind_cgroup(directory, os.path.join(place, shown), on, off)
            self._cgroup_links(place, shown)
        if options.flags & m.MS_RDONLY:
            self.late_readonly.append(place)

    def _bind_cgroup(self, directory: str, place: str, on: int, off: int) -> None:
        tree = m.open_tree(m.AT_FDCWD, directory, m.OPEN_TREE_CLONE | m.OPEN_TREE_CLOEXEC)
        m.mount_setattr(tree, "", m.AT_EMPTY_PATH, on, off, m.MS_PRIVATE)
        target = paths.ensure(self.root_fd, place, True)
        m.attach(tree, target)
        os.close(tree)
        os.close(target)

    def _cgroup_links(self, place: str, shown: str) -> None:
        """cpu -> cpu,cpuacct for each controller of a co-mounted hierarchy."""
        names = shown.split(",")
        parent = paths.open_path(self.root_fd, place)
        for name in names if len(names) > 1 else ():
            os.symlink(shown, name, dir_fd=parent)
        os.close(parent)

    # -- helpers --

    def _tree_attributes(self, fd: int, options: Options) -> None:
        on, off = options.tree
        if on or off:
            m.mount_setattr(fd, "", m.AT_EMPTY_PATH | m.AT_RECURSIVE, on, off)

    def _propagate(self, place: str, options: Options) -> None:
        for flag in options.propagation:
            fd = paths.open_path(self.root_fd, place)
            recursive = m.AT_RECURSIVE if flag & m.MS_REC else 0
            m.mount_setattr(fd, "", m.AT_EMPTY_PATH | recursive, propagation=flag & ~m.MS_REC)
            os.close(fd)

    def _check_proc(self, target: int, tree: int, kind: str = "") -> None:
        """Nothing may take the place of /proc but procfs: masking and security labels trust what is there."""
        place = paths.inside(self.root_fd, target)
        if place == "/proc":
            proc_itself = kind == "proc" or (tree >= 0 and _is_procfs(tree))
            if not proc_itself:
                raise ContainerError("only procfs may be mounted at /proc")
        elif place.startswith("/proc/") and place.removeprefix("/proc/") not in _PROC_FILES:
            raise ContainerError(f"{place} is inside of /proc, where nothing may be mounted")


def _is_procfs(fd: int) -> bool:
    """The root directory of procfs has inode number 1 and holds self/."""
    info = os.fstat(fd)
    return info.st_ino == 1 and info.st_nlink > 2 and os.path.isdir(paths.proc_path(fd) + "/self")


def open_source(mount: Mount, options: Options) -> int:
    """A detached copy of the source of a bind mount."""
    source = mount.get("source", "")
    try:
        return tree_at(m.AT_FDCWD, source, options)
    except OSError as err:
        raise ContainerError(f"stat {source}: {os.strerror(err.errno or 0).lower()}") from err


def tree_at(dir_fd: int, path: str, options: Options) -> int:
    """A detached copy of the mount at a place, with the mounts below it if the options say so.  Raises OSError."""
    flags = m.OPEN_TREE_CLONE | m.OPEN_TREE_CLOEXEC | (0 if path else m.AT_EMPTY_PATH)
    return m.open_tree(dir_fd, path, flags | (m.AT_RECURSIVE if options.flags & m.MS_REC else 0))
