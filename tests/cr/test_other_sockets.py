"""Packet and netlink sockets through freeze and thaw."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cr.harness import Workload

pytestmark = pytest.mark.root


def test_packet_and_netlink_sockets(tmp_path: Path) -> None:
    with Workload("other_sockets", tmp_path) as workload:
        workload.cycle()
