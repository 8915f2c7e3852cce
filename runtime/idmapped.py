"""Id-mapped bind mounts: their sources are opened and mapped by us, with the host's privileges, before the fork."""

from __future__ import annotations

import os

from cr.kernel import mounts as m
from cr.kernel.namespaces import CLONE_NEWUSER, fork_into
from runtime.errors import ContainerError, reason
from runtime.init.mounting import open_source
from runtime.mount_options import Options, is_bind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.types import Config, Linux, Mount


def open_trees(config: Config) -> dict[int, int]:
    """{index in `mounts`: detached copy of the source}, for those that the container's process may not open itself.

    These are all bind mounts of a container in a user namespace, whose root may not reach them, and
    id-mapped ones anywhere.
    """
    linux = config.get("linux") or {}
    kinds = [entry["type"] for entry in linux.get("namespaces") or []]
    foreign = os.geteuid() == 0 and "user" in kinds
    trees: dict[int, int] = {}
    for index, mount in enumerate(config.get("mounts") or []):
        options = Options(mount.get("options") or [])
        mapped = wanted(mount, options)
        if mapped and not is_bind(mount):
            raise ContainerError(
                f"the mount at {mount['destination']} is not a bind mount: only these can be id-mapped"
            )
        if is_bind(mount) and (foreign or mapped):
            trees[index] = open_source(mount, options)
        if mapped:
            _map(trees[index], mount, options, linux)
    return trees


def wanted(mount: Mount, options: Options) -> bool:
    """Whether the mount is to be id-mapped."""
    return bool(options.idmap or mount.get("uidMappings") or mount.get("gidMappings"))


def _map(tree: int, mount: Mount, options: Options, linux: Linux) -> None:
    namespace = _namespace(mount, linux)
    try:
        m.mount_idmapped(tree, namespace, options.idmap == "ridmap")
    except OSError as err:
        raise ContainerError(
            f"the mount of {mount.get('source')} at {mount['destination']} cannot be id-mapped: {reason(err)}; "
            "its filesystem may not support that"
        ) from err
    finally:
        os.close(namespace)


def _namespace(mount: Mount, linux: Linux) -> int:
    """A user namespace with the mappings of the mount, or the container's own, or with the container's mappings."""
    if mount.get("uidMappings") or mount.get("gidMappings"):
        if not (mount.get("uidMappings") and mount.get("gidMappings")):
            raise ContainerError(f"the mount at {mount['destination']} needs both uidMappings and gidMappings")
        return namespace_with({"uidMappings": mount["uidMappings"], "gidMappings": mount["gidMappings"]})
    for entry in linux.get("namespaces") or []:
        if entry["type"] == "user":
            path = entry.get("path")
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC) if path else namespace_with(linux)
    raise ContainerError(
        f"the mount at {mount['destination']} has the option idmap, but neither has it mappings nor the container "
        "a user namespace"
    )


def namespace_with(mappings: Linux) -> int:
    """A descriptor of a new user namespace with these mappings; it lives as long as the descriptor."""
    from runtime.launch import write_mappings

    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    pid = fork_into(CLONE_NEWUSER)
    if pid == 0:
        os.close(write_end)
        os.read(read_end, 1)  # until we are done, or have died
        os._exit(0)
    try:
        write_mappings(pid, {"ociVersion": "", "linux": mappings})
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(write_end)
        os.close(read_end)
        os.waitpid(pid, 0)
