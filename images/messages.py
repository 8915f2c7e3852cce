"""Every message and enum of the image format, by its name in the schema.

    from images import messages as m
    entry = m.pstree_entry(pid=1, ppid=0, pgid=1, sid=1)

A name is looked up on first use and only the generated module that holds it is imported, so that a
short-lived RPC answer does not pay for the schema of sockets.
"""

from __future__ import annotations

from importlib import import_module

from images.schema.index import MODULES

__all__ = list(MODULES)


def __getattr__(name: str) -> object:
    module = MODULES.get(name)
    if module is None:
        raise AttributeError(f"the image format has no message or enum named {name!r}")
    value: object = getattr(import_module(f"images.schema.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(MODULES)
