"""io_uring: rings that have nothing to do come back, others are refused."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest

from cr.model import Refused
from cr.resources.events.io_uring_facts import parse
from tests.cr.harness import Workload, alive
from tests.cr.test_namespaces import unshare_fork

FDINFO = """\
pos:\t0
SqMask:\t0x7
CachedSqHead:\t12
CqMask:\t0xf
CachedCqTail:\t10
SqThread:\t-1
UserFiles:\t3
    0: /dev/null
    2: socket:[77]
UserBufs:\t2
    0: 0x7f413da07000/4096
    1: <none>
PollList:
  op=6, task_works=0
CqOverflowList:
NAPI:\tdisabled
"""


def test_facts() -> None:
    facts = parse(FDINFO)
    assert facts is not None
    assert (facts.sq_entries, facts.cq_entries) == (8, 16)
    assert facts.files == {0: "/dev/null", 2: "socket:[77]"}
    assert facts.buffers == {0: (0x7F413DA07000, 4096)}
    assert (facts.files_room, facts.buffers_room) == (3, 2)
    assert list(facts.obstacles()) == []
    assert "2 of 12, 1 of them" in next(facts.unfinished())
    assert parse("pos:\t0\n") is None


@pytest.fixture
def _has_rings() -> None:
    fd = ctypes.CDLL(None).syscall(425, 1, ctypes.create_string_buffer(120))
    if fd < 0:
        pytest.skip("this kernel lacks io_uring")
    os.close(fd)


@pytest.mark.root
@pytest.mark.usefixtures("_has_rings")
@pytest.mark.parametrize("arguments", [[], ["array"]])
def test_idle_rings_come_back_more_than_once(arguments: list[str], tmp_path: Path) -> None:
    with Workload("rings", tmp_path, arguments) as workload:
        for _ in range(2):
            workload.dump()
            workload.restore()
        workload.check()


@pytest.mark.root
@pytest.mark.usefixtures("_has_rings")
def test_threads_of_the_kernel_are_no_threads_of_the_program(tmp_path: Path) -> None:
    """A worker that has nothing to do stays for five seconds."""
    with Workload("rings", tmp_path, ["worker"]) as workload:
        workload.cycle()


@pytest.mark.root
@pytest.mark.usefixtures("_has_rings")
def test_rings_of_a_user_namespace(tmp_path: Path) -> None:
    with Workload("rings", tmp_path, prefix=unshare_fork("user", "map-root-user", "pid")) as workload:
        workload.cycle()


@pytest.mark.root
@pytest.mark.usefixtures("_has_rings")
@pytest.mark.parametrize(
    ("argument", "sentence"), [("busy", "requests in flight"), ("eventfd", "IORING_REGISTER_EVENTFD")]
)
def test_what_cannot_be_restored_is_refused(argument: str, sentence: str, tmp_path: Path) -> None:
    with Workload("rings", tmp_path, [argument]) as workload:
        with pytest.raises(Refused, match=sentence):
            workload.dump()
        assert alive(workload.pid)
