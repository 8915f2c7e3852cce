"""Descriptors of every kind are dumped and restored by the workloads that check themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cr.harness import Workload
from tests.cr.test_namespaces import unshare, unshare_fork

pytestmark = pytest.mark.root
KINDS = ("net", "ipc", "uts")
FLAVOURS = [("pid", *KINDS), ("user", "map-root-user", "pid", *KINDS)]


@pytest.mark.parametrize(
    "name", ["pipes", "events", "files", "locks", "memory_files", "processes", "bpf_maps", "epoll_signals"]
)
def test_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    with Workload(name, tmp_path) as workload:
        workload.cycle(link_remap=True, file_locks=True)


@pytest.mark.parametrize("flavour", [(), *FLAVOURS], ids=["host", "namespaces", "user namespace"])
def test_deleted_files_that_have_another_name_beside(flavour: tuple[str, ...], tmp_path: Path) -> None:
    """Without --link-remap: what sem_open(3) leaves behind is found by its lasting name."""
    with Workload("semaphores", tmp_path, prefix=unshare_fork(*flavour) if flavour else ()) as workload:
        workload.cycle()


def test_more_descriptors_than_one_program_places(tmp_path: Path) -> None:
    with Workload("many_descriptors", tmp_path) as workload:
        workload.cycle()


@pytest.mark.parametrize("flavour", FLAVOURS, ids=["namespaces", "user namespace"])
@pytest.mark.parametrize("name", ["pipes", "events", "locks", "terminals", "memory_files", "epoll_signals"])
def test_comes_back_in_namespaces_of_its_own(name: str, flavour: tuple[str, ...], tmp_path: Path) -> None:
    with Workload(name, tmp_path, prefix=unshare_fork(*flavour)) as workload:
        workload.cycle(link_remap=True, file_locks=True)


@pytest.mark.parametrize("user", [(), ("user", "map-root-user")], ids=["namespaces", "user namespace"])
def test_files_come_back_in_namespaces_of_their_own(user: tuple[str, ...], tmp_path: Path) -> None:
    """In the host's pid namespace: names in /proc hold pids."""
    with Workload("files", tmp_path, prefix=unshare(*user, *KINDS)) as workload:
        workload.cycle(link_remap=True, file_locks=True)
