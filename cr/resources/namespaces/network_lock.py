"""The network lock around a dump and a restore: no peer of a connection learns that a task is away.

    lock(context)      dump, as soon as the tasks stand still
    hold(context)      restore, before the first socket is made
    release(context)   restore, when the tasks run again

A namespace of the tasks' own is locked as a whole, in a shared one only the tasks' connections are.  With
--tcp-established a lock stays when the tasks are gone: what they listened at must not refuse anybody.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from cr import log
from cr.contract.network import inside
from cr.contract.outside import outside
from cr.kernel import proc, sock_diag
from cr.kernel.sockets import CLOSE, LISTEN

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask
    from cr.contract.restoring import RestoreContext
    from cr.remote.janitor import Undo
    from images import messages as m
    from netns.lock import Lock, LockRecord, Method
    from netns.nft import Connection

_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_METHOD_IPTABLES, _METHOD_NFTABLES, _METHOD_SKIP = 0, 1, 2  # inventory_entry.network_lock_method
_RUN_ID_PART = 21  # characters of a dump's id in the name of its lock
_MAPPED = bytes(10) + b"\xff\xff"


def lock(context: DumpContext) -> None:
    """Lock what the tasks' connections go through; a failed dump, or one that leaves them running, unlocks it.

    Otherwise the lock stays when the tasks are killed, until they are restored; `woodfrog-network-lock` remembers it.
    """
    context.options.notification("network-lock")
    keep = not context.options.leave_running and not context.options.leave_stopped
    told = partial(context.options.notification, "network-unlock")
    context.at_release.append(lambda: None if keep and context.succeeded else told())
    records = []
    run_id = context.run_id
    for each, lasts in _locks(context):
        kept = keep and lasts
        each.kept_as = criu_table(run_id)
        context.at_release.append(partial(_unlock_unless_kept, each, kept, context))
        if kept:
            context.at_kill.append(partial(_keep, each))
            records.append(_message(each.kept_record))
    if records:
        context.images.write("woodfrog-network-lock", entries=records)
    in_nftables = any(record.method == "nftables" for record in records)
    changes: list[object] = context.once("inventory", list)
    changes.append(partial(_tell_others, run_id=run_id, locked=in_nftables))


def criu_table(run_id: str) -> str:
    """The table that criu looks for when it restores the images of a dump with this id."""
    return f"CRIU-{run_id[:_RUN_ID_PART]}"


def _tell_others(inventory: m.inventory_entry, *, run_id: str, locked: bool) -> None:
    inventory.dump_criu_run_id = run_id
    inventory.network_lock_method = _METHOD_NFTABLES if locked else _METHOD_SKIP


def _unlock_unless_kept(each: Lock, kept: bool, context: DumpContext) -> None:
    if not (kept and context.succeeded):
        each.unlock()


def _keep(each: Lock) -> None:
    each.keep()


def _remove_at(record: LockRecord, path: str) -> None:
    """What is left of a lock when its maker was killed (an nftables table goes by itself)."""
    from netns.lock import remove

    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        remove(record, fd)
    finally:
        os.close(fd)


def _remember(record: LockRecord, pid: int | str, undo: Undo) -> None:
    if record.method == "iptables":
        undo.append(partial(_remove_at, record, f"/proc/{pid}/ns/net"))


def _message(record: object) -> m.woodfrog_network_lock:
    from images import messages as m

    return m.woodfrog_network_lock(**vars(record))


def _method(name: str) -> Method:
    from netns.lock import Method

    return Method(name or Method.NFTABLES.value)


def _locks(context: DumpContext) -> Iterator[tuple[Lock, bool]]:
    """(lock, whether it is to stay until the restore) of each network namespace of the tree."""
    if context.options.network_lock == "skip":
        return
    keeps = _keeps_connections(context)
    own = proc.namespace_inode("self", "net")
    for inode, tasks in _by_network(context).items():
        fd = os.open(f"/proc/{tasks[0].pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            found = list(_connections(tasks, fd)) if keeps else []
            shared = inode == own or outside(context).namespace("net", inode) is not None
            if found or (not shared and (keeps or _has_links(tasks[0]))):
                from netns.lock import lock as lock_network

                method = _method(context.options.network_lock)
                made = lock_network(fd, method, found if shared else None)
                _remember(made.record, tasks[0].pid, context.undo)
                yield made, keeps
        finally:
            os.close(fd)


def _keeps_connections(context: DumpContext) -> bool:
    return context.options.tcp_established and not context.options.tcp_close


def _by_network(context: DumpContext) -> dict[int, list[DumpTask]]:
    found: dict[int, list[DumpTask]] = {}
    for task in context.live_tasks:
        found.setdefault(proc.namespace_inode(task.pid, "net"), []).append(task)
    return found


def _has_links(task: DumpTask) -> bool:
    """Whether the namespace has an interface besides the loopback."""
    lines = proc.read_text(task.pid, "net/dev").splitlines()[2:]
    return any(line.split(":")[0].strip() != "lo" for line in lines)


def _connections(tasks: list[DumpTask], network_fd: int) -> Iterator[Connection]:
    """The TCP connections that the tasks have open."""
    inodes = {inode for task in tasks for inode in _socket_inodes(task)}
    with inside(network_fd):
        for family in _FAMILIES:
            for facts in sock_diag.inet_sockets(family, socket.IPPROTO_TCP):
                if facts.inode in inodes and facts.state not in (LISTEN, CLOSE):
                    yield connection(facts.source, facts.destination)


def _socket_inodes(task: DumpTask) -> Iterator[int]:
    directory = f"/proc/{task.pid}/fd"
    for name in os.listdir(directory):
        link = os.readlink(f"{directory}/{name}")
        if link.startswith("socket:["):
            yield int(link[8:-1])


def connection(source: tuple[bytes, int], destination: tuple[bytes, int]) -> Connection:
    """Packed addresses and ports; what an IPv6 socket says in IPv4 is IPv4."""
    from netns.nft import Connection

    ends = [(a[12:] if len(a) == 16 and a.startswith(_MAPPED) else a, port) for a, port in (source, destination)]
    family = socket.AF_INET if len(ends[0][0]) == 4 else socket.AF_INET6
    (local, local_port), (remote, remote_port) = ends
    texts = socket.inet_ntop(family, local), socket.inet_ntop(family, remote)
    return Connection(family, texts[0], local_port, texts[1], remote_port)


def hold(context: RestoreContext) -> None:
    """Until `release`, peers get no answer from a connection that is not complete.

    A namespace that is made anew is held as a whole: its own filters come last.
    """
    releases = context.once("network locks", list[Callable[[], None]])
    releases += _kept(context)
    found = _by_image(context)
    network = context.network_fd if context.network_fd >= 0 else None
    if found and _locked_by_criu(context):
        from netns.iptables import remove_criu_rules

        releases.append(partial(remove_criu_rules, network, [each for ends in found.values() for each in ends]))
    if context.options.network_lock == "skip":
        return
    if context.options.tcp_close:
        found.clear()
    filtered = context.once("restored networks", dict[int, bool])
    for ns_id in found.keys() | {ns_id for ns_id, has_filters in filtered.items() if has_filters}:
        releases.append(_hold(ns_id, None if ns_id in filtered else found[ns_id], context))


def _hold(ns_id: int, connections: list[Connection] | None, context: RestoreContext) -> Callable[[], None]:
    from netns.lock import lock as lock_network

    fd = context.network_of(ns_id)
    own = lock_network(fd if fd >= 0 else None, _method(context.options.network_lock), connections)
    _remember(own.record, context.first_in("net_ns_id", ns_id).puppet.tid, context.undo)
    context.once("own network locks", list[Callable[[], None]]).append(own.unlock)
    return own.unlock


def _by_image(context: RestoreContext) -> dict[int, list[Connection]]:
    """The connections that are to be restored, by the number of their network namespace."""
    found: dict[int, list[Connection]] = {}
    root = context.root.ids.net_ns_id if context.root.ids is not None else 0
    for entry in context.file_entries.values():
        if _is_connection(entry):
            found.setdefault(entry.isk.ns_id or root, []).append(_of_image(entry.isk))
    return found


def _locked_by_criu(context: RestoreContext) -> bool:
    """Whether rules of iptables may hold the connections: what criu does unless told otherwise."""
    inventory = context.inventory
    if inventory is None or not inventory.HasField("dump_criu_run_id"):
        return False
    return inventory.network_lock_method == _METHOD_IPTABLES


def release(context: RestoreContext) -> None:
    """All is complete: peers may speak to the tasks, by the lock of this restore and by that of the dump."""
    _run(context.once("network locks", list[Callable[[], None]]))


def give_up(context: RestoreContext) -> None:
    """The restore has failed: its own lock goes, that of the dump stays for the next attempt."""
    _run(context.once("own network locks", list[Callable[[], None]]))


def _run(actions: list[Callable[[], None]]) -> None:
    for action in actions:
        from netns.errors import NetnsError

        try:
            action()
        except NetnsError as error:
            log.warning(f"the network lock remains: {error}")


def _is_connection(entry: m.file_entry) -> bool:
    if not entry.HasField("isk") or entry.isk.proto != socket.IPPROTO_TCP or entry.isk.type != socket.SOCK_STREAM:
        return False
    return entry.isk.dst_port != 0 and entry.isk.state not in (LISTEN, CLOSE)


def _of_image(entry: m.inet_sk_entry) -> Connection:
    def packed(words: object) -> bytes:
        return struct.pack(f"<{len(words)}I", *words)  # type: ignore[arg-type,misc]

    return connection((packed(entry.src_addr), entry.src_port), (packed(entry.dst_addr), entry.dst_port))


def _kept(context: RestoreContext) -> Iterator[Callable[[], None]]:
    """What removes the locks that the dump has left in the namespaces that this restore knows."""
    records = _records(context)
    if not records:
        return
    from netns.lock import LockRecord, remove

    ours = proc.namespace_inode("self", "net")
    theirs = os.fstat(context.network_fd).st_ino if context.network_fd >= 0 else ours
    for entry in records:
        record = LockRecord(entry.method, entry.table, entry.netns_inode, entry.ipv6)
        if entry.netns_inode in (theirs, 0) and theirs != ours:
            yield partial(remove, record, context.keep(os.dup(context.network_fd)))
        elif entry.netns_inode in (ours, 0):
            yield partial(remove, record, None)


def _records(context: RestoreContext) -> list[m.woodfrog_network_lock]:
    from images import messages as m

    if context.images.exists("woodfrog-network-lock"):
        return context.images.read("woodfrog-network-lock")
    inventory = context.inventory
    if inventory is None or inventory.network_lock_method != _METHOD_NFTABLES or not inventory.dump_criu_run_id:
        return []
    table = criu_table(inventory.dump_criu_run_id)  # somebody else's dump: whichever namespace it was
    return [m.woodfrog_network_lock(method="nftables", table=table, netns_inode=0)]
