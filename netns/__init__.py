"""Network namespaces: save, restore, lock; veth pairs for new ones.

This package gives and takes plain dataclasses and imports nothing else of ours.  Its parts are imported by
name (`from netns import state, lock, veth, loopback`), so that each costs only what it needs.
"""

from __future__ import annotations

from netns.errors import NetnsError

__all__ = ["NetnsError"]
