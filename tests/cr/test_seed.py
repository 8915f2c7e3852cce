"""The seed, the first of the puppets, never stays: whatever happens to who starts it."""

from __future__ import annotations

import os
import signal
from typing import NoReturn

import pytest

from cr.kernel.clone import fork_sibling
from cr.remote.puppet import spawn_seed
from cr.remote.tracee import Tracee
from cr.restore.handover import Channel
from tests.cr.harness import alive, wait_for

pytestmark = pytest.mark.root


def die_before_the_seizing(reading: int, writing: int, *, sibling: bool) -> NoReturn:
    """Start a seed, say its pid, and be killed when it is there and not traced as yet."""

    def seize(pid: int, _options: int = 0) -> Tracee:
        os.write(writing, str(pid).encode())
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    try:
        os.close(reading)
        Tracee.seize = seize  # type: ignore[method-assign]
        channel = Channel()
        spawn_seed(channel.theirs.fileno(), birth=fork_sibling if sibling else None)
    finally:
        os._exit(1)


@pytest.mark.parametrize("sibling", [False, True])
def test_we_are_killed_before_it_is_seized(sibling: bool) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        die_before_the_seizing(reading, writing, sibling=sibling)
    os.close(writing)
    seed = int(os.read(reading, 100))
    os.close(reading)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    if sibling:
        assert os.waitstatus_to_exitcode(os.waitpid(seed, 0)[1]) == 0
    else:
        wait_for(lambda: not alive(seed), "the seed to end")


def test_it_cannot_be_seized(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = []

    def seize(pid: int, _options: int = 0) -> Tracee:
        seeds.append(pid)
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Tracee, "seize", seize)
    channel = Channel()
    with pytest.raises(PermissionError):
        spawn_seed(channel.theirs.fileno())
    channel.close()
    assert not alive(seeds[0])
