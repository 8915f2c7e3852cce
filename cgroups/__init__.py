"""cgroups v1, v2 and hybrid: find, limit, freeze, measure, save and restore.

This package gives and takes plain dataclasses and imports nothing else of ours.
"""

from __future__ import annotations

from cgroups.errors import CgroupError
from cgroups.hierarchies import Hierarchy, Layout, layout, membership
from cgroups.manager import Manager
from cgroups.stats import Stats

__all__ = ["CgroupError", "Hierarchy", "Layout", "Manager", "Stats", "layout", "membership"]
