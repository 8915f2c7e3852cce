"""One file a controller: what of linux.resources it takes, how it is written, read back and measured.

A module here is a controller by having a subclass of `Controller`; `all_controllers()` finds them.
"""

from __future__ import annotations

from cgroups.controllers.base import Controller, Resources, all_controllers

__all__ = ["Controller", "Resources", "all_controllers"]
