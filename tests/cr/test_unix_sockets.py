"""Unix sockets through freeze and thaw."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from cr.contract.network import network_of_socket
from cr.kernel.sock_diag import unix_socket
from cr.model import Refused
from tests.cr.harness import Workload
from tests.cr.test_namespaces import unshare_fork

pytestmark = pytest.mark.root


def test_unix_sockets_of_all_kinds(tmp_path: Path) -> None:
    with Workload("unix_sockets", tmp_path) as workload:
        workload.cycle()


def test_requests_that_wait_to_be_accepted(tmp_path: Path) -> None:
    with Workload("unix_sockets", tmp_path, ["busy"]) as workload:
        workload.cycle()


def test_requests_that_wait_cannot_be_seen_while_the_tasks_go_on(tmp_path: Path) -> None:
    with Workload("unix_sockets", tmp_path, ["busy"]) as workload:
        with pytest.raises(Refused, match="which only a dump that ends the tasks can look into"):
            workload.dump(leave_running=True)
        workload.check()


def test_unix_sockets_survive_two_rounds(tmp_path: Path) -> None:
    with Workload("unix_sockets", tmp_path) as workload:
        workload.dump()
        workload.restore()
        workload.cycle()


def test_a_dump_that_leaves_running_takes_nothing_out_of_the_queues(tmp_path: Path) -> None:
    with Workload("unix_sockets", tmp_path) as workload:
        workload.dump(leave_running=True)
        workload.check()


def _socket_of(workload: Workload, end: socket.socket) -> int:
    """Inode of the workload's end of a socket pair that we hold the other end of."""
    with network_of_socket(end.fileno()):
        return unix_socket(os.fstat(end.fileno()).st_ino).peer or 0


def test_a_peer_outside_of_the_tree_is_refused_or_given_back(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with Workload("outside_peer", tmp_path, stdin=theirs.fileno()) as workload:
        theirs.close()
        inode = _socket_of(workload, ours)
        with pytest.raises(Refused, match="--ext-unix-sk"):
            workload.dump()
        workload.dump(external=[f"unix[{inode}]"])
        ours.close()
        ours, theirs = socket.socketpair()
        workload.restore(inherit_fd=[f"fd[{theirs.fileno()}]:socket:[{inode}]"])
        theirs.close()
        ours.send(b"question")
        workload.check()
        assert ours.recv(100) == b"answer"
        ours.close()


def test_a_peer_outside_may_be_lost(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with Workload("outside_peer", tmp_path, ["alone"], stdin=theirs.fileno()) as workload:
        theirs.close()
        workload.cycle(ext_unix_sk="")
    ours.close()


@pytest.mark.parametrize("kind", ["host", "namespaces"])
def test_peers_are_told_who_made_them(kind: str, tmp_path: Path) -> None:
    prefix = [] if kind == "host" else unshare_fork("pid", "net")
    with Workload("peer_credentials", tmp_path, prefix=prefix) as workload:
        workload.cycle()
