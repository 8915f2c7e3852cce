"""Import everything that a dump uses before anything is frozen: imports must not count as time frozen."""

from __future__ import annotations

from functools import cache


@cache
def preload() -> None:
    from cr.contract.resource import discover
    from images import messages as m
    from images import pages, text  # noqa: F401

    discover()
    for name in (
        "core_entry",
        "mm_entry",
        "file_entry",
        "pstree_entry",
        "inventory_entry",
        "pagemap_entry",
        "fs_entry",
    ):
        getattr(m, name)()
