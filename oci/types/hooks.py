"""Hooks (config.md, POSIX-platform hooks)."""

from __future__ import annotations

from typing import Required, TypedDict


class Hook(TypedDict, total=False):
    """One program; `args` include argv[0]; `timeout` in seconds."""

    path: Required[str]
    args: list[str]
    env: list[str]
    timeout: int


class Hooks(TypedDict, total=False):
    """The six kinds."""

    prestart: list[Hook]
    createRuntime: list[Hook]
    createContainer: list[Hook]
    startContainer: list[Hook]
    poststart: list[Hook]
    poststop: list[Hook]
