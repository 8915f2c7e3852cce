"""Features of networks and sockets: each is tried, and leaves nothing behind."""

from __future__ import annotations

import os

import pytest

from cr.check import check
from cr.check_network import NETWORK, in_own_network


@pytest.mark.root
@pytest.mark.parametrize("name", sorted(NETWORK))
def test_a_feature_is_there(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = os.stat("/proc/self/ns/net").st_ino, len(os.listdir("/proc/self/fd"))
    assert check([name]) == 0, capsys.readouterr().err
    assert (os.stat("/proc/self/ns/net").st_ino, len(os.listdir("/proc/self/fd"))) == before


@pytest.mark.root
def test_a_probe_has_a_network_of_its_own() -> None:
    seen: list[int] = []
    in_own_network(lambda: seen.append(os.stat("/proc/thread-self/ns/net").st_ino))
    assert seen != [os.stat("/proc/self/ns/net").st_ino]
