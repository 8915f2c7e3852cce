"""The engine's value classes are those of `values`."""

from __future__ import annotations

from values import Field, cached_property, dataclass, field, fields, replace

__all__ = ["Field", "cached_property", "dataclass", "field", "fields", "replace"]
