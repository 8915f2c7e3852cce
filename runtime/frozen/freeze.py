"""The checkpoint of a container."""

from __future__ import annotations

import os
import stat
from functools import partial

from runtime import cgroup, paths
from runtime.engine import DumpRequest, Engine
from runtime.errors import ContainerError, reason
from runtime.frozen import binds, stdio
from runtime.frozen.options import configured
from runtime.namespaces import Namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from runtime.container import Container

DEFAULT_DIRECTORY = "checkpoint"


def image_directory(values: dict[str, Any], create: bool) -> str:
    """The absolute image directory, by default "checkpoint" where we stand.  The work path is made too."""
    path = os.path.abspath(values["image_path"] or DEFAULT_DIRECTORY)
    try:
        if create:
            os.makedirs(path, 0o700, exist_ok=True)
        elif not os.path.isdir(path):
            raise ContainerError(f"there is no image directory {path}; name one with --image-path")
        if values["work_path"]:
            values["work_path"] = os.path.abspath(values["work_path"])
            os.makedirs(values["work_path"], 0o700, exist_ok=True)
    except OSError as err:
        raise ContainerError(f"cannot make the directory {reason(err)}") from err
    return path


def check_parent(directory: str, parent: str) -> None:
    """runc's rules: relative to the image directory, and there."""
    if not parent:
        return
    if os.path.isabs(parent):
        raise ContainerError("--parent-path must be relative to --image-path")
    if not os.path.isdir(os.path.join(directory, parent)):
        raise ContainerError(f"there is no directory {os.path.join(directory, parent)} (--parent-path)")


def check_rights() -> None:
    """CAP_CHECKPOINT_RESTORE alone reaches the tasks of a container, but not into its namespaces (setns(2))."""
    from cr.kernel.capabilities import has

    if not (os.geteuid() == 0 or has("CAP_SYS_ADMIN")):
        raise ContainerError(
            "a container is in namespaces of its own, which only CAP_SYS_ADMIN may enter: "
            "checkpoint and restore it as root"
        )


def check_status(container: Container) -> None:
    """Only what runs can be frozen; a paused container can too."""
    status = container.status()
    if status not in ("running", "paused"):
        raise ContainerError(f"Container cannot be checkpointed in {status} state")


def compose(
    container: Container,
    directory: str,
    options: dict[str, Any],
    cgroups: Sequence[tuple[str, str]],
    masked_files: Sequence[str],
) -> DumpRequest:
    """The request for this container; looks at its record, where its mounts lie, and inodes of joined namespaces."""
    config = container.config
    spaces = Namespaces(config.get("linux") or {})
    resolve = partial(paths.resolved, f"/proc/{container.pid}/root")
    external = [*binds.dump_externals(config, cgroups, masked_files, resolve), *options.get("external", [])]
    external += _carried_along(container)
    external += binds.dump_namespaces(spaces, lambda path: os.stat(path).st_ino)
    freezer: str = container.record["cgroup"]["freezer"]
    return DumpRequest(
        container.pid,
        directory,
        {
            "log_file": "dump.log",
            "verbosity": 4,
            "orphan_pts_master": True,
            "root": container.record["rootfs"],
            "freeze_cgroup": freezer,
            "evasive_devices": True,
            **options,
            "external": external,
        },
    )


def _carried_along(container: Container) -> list[str]:
    """--external for the host's mounts that recursive bind mounts have brought in."""
    if not binds.brings_along(container.config):
        return []
    from cr.kernel.mountinfo import mountinfo

    rows = binds.carried_along(container.config, mountinfo("self"), mountinfo(container.pid))
    return [f"mnt[{place}]:{place}" for place, _ in rows]


def masked_files(container: Container) -> list[str]:
    """Those masked paths that are files in the container: /dev/null lies over them."""
    found = []
    for path in (container.config.get("linux") or {}).get("maskedPaths") or []:
        try:
            mode = os.stat(f"/proc/{container.pid}/root{path}").st_mode
        except OSError:
            continue  # this kernel has no such file, so nothing was masked
        if not stat.S_ISDIR(mode):
            found.append(path)
    return found


def freeze(container: Container, engine: Engine, directory: str, options: dict[str, Any]) -> None:
    """Dump the container.  One that was paused and runs on stays paused.  The caller holds the lock."""
    check_rights()
    paused = container.status() == "paused"
    manager = container.manager()
    outside = [*_write_stdio(container, directory), *options.get("external", [])]
    cgroups, masked = cgroup.for_mounts(manager), masked_files(container)
    request = compose(container, directory, {**options, "external": outside}, cgroups, masked)
    final = configured(request.options, container.annotations())
    if not os.path.isdir(final["freeze_cgroup"]):
        del final["freeze_cgroup"]  # made without privileges, it has none
    engine.dump(DumpRequest(request.pid, directory, final), lambda event, pid, fd: None)
    if paused and container.running() and not manager.frozen():
        manager.freeze()


def _write_stdio(container: Container, directory: str) -> list[str]:
    record = container.record["stdio"] or stdio.look(container.pid)
    if record is None:
        raise ContainerError(f"cannot look at the descriptors of process {container.pid}; checkpoint as root")
    return stdio.write(directory, record)
