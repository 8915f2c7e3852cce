"""The features structure (features.md): what this runtime knows, for `woodfrog features`."""

from __future__ import annotations

from oci.hooks import KINDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


def features(
    mount_options: Sequence[str],
    namespaces: Sequence[str],
    capabilities: Sequence[str],
    seccomp: dict[str, Any],
    annotations: dict[str, str],
) -> dict[str, Any]:
    """The document; what belongs to the layers above is handed in."""
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.0.2-dev",
        "hooks": list(KINDS),
        "mountOptions": list(mount_options),
        "linux": {
            "namespaces": list(namespaces),
            "capabilities": list(capabilities),
            "cgroup": {"v1": True, "v2": True, "systemd": False, "systemdUser": False},
            "seccomp": seccomp,
            "apparmor": {"enabled": False},
            "selinux": {"enabled": False},
        },
        "annotations": annotations,
    }
