"""A whole network namespace: saved, and made again."""

from __future__ import annotations

import socket

from netns import conntrack, firewall, links, neighbours, replay, streams, sysctl
from netns.enter import run_in
from netns.errors import NetnsError
from netns.externals import Externals
from netns.linkmake import MadeLink, Maker, maker
from netns.model import NetworkState
from netns.wire import Socket
from values import dataclass


@dataclass(frozen=True)
class Restored:
    """What a restore made outside of the namespace (`veth.remove` undoes it), the new indexes, the settings that could
    not be set (of those that are no matter of a link or an address), and the names of the ends of pairs that
    wait for another namespace, by the index of the end that stays."""

    outside: tuple[MadeLink, ...]
    indexes: dict[int, int]
    left: list[str]
    parked: dict[int, str]


def dump(netns_fd: int, external: frozenset[str] = frozenset(), all_settings: bool = True) -> NetworkState:
    """Save a namespace.

    `external` names links that the caller takes care of; without `all_settings` only those that CRIU's images hold
    are saved.  Raises NetnsError with every reason why it cannot
    be saved, a line each.  Call it before `netns.lock.lock`, or after: the lock's table is left out.
    """
    with run_in(netns_fd, Socket) as sock:
        found = links.dump(sock)
        if reasons := links.unsupported(found, external):
            raise NetnsError("\n".join(reasons))
        entries, expected = conntrack.dump(netns_fd)
        return NetworkState(
            links=found,
            addresses=streams.dump_addresses(sock),
            routes4=streams.dump_routes(sock, socket.AF_INET),
            routes6=streams.dump_routes(sock, socket.AF_INET6),
            rules=streams.dump_rules(sock),
            neighbours=neighbours.dump(sock),
            sysctls=run_in(netns_fd, sysctl.dump if all_settings else sysctl.dump_named),
            firewall=firewall.dump(netns_fd),
            conntrack=entries,
            expectations=expected,
        )


def check(state: NetworkState) -> None:
    """Read every stream without acting.  Raises NetnsError for a damaged one."""
    streams.parse(streams.ADDRESSES, state.addresses)
    streams.parse(streams.ROUTES, state.routes4)
    streams.parse(streams.ROUTES, state.routes6)
    streams.parse(streams.RULES, state.rules)
    conntrack.parse(state.conntrack, conntrack.CONNTRACK)
    conntrack.parse(state.expectations, conntrack.EXPECT)


def restore(
    state: NetworkState, netns_fd: int, externals: Externals | None = None, weak_sysctls: bool = False
) -> Restored:
    """Fill a new namespace, but for what `restore_filters` does.

    Links first, then settings (before anything is up), addresses, flags, routes, rules, neighbours.  A failure
    removes what was made outside; what is inside goes with the namespace.  Raises NetnsError.
    """
    check(state)
    with maker(netns_fd, externals or Externals()) as work:
        try:
            left = _restore(state, netns_fd, work, weak_sysctls)
        except BaseException as err:
            try:
                work.undo()
            except NetnsError as failure:
                err.add_note(f"while taking it back: {failure}")
            raise
        return Restored(tuple(work.outside), dict(work.indexes), left, dict(work.parked))


def _restore(state: NetworkState, netns_fd: int, work: Maker, weak_sysctls: bool) -> list[str]:
    work.make_all(state.links)
    left = run_in(netns_fd, lambda: sysctl.restore_others(state.sysctls.others))
    run_in(netns_fd, lambda: sysctl.restore(state.sysctls, weak_sysctls))
    # lo makes its addresses itself as it comes up; by hand, ::1 would bring a route that was not there
    work.raise_flags(tuple(link for link in state.links if link.kind == "loopback"))
    replay.restore_addresses(work.sock, state.addresses, work.indexes)
    work.raise_flags(state.links)
    # IPv6 settings of a link (mtu among them) may be made anew when it comes up
    run_in(netns_fd, lambda: sysctl.restore(state.sysctls, weak_sysctls))
    replay.restore_addresses(work.sock, state.addresses, work.indexes)
    replay.restore_routes(work.sock, state.routes4, work.indexes)
    replay.restore_routes(work.sock, state.routes6, work.indexes)
    replay.restore_rules(work.sock, state.rules)
    neighbours.restore(work.sock, state.neighbours, work.indexes)
    return left


def restore_filters(state: NetworkState, netns_fd: int) -> None:
    """Tracked connections and rule sets: last, for the rules may drop what connections need to come to life.

    Raises NetnsError.
    """
    conntrack.restore(netns_fd, state.conntrack, state.expectations)
    firewall.restore(netns_fd, state.firewall)
