"""What a cgroup has used, in one shape for v1 and v2."""

from __future__ import annotations

from collections.abc import Mapping

from values import dataclass, field


@dataclass(frozen=True)
class CpuStats:
    """Nanoseconds; `per_cpu_ns` only where the kernel tells (v1)."""

    usage_ns: int = 0
    user_ns: int = 0
    system_ns: int = 0
    periods: int = 0
    throttled_periods: int = 0
    throttled_ns: int = 0
    per_cpu_ns: tuple[int, ...] = ()


@dataclass(frozen=True)
class MemoryStats:
    """Bytes; a limit of None means none is set.

    `swap_*` on v1 counts memory and swap together (memsw), on v2 swap alone; `detail` is memory.stat.
    """

    usage: int
    peak: int | None
    limit: int | None
    failures: int
    swap_usage: int | None
    swap_limit: int | None
    oom_kills: int
    detail: Mapping[str, int]


@dataclass(frozen=True)
class PidsStats:
    """Tasks in the cgroup and below; a limit of None means none is set."""

    current: int
    limit: int | None


@dataclass(frozen=True)
class BlkioEntry:
    """What one block device did: `op` is read, write, discard, sync, async or total; bytes or requests."""

    major: int
    minor: int
    op: str
    value: int


@dataclass(frozen=True)
class BlkioStats:
    bytes: tuple[BlkioEntry, ...] = ()
    requests: tuple[BlkioEntry, ...] = ()


@dataclass(frozen=True)
class HugetlbStats:
    """Bytes of one page size ("2MB"); v2 does not keep a peak."""

    usage: int
    peak: int | None
    failures: int


@dataclass(frozen=True)
class Stats:
    """Everything; None (or empty) for a controller that is not there."""

    cpu: CpuStats | None = None
    memory: MemoryStats | None = None
    pids: PidsStats | None = None
    blkio: BlkioStats | None = None
    hugetlb: Mapping[str, HugetlbStats] = field(default_factory=dict)
