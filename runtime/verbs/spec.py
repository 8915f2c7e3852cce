"""spec: write a starter config.json."""

from __future__ import annotations

import json
import os

from oci.spec import default_config, rootless_config
from runtime.errors import ContainerError
from runtime.options import Option, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runtime.context import Context

VERB = Verb(
    "spec",
    "create a new specification file",
    minimum=0,
    maximum=0,
    options=(
        Option("bundle", "path to the root of the bundle directory", short="b"),
        Option("rootless", "generate a configuration for a rootless container", "flag"),
    ),
)


def run(context: Context, values: dict[str, Any], arguments: list[str]) -> int:
    """Write it, but never over one that is there."""
    path = os.path.join(values["bundle"], "config.json")
    pure_v2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    config = rootless_config(pure_v2) if values["rootless"] else default_config(pure_v2)
    try:
        with open(path, "x") as stream:
            json.dump(config, stream, indent="\t")
            stream.write("\n")
    except FileExistsError as err:
        raise ContainerError("File config.json exists. Remove it first") from err
    return 0
