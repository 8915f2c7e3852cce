"""The process of a container, and of ``exec --process`` (config.md, process)."""

from __future__ import annotations

from typing import Any, Required, TypedDict


class User(TypedDict, total=False):
    """Ids as seen in the container's user namespace."""

    uid: Required[int]
    gid: Required[int]
    umask: int
    additionalGids: list[int]


class Capabilities(TypedDict, total=False):
    """The five sets, by name."""

    bounding: list[str]
    effective: list[str]
    inheritable: list[str]
    permitted: list[str]
    ambient: list[str]


class Rlimit(TypedDict):
    """One resource limit; 2**64-1 (or -1) is unlimited."""

    type: str
    soft: int
    hard: int


class ConsoleSize(TypedDict):
    """In characters."""

    height: int
    width: int


class Process(TypedDict, total=False):
    """What runs."""

    terminal: bool
    consoleSize: ConsoleSize
    cwd: Required[str]
    env: list[str]
    args: list[str]
    user: User
    capabilities: Capabilities
    rlimits: list[Rlimit]
    noNewPrivileges: bool
    apparmorProfile: str
    selinuxLabel: str
    oomScoreAdj: int
    scheduler: dict[str, Any]
    ioPriority: dict[str, Any]
    execCPUAffinity: dict[str, str]
