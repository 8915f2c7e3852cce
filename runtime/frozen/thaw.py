"""The restore of a container: record, cgroup, root, then the engine; we adopt the process that it makes."""

from __future__ import annotations

import os
from functools import partial

from cr.kernel import mounts as m
from cr.kernel.namespaces import CLONE_NEWNET, setns
from cr.kernel.netdevice import set_link_up
from runtime import cgroup, check, limits, paths
from runtime.container import Container, new_record
from runtime.create import make_cgroup, others_in_cgroup, undo, write_pid_file
from runtime.delete import RESTORE_ROOT, unmount_restore_root
from runtime.engine import Engine, RestoreRequest
from runtime.errors import ContainerError
from runtime.frozen import binds, stdio
from runtime.frozen.freeze import check_rights
from runtime.frozen.options import configured
from runtime.mount_options import is_bind
from runtime.namespaces import Namespaces
from runtime.namespaces import check as check_namespaces
from runtime.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cgroups import Manager
    from oci.types import Config
    from runtime.context import Context
    from runtime.report import Reporter


class Thaw:
    """One restore.  `console` is a socket that takes the master of a terminal, or -1."""

    def __init__(
        self, store: Store, manager: Manager, bundle: str, rootfs: str, config: Config, reporter: Reporter
    ) -> None:
        self.container = Container(store, new_record(bundle, rootfs, config, cgroup.record(manager)))
        self.manager = manager
        self.config = config
        self.spaces = Namespaces(config.get("linux") or {})
        self.console = -1
        self.reporter = reporter
        self.pid_file = ""
        self.waits = False  # for `start`, in a frozen cgroup

    @classmethod
    def of(cls, context: Context, name: str, bundle: str, config: Config) -> Thaw:
        """The restore of a bundle under a name.  Raises ContainerError for a configuration that we refuse."""
        rootfs = check.rootfs_of(config, bundle)
        check_namespaces(config, Namespaces(config.get("linux") or {}))
        manager = cgroup.new_manager(config, name, context.systemd_cgroup, context.rootless)
        return cls(Store(context.root, name), manager, bundle, rootfs, config, context.reporter)

    def run(self, engine: Engine, directory: str, options: dict[str, Any]) -> int:
        """Restore; the pid of init.  A failure leaves nothing behind."""
        check_rights()
        self.container.store.check_free()
        if count := others_in_cgroup(self.manager):  # an image brings its cgroupsPath along, for each of its twins
            self.reporter.warn(f"container's cgroup is not empty: {count} process(es) found")
        if options.get("manage_cgroups") == "strict":
            self._check_strict()
            options = {**options, "manage_cgroups": "full"}  # what the engine will find there is of our own making
        self.container.store.make()
        try:
            self.container.record["stdio"] = stdio.after_restore(directory)
            self.container.save()
            make_cgroup(self.container, self.manager)
            root = self._bind_root()
            pid = engine.restore(self._compose(root, directory, options), self.notify)
            unmount_restore_root(self.container.store)
            self.adopt(pid)
        except BaseException as err:
            unmount_restore_root(self.container.store)
            undo(self.container, err)
            raise
        return pid

    def _check_strict(self) -> None:
        if self.manager.exists():
            place = next(iter(self.manager.paths().values()))
            raise ContainerError(f"cgroup {place} is there already; remove it, or use a mode of cgroups but strict")

    # -- what the engine gets --

    def _compose(self, root: str, directory: str, options: dict[str, Any]) -> RestoreRequest:
        inherit, join = binds.restore_namespaces(self.spaces, lambda path: os.open(path, os.O_RDONLY))
        request = compose(
            self.config,
            directory,
            {
                "root": root,
                "inherit_fd": stdio.inherit(stdio.read(directory)) + inherit,
                "join_ns": join,
                "external": _brought_along(self.config),
            },
            cgroup.for_mounts(self.manager),
            binds.cgroup_roots(cgroup.membership_paths(self.manager)),
            options,
            partial(paths.resolved, root),
        )
        return RestoreRequest(directory, configured(request.options, self.container.annotations()))

    def _bind_root(self) -> str:
        """A copy of the root's mounts in the state directory, with a place for each mount.

        Attached only as a slave of them: lazily unmounting it must not reach the mounts that it was made of, but
        a root of the container that was a slave of the host (as under Docker) becomes one again.
        """
        place = self.container.store.path(RESTORE_ROOT)
        rootfs: str = self.container.record["rootfs"]
        os.mkdir(place, 0o755)
        flags = m.OPEN_TREE_CLONE | m.OPEN_TREE_CLOEXEC | m.AT_RECURSIVE
        tree = m.open_tree(m.AT_FDCWD, rootfs, flags)
        m.mount_setattr(tree, "", m.AT_EMPTY_PATH | m.AT_RECURSIVE, propagation=m.MS_SLAVE)
        target = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        m.attach(tree, target)
        os.close(target)
        os.close(tree)
        make_places(place, self.config)
        return place

    # -- what the engine tells --

    def notify(self, event: str, pid: int, fd: int | None) -> None:
        """setup-namespaces: cgroup, lo, hooks; post-restore: the record; orphan-pts-master: the terminal.

        pre-resume: all tasks stand still yet, so that not one of them runs in a container that waits for its start.
        """
        if event == "setup-namespaces":
            self._set_up(pid)
        elif event == "post-restore":
            self.adopt(pid)
        elif event == "pre-resume" and self.waits:
            self._hold()
        elif event == "orphan-pts-master" and fd is not None:
            self._send_master(fd)

    def _set_up(self, pid: int) -> None:
        from cgroups import CgroupError

        try:
            self.manager.attach(pid)
        except CgroupError as err:
            raise ContainerError(str(err)) from err
        limits.set_oom_score(pid, self.config.get("process") or {"cwd": "/"})
        self.container.set_init(pid)
        self.container.save()
        if "network" in self.spaces.new:
            set_loopback_up_in(pid)
        self.container.run_hooks("prestart", "created")
        self.container.run_hooks("createRuntime", "creating")

    def _hold(self) -> None:
        from cgroups import CgroupError

        try:
            self.manager.freeze()
        except CgroupError as err:
            raise ContainerError(f"the container cannot wait for its start: {err}") from err

    def adopt(self, pid: int) -> None:
        """The process is the container's init from now on."""
        if self.container.record["ready"] and self.container.pid == pid:
            return
        self.container.set_init(pid)
        self.container.record["ready"], self.container.record["waits"] = True, self.waits
        self.container.save()
        if self.pid_file:
            write_pid_file(self.pid_file, pid)

    def _send_master(self, fd: int) -> None:
        if self.console < 0:
            raise ContainerError("the container has a terminal: give --console-socket, or do not detach")
        from runtime.init.console import name_of, send_master

        send_master(self.console, fd, name_of(fd))


