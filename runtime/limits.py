"""rlimits and the OOM score of a process that we make; set from outside."""

from __future__ import annotations

import resource

from runtime.check import RLIMITS
from runtime.errors import ContainerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.types import Process, Rlimit

_UNLIMITED = 2**64 - 1


def set_rlimits(pid: int, limits: list[Rlimit]) -> None:
    """prlimit(2) for each; the kernel refuses to raise a hard limit without CAP_SYS_RESOURCE."""
    for limit in limits:
        number = RLIMITS.index(limit["type"].removeprefix("RLIMIT_"))
        pair = (_value(limit["soft"]), _value(limit["hard"]))
        try:
            resource.prlimit(pid, number, pair)
        except PermissionError as err:
            old = resource.prlimit(pid, number)[1]
            raise ContainerError(
                f"error setting rlimits for ready process: error setting rlimit type {number} "
                f"({limit['type']}) to {limit['hard']}: operation not permitted: "
                f"raising it above {old} needs CAP_SYS_RESOURCE"
            ) from err
        except (ValueError, OSError) as err:
            raise ContainerError(f"cannot set {limit['type']} to {pair}: {err}") from err


def _value(number: int) -> int:
    return resource.RLIM_INFINITY if number in (_UNLIMITED, -1) else number


def set_oom_score(pid: int, process: Process) -> None:
    """process.oomScoreAdj.  Lowering it needs CAP_SYS_RESOURCE."""
    score = process.get("oomScoreAdj")
    if score is None:
        return
    path = f"/proc/{pid}/oom_score_adj"
    try:
        with open(path, "r+") as stream:
            if int(stream.read()) != score:
                stream.seek(0)
                stream.write(str(score))
    except PermissionError as err:
        raise ContainerError(f"cannot set oomScoreAdj to {score}: lowering it needs CAP_SYS_RESOURCE") from err
