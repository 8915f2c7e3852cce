"""Every message and enum of the image format, by its name in the schema.

    from images import messages as m
    entry = m.pstree_entry(pid=1, ppid=0, pgid=1, sid=1)

The classes are made from `schema/descriptors.py`, by the C part of protobuf alone, at the first use of a name.
That takes 12 ms where the import of the generated modules takes 45, which is longer than a small dump.
The generated modules hold the same messages with the options that say how `woodfrog-crit` shows a field.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from types import ModuleType
from typing import Any

import images
from images.schema.index import MODULES

__all__ = list(MODULES)


_WELL_KNOWN = "google.protobuf.internal.well_known_types"


@contextmanager
def _without_well_known_types() -> Iterator[None]:
    """Within, classes of messages are made without the extra methods of Timestamp and its like.

    Protobuf loads these at the first class, and their module imports datetime, which takes longer than all of the
    C part; the image format has none of them.  For commands of ours only: a program that uses this package as a
    library may need them.
    """
    stub = ModuleType(_WELL_KNOWN)
    stub.__dict__["WKTBASES"] = {}
    known = sys.modules.setdefault(_WELL_KNOWN, stub)
    try:
        yield
    finally:
        if known is stub:
            del sys.modules[_WELL_KNOWN]


@cache
def _pool() -> Any:
    """A pool of our own with all schema files: the generated modules use the default one."""
    from google._upb import _message

    from images.schema.descriptors import FILES

    pool = _message.DescriptorPool()
    for serialized in FILES:
        pool.AddSerializedFile(serialized)
    return pool


def _make(name: str) -> object:
    from google._upb._message import MessageMeta
    from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
    from google.protobuf.message import Message

    try:
        descriptor = _pool().FindMessageTypeByName(name)
    except KeyError:
        return EnumTypeWrapper(_pool().FindEnumTypeByName(name))
    with _without_well_known_types() if images.lean else nullcontext():
        return MessageMeta(name, (Message,), {"DESCRIPTOR": descriptor, "__module__": __name__})


def _make_or_import(name: str) -> object:
    try:
        return _make(name)
    except (ImportError, KeyError):  # protobuf without its C part; or the message of the options themselves
        from importlib import import_module

        return getattr(import_module(f"images.schema.{MODULES[name]}"), name)


def __getattr__(name: str) -> object:
    if name not in MODULES:
        raise AttributeError(f"the image format has no message or enum named {name!r}")
    value = globals()[name] = _make_or_import(name)
    return value


def __dir__() -> list[str]:
    return sorted(MODULES)
