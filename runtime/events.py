"""Statistics and OOM events in the JSON that engines read from `events`."""

from __future__ import annotations

import re

from runtime.errors import ContainerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cgroups import Stats
    from cgroups.stats import BlkioEntry

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_NO_LIMIT = 2**64 - 1


def duration(text: str) -> float:
    """Seconds of a Go duration ("5s", "1m30s", "100ms").  Raises ContainerError unless it is above 0."""
    parts = _PART.findall(text)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or seconds <= 0:
        raise ContainerError(f"duration interval must be greater than 0, like 5s or 500ms, not {text!r}")
    return seconds


def stats_event(container: str, stats: Stats) -> dict[str, Any]:
    """One "stats" event; parts without a controller are left empty."""
    data = {
        "cpu": _cpu(stats),
        "memory": _memory(stats),
        "pids": _pids(stats),
        "blkio": _blkio(stats),
        "hugetlb": {
            size: {"usage": h.usage, "max": h.peak or 0, "failcnt": h.failures} for size, h in stats.hugetlb.items()
        },
        "intel_rdt": {},
        "network_interfaces": None,
    }
    return {"type": "stats", "id": container, "data": data}


def oom_event(container: str) -> dict[str, Any]:
    """One "oom" event."""
    return {"type": "oom", "id": container}


def _cpu(stats: Stats) -> dict[str, Any]:
    cpu = stats.cpu
    if cpu is None:
        return {}
    usage: dict[str, Any] = {"total": cpu.usage_ns, "kernel": cpu.system_ns, "user": cpu.user_ns}
    if cpu.per_cpu_ns:
        usage["percpu"] = list(cpu.per_cpu_ns)
    throttling = {
        "periods": cpu.periods,
        "throttledPeriods": cpu.throttled_periods,
        "throttledTime": cpu.throttled_ns,
    }
    return {"usage": usage, "throttling": throttling}


def _memory(stats: Stats) -> dict[str, Any]:
    memory = stats.memory
    if memory is None:
        return {}
    usage = _entry(memory.usage, memory.peak, memory.limit, memory.failures)
    swap = _entry(memory.swap_usage or 0, None, memory.swap_limit, 0)
    cache = memory.detail.get("cache", memory.detail.get("file", 0))
    return {"cache": cache, "usage": usage, "swap": swap, "raw": dict(memory.detail)}


def _entry(usage: int, peak: int | None, limit: int | None, failures: int) -> dict[str, int]:
    shown = _NO_LIMIT if limit is None else limit
    return {"limit": shown, "usage": usage, "max": peak or 0, "failcnt": failures}


def _pids(stats: Stats) -> dict[str, int]:
    pids = stats.pids
    if pids is None:
        return {}
    return {"current": pids.current, **({} if pids.limit is None else {"limit": pids.limit})}


def _blkio(stats: Stats) -> dict[str, Any]:
    blkio = stats.blkio
    if blkio is None:
        return {}
    return {
        "ioServiceBytesRecursive": [_device(entry) for entry in blkio.bytes],
        "ioServicedRecursive": [_device(entry) for entry in blkio.requests],
    }


def _device(entry: BlkioEntry) -> dict[str, Any]:
    return {"major": entry.major, "minor": entry.minor, "op": entry.op.capitalize(), "value": entry.value}
