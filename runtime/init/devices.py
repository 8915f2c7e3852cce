"""Device nodes, the links in /dev, and paths that are masked or made read-only."""

from __future__ import annotations

import os
import stat

from cr.kernel import mounts as m
from runtime import paths
from runtime.errors import ContainerError, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.types import Device

_TYPES = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}
DEFAULT: tuple[tuple[str, int, int], ...] = (
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
)
_LINKS = (
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
)


def all_devices(configured: list[Device]) -> list[Device]:
    """The six that every container has, unless the configuration has one of that name, then its own."""
    named = {os.path.normpath(device["path"]) for device in configured}
    default: list[Device] = [
        {"path": path, "type": "c", "major": major, "minor": minor, "fileMode": 0o666}
        for path, major, minor in DEFAULT
        if path not in named
    ]
    return default + configured


def make_devices(root_fd: int, devices: list[Device], bind: bool) -> None:
    """Make the nodes; with `bind` (in a user namespace mknod is refused) bind the host's instead."""
    for device in devices:
        try:
            if bind:
                bind_device(root_fd, device["path"], device["path"])
            else:
                _make_node(root_fd, device)
        except OSError as err:
            raise ContainerError(f"error creating device node {device['path']}: {reason(err)}") from err


def _make_node(root_fd: int, device: Device) -> None:
    parent, name = os.path.split(os.path.normpath("/" + device["path"]))
    parent_fd = paths.ensure(root_fd, parent, True)
    mode = stat.S_IMODE(device.get("fileMode", 0o666))
    number = os.makedev(device.get("major", 0), device.get("minor", 0))
    try:
        os.mknod(name, _TYPES[device["type"]] | mode, number, dir_fd=parent_fd)
    except FileExistsError:
        return
    else:
        os.chown(name, device.get("uid", 0), device.get("gid", 0), dir_fd=parent_fd, follow_symlinks=False)
        os.chmod(name, mode, dir_fd=parent_fd)
    finally:
        os.close(parent_fd)


def bind_device(root_fd: int, source: str, place: str) -> None:
    """Bind a file of the host onto a file below the root."""
    tree = m.open_tree(m.AT_FDCWD, source, m.OPEN_TREE_CLONE | m.OPEN_TREE_CLOEXEC)
    attach_tree(root_fd, tree, place)


def attach_tree(root_fd: int, tree: int, place: str) -> None:
    """Attach a detached mount of a file onto a file below the root, which is made if need be."""
    target = paths.ensure(root_fd, place, False)
    m.attach(tree, target)
    os.close(target)
    os.close(tree)


def make_links(root_fd: int) -> None:
    """/dev/fd, /dev/stdin and so on, /dev/core, and /dev/ptmx of the container's own devpts."""
    dev = paths.ensure(root_fd, "/dev", True)
    links = list(_LINKS)
    if os.path.exists("/proc/kcore"):
        links.append(("/proc/kcore", "core"))
    for target, name in links:
        _symlink(target, name, dev)
    if paths.exists(root_fd, "/dev/pts/ptmx"):
        _replace_ptmx(dev)
    os.close(dev)


def _replace_ptmx(dev: int) -> None:
    """Whatever /dev/ptmx is, the container's own devpts takes its place."""
    os.symlink("pts/ptmx", ".ptmx", dir_fd=dev)
    os.rename(".ptmx", "ptmx", src_dir_fd=dev, dst_dir_fd=dev)


def _symlink(target: str, name: str, dev: int) -> None:
    try:
        os.symlink(target, name, dir_fd=dev)
    except FileExistsError:
        return


def mask(root_fd: int, masked: list[str]) -> None:
    """Cover files with the host's /dev/null and directories with an empty read-only tmpfs, the same for all."""
    empty = -1
    for path in dict.fromkeys(os.path.normpath(path) for path in masked):
        try:
            target = paths.open_path(root_fd, path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if not paths.is_directory(target):
            _cover(target, m.AT_FDCWD, "/dev/null", 0)
        elif empty >= 0:
            _cover(target, empty, "", m.AT_EMPTY_PATH)
        else:
            m.mount("tmpfs", paths.proc_path(target), "tmpfs", m.MS_RDONLY)
            empty = paths.open_path(root_fd, path)
        os.close(target)
    if empty >= 0:
        os.close(empty)


def _cover(target: int, source_fd: int, source: str, flags: int) -> None:
    tree = m.open_tree(source_fd, source, m.OPEN_TREE_CLONE | m.OPEN_TREE_CLOEXEC | flags)
    m.attach(tree, target)
    os.close(tree)


def make_paths_readonly(root_fd: int, readonly: list[str]) -> None:
    """Bind each path onto itself, read-only."""
    for path in readonly:
        try:
            target = paths.open_path(root_fd, path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        flags = m.AT_EMPTY_PATH | m.AT_RECURSIVE
        tree = m.open_tree(target, "", m.OPEN_TREE_CLONE | m.OPEN_TREE_CLOEXEC | flags)
        m.mount_setattr(tree, "", m.AT_EMPTY_PATH, attr_set=m.MOUNT_ATTR_RDONLY)
        m.attach(tree, target)
        os.close(tree)
        os.close(target)
