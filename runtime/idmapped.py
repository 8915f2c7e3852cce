"""Id-mapped bind mounts: whose ids a mount shows, and the mapping of a detached copy of its source."""

from __future__ import annotations

import os

from cr.kernel import mounts as m
from cr.kernel.namespaces import CLONE_NEWUSER, fork_into
from runtime.errors import ContainerError, reason
from runtime.mount_options import Options, is_bind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.types import Linux, Mount


def namespace_of(mount: Mount, options: Options, linux: Linux) -> int:
    """A descriptor of a user namespace with the mappings of the mount, or the container's own, or with the
    container's mappings; -1 where the mount is not to be id-mapped.  Raises ContainerError.
    """
    place, own = mount["destination"], bool(mount.get("uidMappings") or mount.get("gidMappings"))
    if not (options.idmap or own):
        return -1
    if not is_bind(mount):
        raise ContainerError(f"the mount at {place} is not a bind mount: only these can be id-mapped")
    if own:
        if not (mount.get("uidMappings") and mount.get("gidMappings")):
            raise ContainerError(f"the mount at {place} needs both uidMappings and gidMappings")
        return namespace_with({"uidMappings": mount["uidMappings"], "gidMappings": mount["gidMappings"]})
    for entry in linux.get("namespaces") or []:
        if entry["type"] == "user":
            path = entry.get("path")
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC) if path else namespace_with(linux)
    raise ContainerError(
        f"the mount at {place} has the option idmap, but neither has it mappings nor the container a user namespace"
    )


def map_tree(tree: int, namespace: int, mount: Mount, options: Options) -> None:
    """Show a detached tree through the mappings of a user namespace.  Raises ContainerError."""
    try:
        m.mount_idmapped(tree, namespace, options.idmap == "ridmap")
    except OSError as err:
        raise ContainerError(
            f"the mount of {mount.get('source')} at {mount['destination']} cannot be id-mapped: {reason(err)}; "
            "its filesystem may not support that"
        ) from err


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
