"""Networks: links, firewalls, and what the network lock is made of."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Callable

from cr.check.feature import Feature, lacking


def _program(*names: str) -> Callable[[], None]:
    def probe() -> None:
        if not any(shutil.which(name) for name in names):
            raise OSError(errno.ENOENT, f"needs the program {' or '.join(names)}")

    return probe


def _nftables() -> None:
    """Load the library, or find the program."""
    try:
        ctypes.CDLL("libnftables.so.1")
    except OSError:
        _program("nft")()


def _in_own_network(probe: Callable[[], None]) -> None:
    """In a thread, which takes its namespaces with it."""
    from cr.kernel.namespaces import CLONE_NEWNET, unshare
    from netns.enter import open_netns, run_in

    def apart() -> None:
        unshare(CLONE_NEWNET)
        probe()

    own = open_netns()
    try:
        run_in(own, apart)
    finally:
        os.close(own)


def _lock_with(method: str) -> Callable[[], None]:
    """Lock a network namespace of our own with one connection in it, and unlock it."""

    def locking() -> None:
        import socket

        from netns.enter import open_netns
        from netns.lock import Method, lock
        from netns.nft import Connection

        here = open_netns()
        try:
            lock(here, Method(method), [Connection(socket.AF_INET, "127.0.0.1", 1, "127.0.0.1", 2)]).unlock()
        except Exception as error:
            raise lacking(f"connections cannot be locked with {method}: {error}") from error
        finally:
            os.close(here)

    return lambda: _in_own_network(locking)


def _newifindex() -> None:
    """Move a link from one network namespace to another, with a number of our choice there."""
    from cr.kernel.namespaces import CLONE_NEWNET, unshare
    from netns import rtnl
    from netns.enter import open_netns
    from netns.wire import Socket, attr, text

    def make() -> None:
        there = open_netns()
        try:
            with Socket() as other:
                unshare(CLONE_NEWNET)
                with Socket() as sock:
                    peer = attr(1, rtnl.head())
                    body = rtnl.head() + text(rtnl.IFLA_IFNAME, "probe") + rtnl.linkinfo("veth", peer)
                    rtnl.new_link(sock, body, "make a link")
                    move = rtnl.u32(rtnl.IFLA_NET_NS_FD, there) + rtnl.u32(49, 77)  # IFLA_NEW_IFINDEX
                    rtnl.change_link(sock, rtnl.index_of(sock, "probe"), "move a link", move)
                if rtnl.index_of(other, "probe") != 77:
                    raise lacking("the kernel chooses the numbers of moved links itself")
        finally:
            os.close(there)

    _in_own_network(make)


FEATURES = (
    Feature("nftables", _nftables),
    Feature("has_ipt_legacy", _program("iptables-legacy-save", "iptables-save")),
    Feature("has_ipt_nft", _program("iptables-nft-save")),
    Feature("network_lock_nftables", _lock_with("nftables")),
    Feature("network_lock_iptables", _lock_with("iptables")),
    Feature("newifindex", _newifindex),
)
