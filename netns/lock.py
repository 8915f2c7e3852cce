"""The network lock: no packet of the frozen tasks comes or goes, so no peer is told that they are away.

A lock by nftables is one table.  It belongs to the netlink socket that made it (NFT_TABLE_F_OWNER, Linux
5.12): the kernel removes it when that socket is closed, by `unlock` or by the death of the process that
holds it.  `keep` makes it stay, for a dump whose tasks are restored later.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable
from enum import Enum

from netns import iptables, nft, wire
from netns.enter import open_netns, run_in
from netns.errors import NetnsError
from netns.nft import Connection
from netns.wire import Socket
from values import dataclass


class Method(Enum):
    """--network-lock."""

    NFTABLES = "nftables"
    IPTABLES = "iptables"
    SKIP = "skip"


@dataclass(frozen=True)
class LockRecord:
    """A lock as plain data: what a janitor needs, next to a descriptor of the namespace, to remove it.

    `ipv6`: whether an iptables lock has an ip6tables part.
    """

    method: str
    table: str
    netns_inode: int
    ipv6: bool = False


class Lock:
    """A lock that is in force; `record` describes it.  Usable as a scope."""

    def __init__(self, record: LockRecord, netns_fd: int, connections: list[Connection] | None) -> None:
        self.record = record
        self._netns_fd = netns_fd
        self._connections = connections
        self._owner: Socket | None = None
        self._locked = record.method != Method.SKIP.value
        self.kept_as = record.table + "-kept"
        """name of the nftables table that stays when the lock is kept"""

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.unlock()

    def unlock(self) -> None:
        """Let packets pass again.  A second call does nothing.  Raises NetnsError."""
        if self._locked:
            if self._owner is not None:
                self._owner.batch(lambda numbers: nft.batch(_delete(self.record.table), numbers), "unlock the network")
            else:
                remove(self.record, self._netns_fd)
            self._locked = False
        self.close()

    @property
    def kept_record(self) -> LockRecord:
        """What `keep` will answer."""
        if self._owner is None:
            return self.record
        return LockRecord(self.record.method, self.kept_as, self.record.netns_inode)

    def keep(self) -> LockRecord:
        """Make the lock outlive this process: a table without an owner, then the owned one goes.

        Answers the record of what stays.
        """
        if self._owner is not None:
            sock = run_in(self._netns_fd, lambda: Socket(wire.NETFILTER))
            with sock:
                _install(sock, self.kept_record.table, False, self._connections)
            self.record = self.kept_record
        self._locked = False
        self.close()
        return self.record

    def close(self) -> None:
        """Give back descriptors; an owned table goes with its socket."""
        if self._owner is not None:
            self._owner.close()
            self._owner = None
        if self._netns_fd >= 0:
            os.close(self._netns_fd)
            self._netns_fd = -1

    def own(self, sock: Socket) -> None:
        self._owner = sock


def table_name() -> str:
    """A name that no other lock has."""
    return f"WOODFROG-{os.urandom(6).hex()}"


def lock(
    netns_fd: int | None = None,
    method: Method = Method.NFTABLES,
    connections: Iterable[Connection] | None = None,
) -> Lock:
    """Lock a whole namespace (None: the caller's), or only some connections in it.

    Loopback is locked too; packets with the mark 0xC114 pass.  Raises NetnsError that says how to do without.
    """
    fd = os.dup(netns_fd) if netns_fd is not None else open_netns()
    made = Lock(
        LockRecord(method.value, table_name(), os.fstat(fd).st_ino),
        fd,
        None if connections is None else list(connections),
    )
    with contextlib.ExitStack() as stack:
        stack.callback(made.close)
        if method is Method.NFTABLES:
            sock = run_in(fd, lambda: Socket(wire.NETFILTER))
            made.own(sock)
            _install(sock, made.record.table, True, made._connections)
        elif method is Method.IPTABLES:
            ipv6 = iptables.install(fd, made.record.table, made._connections)
            made.record = LockRecord(method.value, made.record.table, made.record.netns_inode, ipv6)
        stack.pop_all()
    return made


def _install(sock: Socket, name: str, owned: bool, connections: list[Connection] | None) -> None:
    messages = nft.lock_messages(name, owned, connections)
    try:
        sock.batch(lambda numbers: nft.batch(messages, numbers), f"lock the network (nftables table inet {name})")
    except NetnsError as err:
        err.add_note("--network-lock iptables or --network-lock skip do without nf_tables")
        raise


def _delete(name: str) -> list[tuple[int, bytes]]:
    return [(nft.DELTABLE, nft.nfgen() + wire.text(1, name))]


def remove(record: LockRecord, netns_fd: int | None) -> None:
    """Remove a lock from its record; one that is gone is fine.  Raises NetnsError.

    An owned nftables table can be removed by its owner only; the kernel removes it once the owner is gone.
    """
    if record.method == Method.IPTABLES.value:
        from netns.firewall import drop_empty

        iptables.remove(netns_fd, record.table, record.ipv6)
        drop_empty(netns_fd)
    elif record.method == Method.NFTABLES.value:
        with run_in(netns_fd, lambda: Socket(wire.NETFILTER)) as sock:
            messages = _delete(record.table)
            what = f"unlock the network (nftables table inet {record.table})"
            sock.batch(lambda numbers: nft.batch(messages, numbers), what, (errno.ENOENT,))
