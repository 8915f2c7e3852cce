"""features: what this runtime can do, as JSON."""

from __future__ import annotations

import json

from runtime.options import Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runtime.context import Context

VERB = Verb("features", "show the enabled features", minimum=0, maximum=0)


def run(context: Context, values: dict[str, Any], arguments: list[str]) -> int:
    """Print them."""
    from cr.kernel.capabilities import NAMES as CAPABILITIES
    from oci.features import features
    from runtime.main import VERSION
    from runtime.mount_options import NAMES as MOUNT_OPTIONS
    from runtime.namespaces import KERNEL_NAMES
    from runtime.seccomp import ACTIONS, ARCHITECTURES, FLAGS, OPERATORS

    actions = sorted({*ACTIONS, "SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"})
    seccomp = {
        "enabled": True,
        "actions": actions,
        "operators": sorted(f"SCMP_CMP_{name}" for name in OPERATORS),
        "archs": sorted(ARCHITECTURES),
        "knownFlags": sorted(FLAGS),
        "supportedFlags": sorted(FLAGS),
    }
    about = {
        "io.github.woodfrog.version": VERSION,
        "org.opencontainers.runc.checkpoint.enabled": "true",
    }
    print(json.dumps(features(MOUNT_OPTIONS, sorted(KERNEL_NAMES), CAPABILITIES, seccomp, about), indent=4))
    return 0
