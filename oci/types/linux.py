"""The Linux part of config.json (config-linux.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Required, TypedDict

from oci.types.seccomp import Seccomp


class Namespace(TypedDict, total=False):
    """A namespace: a new one, or the one at `path`."""

    type: Required[str]
    path: str


class IdMapping(TypedDict):
    """A range of ids."""

    containerID: int
    hostID: int
    size: int


class TimeOffset(TypedDict, total=False):
    """The offset of a clock in a time namespace."""

    secs: int
    nanosecs: int


class Device(TypedDict, total=False):
    """A device node; `type` is c, b, u or p."""

    path: Required[str]
    type: Required[str]
    major: int
    minor: int
    fileMode: int
    uid: int
    gid: int


class Linux(TypedDict, total=False):
    """The `linux` object.  `resources` goes to the cgroup package as it is."""

    namespaces: list[Namespace]
    uidMappings: list[IdMapping]
    gidMappings: list[IdMapping]
    timeOffsets: dict[str, TimeOffset]
    devices: list[Device]
    cgroupsPath: str
    resources: Mapping[str, Any]
    rootfsPropagation: str
    seccomp: Seccomp
    sysctl: dict[str, str]
    maskedPaths: list[str]
    readonlyPaths: list[str]
    mountLabel: str
    personality: dict[str, Any]
    intelRdt: dict[str, Any]
    memoryPolicy: dict[str, Any]
    netDevices: dict[str, Any]
