"""pyroute2's message classes without its sockets.

`import pyroute2.anything` runs the package's __init__, which loads every protocol it has and asyncio: 130 to
290 ms.  The message classes alone take 30 ms, and a dump is done while a container stands still.  So they are
imported below a hollow package; then that and its modules are forgotten, and a later, ordinary
`import pyroute2` gets everything afresh.
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


_WHERE = {
    "link": ("netlink.rtnl.ifinfmsg", "ifinfmsg"),
    "address": ("netlink.rtnl.ifaddrmsg", "ifaddrmsg"),
    "route": ("netlink.rtnl.rtmsg", "rtmsg"),
    "rule": ("netlink.rtnl.fibmsg", "fibmsg"),
    "neighbour": ("netlink.rtnl.ndmsg", "ndmsg"),
    "nsid": ("netlink.rtnl.nsidmsg", "nsidmsg"),
}


@functools.cache
def _classes() -> dict[str, Any]:
    """All the message classes, by kind."""
    if "pyroute2" in sys.modules:
        return _load()
    spec = importlib.util.find_spec("pyroute2")
    if spec is None or spec.submodule_search_locations is None:
        raise NetnsError("pyroute2 is not installed; install Woodfrog's dependencies")
    hollow = types.ModuleType("pyroute2")
    hollow.__path__ = list(spec.submodule_search_locations)
    sys.modules["pyroute2"] = hollow
    try:
        return _load()
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "pyroute2"]:
            del sys.modules[name]


def _load() -> dict[str, Any]:
    modules = {kind: importlib.import_module(f"pyroute2.{module}") for kind, (module, _) in _WHERE.items()}
    return {kind: getattr(modules[kind], name) for kind, (_, name) in _WHERE.items()}


def decode(kind: str, raw: bytes) -> Decoded:
    """Decode a whole message (header too) of a kind: link, address, route, rule, neighbour, nsid."""
    decoded = _classes()[kind](raw)
    decoded.decode()
    return decoded


def encode(kind: str, fields: dict[str, int], attrs: list[tuple[str, object]]) -> bytes:
    """The body (without header) of a message of a kind."""
    built = _classes()[kind]()
    for name, value in fields.items():
        built[name] = value
    built["attrs"] = attrs
    built.encode()
    return bytes(built.data[16:])
