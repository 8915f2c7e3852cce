"""The state JSON of a container (runtime.md, state), as hooks get it on standard input."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.types import State

OCI_VERSION = "1.0.2-dev"


def state(container: str, status: str, bundle: str, pid: int = 0, annotations: dict[str, str] | None = None) -> State:
    """The state object; `pid` is left out where there is no process, `annotations` where there are none."""
    result: State = {"ociVersion": OCI_VERSION, "id": container, "status": status, "bundle": bundle}
    if pid:
        result["pid"] = pid
    if annotations:
        result["annotations"] = annotations
    return result
