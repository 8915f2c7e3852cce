"""The network lock, on real TCP over loopback."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator

import pytest

from netns import NetnsError, firewall, iptables, lock, loopback
from netns.enter import run_in
from netns.lock import Method
from netns.nft import PASS_MARK, Connection

pytestmark = pytest.mark.root
Make = Callable[[], int]
Until = Callable[[Callable[[], bool]], None]


class Pair:
    """A TCP connection inside a namespace."""

    def __init__(self, fd: int, host: str, mark: int = 0) -> None:
        self.client, self.server = run_in(fd, lambda: self._connect(host, mark))
        self.server.setblocking(False)

    def _connect(self, host: str, mark: int) -> tuple[socket.socket, socket.socket]:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as listener:
            client = socket.socket(family)
            client.settimeout(5)
            for each in (listener, client):
                if mark:
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
            listener.bind((host, 0))
            listener.listen()
            client.connect(listener.getsockname())
            return client, listener.accept()[0]

    def connection(self) -> Connection:
        here, there = self.client.getsockname(), self.client.getpeername()
        return Connection(self.client.family, here[0], here[1], there[0], there[1])

    def passes(self) -> bool:
        """On loopback a segment that is let through is there when send returns."""
        self.client.send(b"x")
        try:
            return bool(self.server.recv(100))
        except BlockingIOError:
            return False

    def arrives(self) -> bool:
        try:
            return bool(self.server.recv(100))
        except BlockingIOError:
            return False

    def close(self) -> None:
        self.client.close()
        self.server.close()


@pytest.fixture
def fd(namespace: Make) -> int:
    made = namespace()
    loopback.bring_up(made)
    return made


@pytest.fixture
def pairs(fd: int) -> Iterator[list[Pair]]:
    made = [Pair(fd, "127.0.0.1"), Pair(fd, "::1"), Pair(fd, "::1"), Pair(fd, "127.0.0.1")]
    yield made
    for pair in made:
        pair.close()


def test_nothing_passes_but_what_is_marked(fd: int, pairs: list[Pair], until: Until) -> None:
    assert all(pair.passes() for pair in pairs)
    with lock.lock(fd) as held:
        assert not any(pair.passes() for pair in pairs)
        marked = Pair(fd, "127.0.0.1", PASS_MARK)
        assert marked.passes()
        marked.close()
        assert firewall.tables(fd) == [], "a dump must not see the lock"
        held.unlock()
        held.unlock()
    # what was sent meanwhile is sent again: the peer saw a lag only
    until(pairs[0].arrives)


def test_only_some_connections_are_locked(fd: int, pairs: list[Pair]) -> None:
    with lock.lock(fd, connections=[pairs[0].connection(), pairs[1].connection()]):
        assert [pair.passes() for pair in pairs] == [False, False, True, True]


def test_a_killed_holder_leaves_no_lock(fd: int, pairs: list[Pair], until: Until) -> None:
    child = os.fork()
    if child == 0:
        lock.lock(fd)
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    until(pairs[0].passes)


def test_a_kept_lock_outlives_its_holder_and_a_janitor_removes_it(fd: int, pairs: list[Pair], until: Until) -> None:
    record = lock.lock(fd).keep()
    assert not pairs[0].passes()
    lock.remove(record, fd)
    lock.remove(record, fd)
    until(pairs[0].arrives)


def test_skip_locks_nothing(fd: int, pairs: list[Pair]) -> None:
    with lock.lock(fd, Method.SKIP) as held:
        assert pairs[0].passes()
        lock.remove(held.record, fd)


def test_iptables_locks_too(fd: int, pairs: list[Pair], until: Until) -> None:
    try:
        iptables.run(fd, "iptables-save", ["-t", "filter"])
    except NetnsError as err:
        pytest.skip(f"this kernel lacks what is tested: {err}")
    with lock.lock(fd, Method.IPTABLES) as held:
        assert not pairs[0].passes()
        assert held.record.ipv6 is not pairs[1].passes()
    until(pairs[0].arrives)
    assert "WOODFROG" not in iptables.run(fd, "iptables-save", ["-t", "filter"])
    lock.remove(held.record, fd)


def test_a_lock_that_cannot_be_made_says_how_to_do_without(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "table_name", lambda: "x" * 400)
    with pytest.raises(NetnsError, match="cannot lock the network") as caught:
        lock.lock(fd)
    assert "--network-lock skip" in caught.value.__notes__[0]
