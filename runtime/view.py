"""A container as state and list show it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.types import State
    from runtime.container import Container


def summary(container: Container) -> State:
    """The state of the specification with rootfs, created and owner; pid 0 when stopped."""
    from oci.state import OCI_VERSION

    status = container.status()
    result: State = {
        "ociVersion": OCI_VERSION,
        "id": container.id,
        "pid": 0 if status == "stopped" else container.pid,
        "status": status,
        "bundle": container.record["bundle"],
        "rootfs": container.record["rootfs"],
        "created": container.record["created"],
    }
    if annotations := container.annotations():
        result["annotations"] = annotations
    result["owner"] = ""
    return result
