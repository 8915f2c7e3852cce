"""Labels of security modules: how they are written, and that each thread takes its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cr.model import CheckpointError
from cr.resources.mounts.machinery.labels import relabel
from cr.resources.tasks import security_label
from cr.resources.tasks.security_label import MODULES, Module, parse, plain
from cr.values import replace
from images import messages as m
from images.directory import ImageDirectory
from tests.cr.harness import Workload

APPARMOR, SELINUX = MODULES


@pytest.mark.parametrize(
    ("module", "text", "label"),
    [
        (APPARMOR, "unconfined\n", ""),
        (APPARMOR, "docker-default (enforce)\n", "docker-default"),
        (APPARMOR, "/usr/bin/a b (complain)\n", "/usr/bin/a b"),
        (APPARMOR, "unconfined (unconfined)\n", ""),
        (SELINUX, "system_u:system_r:container_t:s0:c1,c2\0", "system_u:system_r:container_t:s0:c1,c2"),
        (SELINUX, "unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023\0", ""),
    ],
)
def test_labels(module: Module, text: str, label: str) -> None:
    assert plain(module, text) == label


def test_the_option() -> None:
    assert parse("apparmor:docker-default") == (APPARMOR, "docker-default")
    assert parse("selinux:system_u:system_r:container_t:s0") == (SELINUX, "system_u:system_r:container_t:s0")
    for text in ("docker-default", "apparmor:", "smack:x"):
        with pytest.raises(CheckpointError, match="write it as apparmor:PROFILE or selinux:CONTEXT"):
            parse(text)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('size=64k,context="system_u:s0:c82,c137",mode=755', 'size=64k,context="new:s0:c1,c2",mode=755'),
        ("context=old:s0", 'context="new:s0:c1,c2"'),
        ("rootcontext=old:s0,size=1k", "rootcontext=old:s0,size=1k"),
        ("size=1k", "size=1k"),
    ],
)
def test_the_context_of_mounts(before: str, after: str) -> None:
    assert relabel(before, "new:s0:c1,c2") == after
    assert relabel(before, "") == before


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Module]:
    """A module of our own making: its label is a setting of each thread that any kernel has, its name."""
    fake = replace(APPARMOR, present=str(tmp_path), label="comm", change="now ")
    monkeypatch.setattr(security_label, "MODULES", (fake, SELINUX))
    security_label.active.cache_clear()
    yield fake
    security_label.active.cache_clear()


@pytest.mark.root
def test_a_label_is_kept_and_another_one_taken(module: Module, tmp_path: Path) -> None:
    with Workload("threads", tmp_path) as workload:
        workload.dump(leave_running=True)
        with ImageDirectory.open(str(workload.images)) as images:
            assert images.read_one("inventory").lsmtype == m.lsmtype.APPARMOR
            assert images.read_one("core", workload.pid).thread_core.creds.lsm_profile == "python3"
    other = tmp_path / "other"
    other.mkdir()
    with Workload("plain", other) as workload:
        workload.dump()
        workload.restore(lsm_profile="apparmor:mine")
        assert Path(f"/proc/{workload.restored}/comm").read_text() == "now mine\n"
        workload.check()


@pytest.mark.root
def test_a_module_that_this_kernel_does_not_run(module: Module, tmp_path: Path) -> None:
    with Workload("plain", tmp_path) as workload:
        workload.dump()
        with pytest.raises(CheckpointError, match="this kernel does not run SELinux"):
            workload.restore(lsm_profile="selinux:a:b:c:d")
