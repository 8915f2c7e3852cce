"""config.json as a whole (OCI runtime specification, config.md)."""

from __future__ import annotations

from typing import Required, TypedDict

from oci.types.hooks import Hooks
from oci.types.linux import IdMapping, Linux
from oci.types.process import Process


class Root(TypedDict, total=False):
    """`path` is absolute or counts from the bundle."""

    path: Required[str]
    readonly: bool


class Mount(TypedDict, total=False):
    """One mount, in the order of the list; `destination` is a path in the container."""

    destination: Required[str]
    type: str
    source: str
    options: list[str]
    uidMappings: list[IdMapping]
    gidMappings: list[IdMapping]


class Config(TypedDict, total=False):
    """The whole file."""

    ociVersion: Required[str]
    root: Root
    mounts: list[Mount]
    process: Process
    hostname: str
    domainname: str
    hooks: Hooks
    annotations: dict[str, str]
    linux: Linux
