"""cgroups v1, v2 and hybrid: find, limit, freeze, measure, save and restore.

This package gives and takes plain dataclasses and imports nothing else of ours.  Its names are found at their
first use: a command that only asks for the layout does not pay for the statistics.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing `typing` costs 5 ms
if TYPE_CHECKING:
    from cgroups.errors import CgroupError
    from cgroups.hierarchies import Hierarchy, Layout, layout, membership
    from cgroups.manager import Manager
    from cgroups.stats import Stats

__all__ = ["CgroupError", "Hierarchy", "Layout", "Manager", "Stats", "layout", "membership"]

_HOMES = {
    "CgroupError": "cgroups.errors",
    "Hierarchy": "cgroups.hierarchies",
    "Layout": "cgroups.hierarchies",
    "Manager": "cgroups.manager",
    "Stats": "cgroups.stats",
    "layout": "cgroups.hierarchies",
    "membership": "cgroups.hierarchies",
}


def __getattr__(name: str) -> object:
    """PEP 562."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found
