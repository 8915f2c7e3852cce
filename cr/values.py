"""The engine's value classes are those of `values`."""

from __future__ import annotations

from values import Field, dataclass, field, fields, replace

__all__ = ["Field", "dataclass", "field", "fields", "replace"]
