"""The client: against our own server, and against criu where one is given."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cr.model import CheckpointError
from cr.options import Options, rows
from cr.rpc.client import Remote, RemoteError
from cr.rpc.fields import IMPLIED, fill
from cr.rpc.requests import copy_of, merge
from cr.rpc.transport import Client
from images import messages as m
from tests.cr.harness import Workload

PROJECT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def ours(tmp_path: Path) -> str:
    """Our engine as one program."""
    program = tmp_path / "criu"
    lines = [f"#!{sys.executable} -I", "import sys", f"sys.path.insert(0, {str(PROJECT)!r})"]
    program.write_text("\n".join([*lines, "from cr.cli import command", "command()", ""]))
    program.chmod(0o755)
    return str(program)


@pytest.fixture(params=["ours", "criu"])
def program(request: pytest.FixtureRequest, ours: str) -> str:
    if request.param == "ours":
        return ours
    path = os.environ.get("WOODFROG_TEST_CRIU")
    if not path:
        pytest.skip("needs WOODFROG_TEST_CRIU: the path of criu 4")
    return path


@pytest.fixture
def there_and_back() -> Iterator[Any]:
    """Options as a message and as options again."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, other:

        def travel(**values: Any) -> Options:
            opts = m.criu_opts(images_dir_fd=-1)
            fill(opts, values)
            options = copy_of(Options())
            merge(m.criu_opts.FromString(opts.SerializeToString()), Client(one), options)
            return options

        yield travel


@pytest.mark.parametrize(
    "values",
    [
        {"tree": 7, "leave_running": True, "shell_job": False, "verbosity": 4, "root": "/r", "log_file": "x.log"},
        {"external": ["mnt[/a]:a"], "skip_mnt": ["/b"], "enable_fs": ["x"], "irmap_scan_path": ["/c"]},
        {"ext_mount_map": ["a:b:c", "auto"], "veth_pair": ["eth0=veth0"], "empty_ns": ["net"], "join_ns": ["net:/x"]},
        {"ext_unix_sk": ""},
        {"ext_unix_sk": "5,6"},
        {"manage_cgroups": ""},
        {"manage_cgroups": "ignore"},
        {"manage_cgroups": "none", "cgroup_root": ["cpu:/c", ":/d", "/e", "name=x:/f"]},
        {"inherit_fd": ["fd[2]:pipe:[9]"], "network_lock": "skip", "pre_dump_mode": "read", "timeout": 3},
        {"page_server": True, "address": "127.0.0.1", "port": 99},
    ],
)
def test_options_arrive_as_they_were(there_and_back: Any, values: dict[str, Any]) -> None:
    options = there_and_back(**values)
    assert {name: getattr(options, name) for name in values} == values


def test_what_has_no_field_is_refused(there_and_back: Any) -> None:
    with pytest.raises(CheckpointError, match="--pidfile, --action-script cannot be asked for by RPC"):
        there_and_back(pidfile="x", action_script=["y"], dry_run=False)
    assert {row.name for row in rows()} >= IMPLIED


def test_version_and_features(program: str) -> None:
    with Remote.start(program) as engine:
        assert engine.version() >= (4, 2, 0)
        assert set(engine.features()) == {"mem_track", "lazy_pages", "pidfd_store"}


def test_who_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match="missing cannot be started: No such file") as caught:
        Remote.start(str(tmp_path / "missing"))
    assert caught.value.errno == errno.ENOENT
    with pytest.raises(RemoteError, match="nobody serves at"):
        Remote.connect(str(tmp_path / "socket"))
    with Remote.start("/bin/true") as engine, pytest.raises(RemoteError, match=r"engine (ended|is gone)|no answer"):
        engine.version()


@pytest.mark.root
def test_dump_and_restore(program: str, tmp_path: Path) -> None:
    events: list[str] = []
    with Workload("plain", tmp_path) as workload:
        workload.images.mkdir()
        with Remote.start(program) as engine:
            engine.dump(workload.pid, str(workload.images), log_file="dump.log", verbosity=4)
        assert workload.process is not None
        workload.process.wait(20)
        with Remote.start(program) as engine:
            workload.restored = engine.restore(
                str(workload.images), restore_sibling=True, notify=lambda event, pid, fd: events.append(event)
            )
        assert workload.restored == workload.pid
        workload.check()
    assert events[0] == "pre-restore" and events[-1] == "post-resume"


@pytest.mark.root
def test_a_refusal_has_a_sentence(program: str, tmp_path: Path) -> None:
    nobody = int(Path("/proc/sys/kernel/pid_max").read_text())
    with Remote.start(program) as engine, pytest.raises(RemoteError) as caught:
        engine.dump(nobody, str(tmp_path))
    assert caught.value.errno == errno.ESRCH
    assert str(caught.value)


@pytest.mark.root
def test_a_notification_that_fails_ends_it(program: str, tmp_path: Path) -> None:
    def notify(event: str, pid: int, fd: int | None) -> None:
        if event == "post-dump":
            raise ValueError("the frog stays")

    with Workload("plain", tmp_path) as workload:
        workload.images.mkdir()
        with Remote.start(program) as engine, pytest.raises(ValueError, match="the frog stays"):
            engine.dump(workload.pid, str(workload.images), notify=notify)
        workload.check()
