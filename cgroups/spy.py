"""cgroupspy's typed v1 controllers on a directory of ours.

cgroupspy wants a node of the tree that it walks itself; a controller only ever asks for the node's
full path, so this gives it just that.  The import costs about 7 ms, hence only inside the functions.
"""

from __future__ import annotations

import os

from values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@dataclass(frozen=True)
class _At:
    full_path: bytes


def cpu(path: str) -> Any:
    """cgroupspy.controllers.CpuController of this directory."""
    from cgroupspy.controllers import CpuController

    return CpuController(_At(os.fsencode(path)))


def cpuacct(path: str) -> Any:
    """cgroupspy.controllers.CpuAcctController of this directory."""
    from cgroupspy.controllers import CpuAcctController

    return CpuAcctController(_At(os.fsencode(path)))


def memory(path: str) -> Any:
    """cgroupspy.controllers.MemoryController of this directory."""
    from cgroupspy.controllers import MemoryController

    return MemoryController(_At(os.fsencode(path)))


def devices(path: str) -> Any:
    """cgroupspy.controllers.DevicesController of this directory."""
    from cgroupspy.controllers import DevicesController

    return DevicesController(_At(os.fsencode(path)))
