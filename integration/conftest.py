"""Rules of the end-to-end tests."""

from __future__ import annotations

from tests.machine import leaves_nothing

__all__ = ["leaves_nothing"]
