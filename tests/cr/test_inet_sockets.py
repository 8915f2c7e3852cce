"""Internet sockets through freeze and thaw."""

from __future__ import annotations

from pathlib import Path

import pytest

from cr.model import Refused
from tests.cr.harness import Workload

pytestmark = pytest.mark.root


def test_connections_go_on(tmp_path: Path) -> None:
    with Workload("inet_sockets", tmp_path) as workload:
        workload.cycle(tcp_established=True)


def test_connections_go_on_after_two_rounds(tmp_path: Path) -> None:
    with Workload("inet_sockets", tmp_path) as workload:
        workload.dump(tcp_established=True)
        workload.restore(tcp_established=True)
        workload.cycle(tcp_established=True)


def test_a_dump_that_leaves_running_does_not_disturb_connections(tmp_path: Path) -> None:
    with Workload("inet_sockets", tmp_path) as workload:
        workload.dump(leave_running=True, tcp_established=True)
        workload.check()


def test_connections_are_refused_unless_asked_for(tmp_path: Path) -> None:
    with Workload("inet_sockets", tmp_path) as workload:
        with pytest.raises(Refused, match="--tcp-established"):
            workload.dump()
        workload.check()


@pytest.mark.parametrize("prefix", [[], ["unshare", "--net"], ["unshare", "--user", "--map-root-user", "--net"]])
def test_rare_options_and_multicast_groups(prefix: list[str], tmp_path: Path) -> None:
    with Workload("socket_options", tmp_path, prefix=prefix) as workload:
        workload.cycle(tcp_established=True)