def compose(
    config: Config,
    directory: str,
    places: dict[str, Any],
    cgroups: list[tuple[str, str]],
    roots: list[str],
    options: dict[str, Any],
    resolve: binds.Resolve = str,
) -> RestoreRequest:
    """The request; pure.  `places` has root, inherit_fd, join_ns, and what else is external."""
    composed = {
        "log_file": "restore.log",
        "verbosity": 4,
        "restore_detached": True,
        "orphan_pts_master": True,
        "evasive_devices": True,
        **{name: value for name, value in places.items() if value},
        "external": [*binds.restore_externals(config, cgroups, resolve), *places.get("external", [])],
        **options,
    }
    if options.get("manage_cgroups") not in ("ignore", "none"):
        composed["cgroup_root"] = roots
    return RestoreRequest(directory, composed)


def _brought_along(config: Config) -> list[str]:
    """--external for what lies below recursive bind mounts on this host; the images say what of it is needed."""
    if not binds.brings_along(config):
        return []
    from cr.kernel.mountinfo import mountinfo

    return [f"mnt[{place}]:{below.mountpoint}" for place, below in binds.below_binds(config, mountinfo("self"))]


def make_places(root: str, config: Config) -> None:
    """The files and directories that mounts go onto; a fresh rootfs, or the source of a bind mount, may lack them."""
    covered = {"": root}  # place of a directory: what of the host will be there; "" if that is not known yet
    for mount in config.get("mounts") or []:
        place = os.path.normpath(mount["destination"])
        source = os.path.abspath(mount.get("source", "")) if is_bind(mount) else ""
        directory = not source or os.path.isdir(source)
        above = max((other for other in covered if place.startswith(other + "/")), key=len)
        if covered[above]:
            _make_place(covered[above], place[len(above) :], directory)
        if directory:
            covered[place] = source


def _make_place(root: str, place: str, directory: bool) -> None:
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(paths.ensure(root_fd, place, directory))
    finally:
        os.close(root_fd)


def set_loopback_up_in(pid: int) -> None:
    """Set lo up in the network namespace of the process; a child enters it, so that we stay where we are."""
    fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        try:
            setns(fd, CLONE_NEWNET)
            set_link_up("lo")
            os._exit(0)
        finally:
            os._exit(1)
    os.close(fd)
    if os.waitpid(child, 0)[1] != 0:
        raise ContainerError(f"cannot set lo up in the network namespace of process {pid}")
