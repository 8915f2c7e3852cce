"""How a process is scheduled and placed: process.scheduler, ioPriority, execCPUAffinity, linux.personality and
linux.memoryPolicy.  Read and checked before anything is made; set by the process itself (what only it can set), or
from outside.
"""

from __future__ import annotations

import os

from cr.kernel import scheduling as s
from runtime.errors import ContainerError, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from oci.types import Config, Process

_IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
_IO_CLASS_SHIFT = 13
_MAX_NODE = 1023  # MAX_NUMNODES of the largest configuration (Kconfig, NODES_SHIFT)
_NODELESS = ("MPOL_DEFAULT", "MPOL_LOCAL")


class Attributes:
    """What the configuration says, as the kernel's numbers; None or empty where it says nothing."""

    def __init__(self, process: Process, config: Config) -> None:
        linux = config.get("linux") or {}
        self.scheduler = _scheduler(process.get("scheduler"), linux)
        self.io_priority = _io_priority(process.get("ioPriority"))
        self.domain = _domain(linux.get("personality"))
        self.memory = _memory_policy(linux.get("memoryPolicy"))
        affinity = process.get("execCPUAffinity") or {}
        self.initial_cpus = parse_list(affinity.get("initial") or "", "process.execCPUAffinity.initial")
        self.final_cpus = parse_list(affinity.get("final") or "", "process.execCPUAffinity.final")

    def set_own(self) -> None:
        """By the process itself, before its seccomp filter could refuse it."""
        try:
            if self.domain is not None:
                s.personality(self.domain)
            if self.memory is not None:
                s.set_mempolicy(*self.memory)
        except OSError as err:
            raise ContainerError(f"cannot set linux.personality or linux.memoryPolicy: {reason(err)}") from err

    def set_scheduling(self, pid: int) -> None:
        """From outside, when all that is left to the process is its exec: it may be slow from now on."""
        from cr.kernel.ioprio import ioprio_set

        try:
            if self.io_priority is not None:
                ioprio_set(pid, self.io_priority)
            if self.scheduler is not None:
                s.sched_setattr(pid, *self.scheduler)
        except OSError as err:
            raise ContainerError(f"cannot set process.scheduler or process.ioPriority: {reason(err)}") from err

    @property
    def scheduled(self) -> bool:
        """Whether there is anything for `set_scheduling`."""
        return self.scheduler is not None or self.io_priority is not None

    def place_initially(self, pid: int) -> None:
        """execCPUAffinity.initial: while the process is not in the container's cgroup yet."""
        if self.initial_cpus:
            _set_affinity(pid, self.initial_cpus)

    def place_finally(self, pid: int) -> None:
        """execCPUAffinity.final, or all that the cgroup leaves: our caller's affinity is not the container's."""
        _set_affinity(pid, self.final_cpus or frozenset(range(os.sysconf("SC_NPROCESSORS_CONF"))))


def _set_affinity(pid: int, cpus: frozenset[int]) -> None:
    try:
        os.sched_setaffinity(pid, cpus)
    except OSError as err:
        text = ",".join(map(str, sorted(cpus)))
        raise ContainerError(f"cannot set the CPU affinity of process {pid} to {text}: {reason(err)}") from err


def parse_list(text: str, where: str, largest: int = 65535) -> frozenset[int]:
    """ "0-3,5" as numbers (the list format of cpuset(7)).  Raises ContainerError."""
    found: set[int] = set()
    for part in text.replace(" ", "").split(",") if text.strip() else ():
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ContainerError(f"invalid {where}: {text!r} is not a list of numbers and ranges")
        low, high = int(first), int(last or first)
        if low > high or high > largest:
            raise ContainerError(f"invalid {where}: {part} is no range within 0-{largest}")
        found.update(range(low, high + 1))
    return frozenset(found)


def _known(table: Mapping[str, int], name: Any, what: str) -> int:
    if name not in table:
        raise ContainerError(f"invalid {what} {name!r}; known are {', '.join(table)}")
    return table[name]


def _scheduler(section: Any, linux: Any) -> tuple[int, int, int, int, tuple[int, int, int]] | None:
    if not section:
        return None
    policy = _known(s.POLICIES, section.get("policy"), "process.scheduler.policy")
    deadline = policy == s.POLICIES["SCHED_DEADLINE"]
    if deadline and ((linux.get("resources") or {}).get("cpu") or {}).get("cpus"):
        raise ContainerError(
            "process scheduler can't be used together with AllowedCPUs: SCHED_DEADLINE needs all processors, "
            "remove linux.resources.cpu.cpus"
        )
    if section.get("priority") and policy not in (s.POLICIES["SCHED_FIFO"], s.POLICIES["SCHED_RR"]):
        raise ContainerError("process.scheduler.priority can only be specified for SCHED_FIFO or SCHED_RR policy")
    times = (section.get("runtime") or 0, section.get("deadline") or 0, section.get("period") or 0)
    if any(times) and not deadline:
        raise ContainerError(
            "process.scheduler.runtime, deadline and period can only be specified for SCHED_DEADLINE policy"
        )
    flags = 0
    for name in section.get("flags") or []:
        flags |= _known(s.FLAGS, name, "process.scheduler flag")
    return policy, flags, section.get("nice") or 0, section.get("priority") or 0, times


def _io_priority(section: Any) -> int | None:
    if not section:
        return None
    kind = _known(_IO_CLASSES, section.get("class"), "process.ioPriority.class")
    level = section.get("priority") or 0
    if not 0 <= level <= 7:
        raise ContainerError(f"process.ioPriority.priority must be between 0 and 7, not {level}")
    return kind << _IO_CLASS_SHIFT | level


def _domain(section: Any) -> int | None:
    if not section:
        return None
    if section.get("flags"):
        raise ContainerError("linux.personality.flags are not supported; remove them")
    return _known(s.DOMAINS, section.get("domain"), "linux.personality.domain")


def _memory_policy(section: Any) -> tuple[int, frozenset[int]] | None:
    if section is None:
        return None
    name = section.get("mode")
    mode = _known(s.MEMORY_MODES, name, "memory policy mode")
    for flag in section.get("flags") or []:
        mode |= _known(s.MEMORY_FLAGS, flag, "memory policy flag")
    nodes = parse_list(section.get("nodes") or "", "memory policy nodes", _MAX_NODE)
    if nodes and name in _NODELESS:
        raise ContainerError(f"invalid memory policy: {name} mode requires 0 nodes but got {len(nodes)}")
    if not nodes and name not in (*_NODELESS, "MPOL_PREFERRED"):
        raise ContainerError(f"invalid memory policy: {name} mode requires at least one node but got 0")
    return mode, nodes
