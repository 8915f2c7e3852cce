"""The state of a container (runtime.md, state)."""

from __future__ import annotations

from typing import Required, TypedDict


class State(TypedDict, total=False):
    """What `state` prints and hooks read; `status` is creating, created, running, paused or stopped."""

    ociVersion: Required[str]
    id: Required[str]
    pid: int
    status: Required[str]
    bundle: Required[str]
    rootfs: str
    created: str
    owner: str
    annotations: dict[str, str]
