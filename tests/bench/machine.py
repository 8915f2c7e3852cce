"""The machine that is measured on, in one line."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def describe(directory: Path) -> str:
    model = _field("/proc/cpuinfo", "model name")
    memory = int(_field("/proc/meminfo", "MemTotal").split()[0]) / (1 << 20)
    versions = f"Linux {platform.release()}, Python {platform.python_version()}"
    place = f"images on {_filesystem(directory)}, load {os.getloadavg()[0]:.1f}"
    return f"{os.cpu_count()} x {model}, {memory:.0f} GiB, {versions}, {place}"


def _field(path: str, name: str) -> str:
    return next((line.partition(":")[2].strip() for line in _lines(path) if line.startswith(name)), "?")


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _filesystem(directory: Path) -> str:
    """Type of the file system that holds a directory: that of the longest mount point above it."""
    real = os.path.realpath(directory)
    mounts = [line.split()[1:3] for line in _lines("/proc/self/mounts")]
    above = [(len(point), kind) for point, kind in mounts if os.path.commonpath([point, real]) == point]
    return max(above)[1]
