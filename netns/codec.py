"""pyroute2's message classes without its sockets.

`import pyroute2.anything` runs the package's __init__, which loads every protocol it has and asyncio: 130 to
290 ms.  The message classes alone take 20 to 30 ms, and a dump is done while a container stands still.  So
they are imported below a hollow package, which is taken away again: a later, ordinary `import pyroute2` finds
the submodules loaded and completes itself.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import types
from typing import Any

from netns.errors import NetnsError

Decoded = Any
"""A pyroute2 nlmsg: msg["index"], msg.get_attr("IFLA_IFNAME")."""


@functools.cache
def _class(module: str, name: str) -> Any:
    """A class of a submodule of pyroute2."""
    if "pyroute2" in sys.modules:
        return getattr(importlib.import_module(f"pyroute2.{module}"), name)
    spec = importlib.util.find_spec("pyroute2")
    if spec is None or spec.submodule_search_locations is None:
        raise NetnsError("pyroute2 is not installed; install Woodfrog's dependencies")
    hollow = types.ModuleType("pyroute2")
    hollow.__path__ = list(spec.submodule_search_locations)
    sys.modules["pyroute2"] = hollow
    try:
        return getattr(importlib.import_module(f"pyroute2.{module}"), name)
    finally:
        del sys.modules["pyroute2"]


_CLASSES = {
    "link": ("netlink.rtnl.ifinfmsg", "ifinfmsg"),
    "address": ("netlink.rtnl.ifaddrmsg", "ifaddrmsg"),
    "route": ("netlink.rtnl.rtmsg", "rtmsg"),
    "rule": ("netlink.rtnl.fibmsg", "fibmsg"),
    "neighbour": ("netlink.rtnl.ndmsg", "ndmsg"),
    "nsid": ("netlink.rtnl.nsidmsg", "nsidmsg"),
}


def decode(kind: str, raw: bytes) -> Decoded:
    """Decode a whole message (header too) of a kind: link, address, route, rule, neighbour, nsid."""
    decoded = _class(*_CLASSES[kind])(raw)
    decoded.decode()
    return decoded


def encode(kind: str, fields: dict[str, int], attrs: list[tuple[str, object]]) -> bytes:
    """The body (without header) of a message of a kind."""
    built = _class(*_CLASSES[kind])()
    for name, value in fields.items():
        built[name] = value
    built["attrs"] = attrs
    built.encode()
    return bytes(built.data[16:])
