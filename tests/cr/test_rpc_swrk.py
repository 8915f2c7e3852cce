"""`swrk FD`: conversations with one client."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EBADRQC, EEXIST, ESRCH
from pathlib import Path
from typing import Any

import pytest

from cr.rpc import greeting
from cr.rpc.transport import LIMIT
from images import messages as m
from tests.cr.harness import Workload, alive
from tests.cr.rpc_client import acknowledge, ask, follow, hear, kind_of

SO_SNDBUFFORCE = 32
PROJECT = Path(__file__).resolve().parent.parent.parent


@contextmanager
def swrk(**environment: str) -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    """A server, and the socket to it; in the end it has ended by itself."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(30)
    server = subprocess.Popen(
        [sys.executable, "-m", "cr.cli", "swrk", str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        env={**os.environ, "PYTHONPATH": str(PROJECT), **environment},
        stderr=subprocess.PIPE,
    )
    theirs.close()
    try:
        with ours:
            yield server, ours
        server.wait(30)
    finally:
        server.kill()
        server.communicate()


def test_the_greeting_is_the_same_message_as_the_long_way_gives() -> None:
    with swrk() as (server, sock):
        long_way = ask(sock, "VERSION", keep_open=True)
        assert long_way == m.criu_resp.FromString(greeting.answer())
        assert ask(sock, "VERSION") == long_way
    assert server.returncode == 0
    version = long_way.version
    assert version.major_number * 10000 + version.minor_number * 100 >= 31600


@pytest.mark.parametrize("opts", [None, m.criu_opts(images_dir_fd=0)])
def test_the_greeting_is_answered(opts: m.criu_opts | None) -> None:
    with swrk() as (server, sock):
        answer = ask(sock, "VERSION", opts=opts)
        assert (kind_of(answer), answer.success, answer.version.major_number) == ("VERSION", True, 4)
    assert server.returncode == 0


@pytest.mark.parametrize(
    "packet", [b"", b"\x08", b"\x08\x8a", b"\x12\x80", b"\x0d\x00\x00\x00\x00", b"\x08\x0a\x12\x05x"]
)
def test_a_torn_greeting_is_none(packet: bytes) -> None:
    assert greeting.outline(packet) == {}


def test_the_greeting_imports_nothing() -> None:
    script = "import sys, os, _socket; before = set(sys.modules); import cr.cli, cr.rpc.greeting;"
    script += "print(*sorted(set(sys.modules) - before))"
    command = [sys.executable, "-IS", "-c", f"import sys; sys.path[:0] = [{str(PROJECT)!r}]; {script}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["__future__", "cr", "cr.cli", "cr.dump", "cr.restore", "cr.rpc", "cr.rpc.greeting"]


@pytest.mark.root
@pytest.mark.parametrize(
    ("packet", "sentence"),
    [
        (b"junk", "is no criu_req message"),
        (b"\x08\x63", "lacks type, or has an unknown value"),
        (m.criu_req(type=m.criu_req_type.NOTIFY).SerializeToString(), "NOTIFY is not a request"),
        (bytes(LIMIT + 1), f"longer than {LIMIT} bytes"),
    ],
)
def test_what_cannot_be_understood_is_answered_and_ends_it(packet: bytes, sentence: str) -> None:
    with swrk() as (server, sock):
        sock.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 4 * LIMIT)
        sock.send(packet)
        answer = hear(sock)
        assert (kind_of(answer), answer.success, answer.cr_errno) == ("EMPTY", False, EBADRQC)
        assert sentence in answer.cr_errmsg
    assert server.returncode == 1


def test_a_configuration_file_that_is_wrong_ends_it(tmp_path: Path) -> None:
    (tmp_path / "conf").write_text("no-such-thing=1\n")
    with swrk(CRIU_CONFIG_FILE=str(tmp_path / "conf")) as (server, sock):
        sock.shutdown(socket.SHUT_WR)
        assert server.stderr is not None and b"there is no option --no-such-thing" in server.stderr.read()
    assert server.returncode == 1


def test_features_are_tried() -> None:
    with swrk() as (_, sock):
        answer = ask(sock, "FEATURE_CHECK", features=m.criu_features(pidfd_store=False))
        assert answer.success
        assert [answer.features.HasField(name) for name in ("mem_track", "lazy_pages", "pidfd_store")] == [True] * 3
        assert not answer.features.pidfd_store


@pytest.mark.root
def test_refusals_have_an_errno_and_the_socket_goes_on(tmp_path: Path) -> None:
    images = os.open(tmp_path, os.O_RDONLY)
    with swrk() as (server, sock):
        opts = m.criu_opts(images_dir_fd=images, pid=int(Path("/proc/sys/kernel/pid_max").read_text()))
        answer = ask(sock, "DUMP", opts=opts, keep_open=True)
        assert (kind_of(answer), answer.success, answer.cr_errno) == ("DUMP", False, ESRCH)
        assert answer.cr_errmsg == f"there is no process {opts.pid}"
        assert "Dumping FAILED." in (tmp_path / "criu.log").read_text()
        answer = ask(sock, "DUMP", opts=m.criu_opts(images_dir_fd=images, log_file="a/b"), keep_open=True)
        assert (answer.success, answer.cr_errno) == (False, EBADRQC)
        answer = ask(sock, "CHECK", opts=m.criu_opts(images_dir_fd=-1, log_file="a/b"), keep_open=True)
        assert (answer.success, answer.cr_errno) == (False, EBADRQC)
        answer = ask(sock, "CHECK", opts=m.criu_opts(images_dir_fd=images))
        assert answer.success, answer.cr_errmsg
    os.close(images)
    assert server.returncode == 0


def start(sock: socket.socket, kind: str, directory: int, **more: Any) -> None:
    opts = m.criu_opts(images_dir_fd=directory, log_file=f"{kind}.log", log_level=4, notify_scripts=True, **more)
    sock.send(m.criu_req(type=kind, opts=opts).SerializeToString())


DUMPED = ["pre-dump", "network-lock", "query-ext-files", "post-dump"]
RESTORED = ["pre-restore", "setup-namespaces", "post-setup-namespaces", "post-restore"]


@pytest.fixture
def frozen(tmp_path: Path) -> Iterator[tuple[Workload, int]]:
    """A workload and a descriptor of its image directory."""
    with Workload("plain", tmp_path) as workload:
        workload.images.mkdir()
        directory = os.open(workload.images, os.O_RDONLY)
        yield workload, directory
        os.close(directory)


def dump(workload: Workload, directory: int) -> list[str]:
    """Dump by swrk; the notifications."""
    with swrk() as (_, sock):
        start(sock, "DUMP", directory, pid=workload.pid)
        names, answer = follow(sock)
        assert answer.success, answer.cr_errmsg
        assert answer.HasField("dump") and not answer.dump.restored
    assert workload.process is not None
    workload.process.wait(20)
    return names


@pytest.mark.root
def test_dump_and_restore_with_notifications(frozen: tuple[Workload, int]) -> None:
    workload, directory = frozen
    assert dump(workload, directory) == DUMPED
    with swrk() as (_, sock):
        start(sock, "RESTORE", directory, rst_sibling=True)
        names, answer = follow(sock)
        assert answer.success, answer.cr_errmsg
        workload.restored = answer.restore.pid
        assert workload.restored == workload.pid
        assert names == [*RESTORED, "network-unlock", "pre-resume", "post-resume"]
    assert Path(f"/proc/{workload.pid}/stat").read_text().rpartition(")")[2].split()[1] == str(os.getpid())
    workload.check()


@pytest.mark.root
@pytest.mark.parametrize("sibling", [False, True])
def test_a_command_takes_the_place_of_the_engine(frozen: tuple[Workload, int], sibling: bool) -> None:
    """After the answer, where the log is, and writing into it; the parent of the root task, unless the client is."""
    workload, directory = frozen
    dump(workload, directory)
    script = "echo $$ in $PWD; grep SigIgn /proc/self/status; read line"
    with swrk() as (server, sock):
        opts = m.criu_opts(images_dir_fd=directory, log_file="r.log", rst_sibling=sibling)
        opts.exec_cmd.extend(["sh", "-c", script])
        answer = ask(sock, "RESTORE", opts=opts)
        assert answer.success, answer.cr_errmsg
        workload.restored = answer.restore.pid
        assert sock.recv(100) == b""
        server.wait(20)
    said = (workload.images / "r.log").read_text()
    assert f"{server.pid} in {workload.images}\nSigIgn:\t{0:016x}\n" in said
    workload.check()


@pytest.mark.root
def test_a_command_that_is_not_there_is_noticed_before_there_is_a_tree(frozen: tuple[Workload, int]) -> None:
    workload, directory = frozen
    dump(workload, directory)
    with swrk() as (_, sock):
        opts = m.criu_opts(images_dir_fd=directory, exec_cmd=["nonsense-program"])
        answer = ask(sock, "RESTORE", opts=opts)
        assert (answer.success, answer.cr_errmsg) == (False, "--exec-cmd: there is no program nonsense-program")
    assert not alive(workload.pid)


@pytest.mark.root
def test_pre_dumps_on_one_socket_then_the_dump(frozen: tuple[Workload, int]) -> None:
    """PRE_DUMP leaves the socket open for the next request, SINGLE_PRE_DUMP does not."""
    workload, directory = frozen
    places = {name: workload.directory / name for name in ("first", "second", "third")}
    opened = {}
    for name, place in places.items():
        place.mkdir()
        opened[name] = os.open(place, os.O_RDONLY)
    with swrk() as (_, sock):
        answer = ask(sock, "PRE_DUMP", opts=m.criu_opts(images_dir_fd=opened["first"], pid=workload.pid))
        assert answer.success, answer.cr_errmsg
        opts = m.criu_opts(images_dir_fd=opened["second"], pid=workload.pid, parent_img="../first")
        answer = ask(sock, "PRE_DUMP", opts=opts)
        assert answer.success, answer.cr_errmsg
    with swrk() as (_, sock):
        opts = m.criu_opts(images_dir_fd=opened["third"], pid=workload.pid, parent_img="../second")
        answer = ask(sock, "SINGLE_PRE_DUMP", opts=opts)
        assert answer.success, answer.cr_errmsg
        assert sock.recv(100) == b""
    with swrk() as (_, sock):
        opts = m.criu_opts(images_dir_fd=directory, pid=workload.pid, parent_img="../third", track_mem=True)
        answer = ask(sock, "DUMP", opts=opts)
        assert answer.success, answer.cr_errmsg
    assert workload.process is not None
    workload.process.wait(20)
    with swrk() as (_, sock):
        answer = ask(sock, "RESTORE", opts=m.criu_opts(images_dir_fd=directory, rst_sibling=True))
        assert answer.success, answer.cr_errmsg
        workload.restored = answer.restore.pid
    for fd in opened.values():
        os.close(fd)
    workload.check()


def test_what_the_processor_can_do(tmp_path: Path) -> None:
    images = os.open(tmp_path, os.O_RDONLY)
    with swrk() as (_, sock):
        assert ask(sock, "CPUINFO_DUMP", opts=m.criu_opts(images_dir_fd=images), keep_open=True).success
        assert ask(sock, "CPUINFO_CHECK", opts=m.criu_opts(images_dir_fd=images), keep_open=True).success
        (tmp_path / "cpuinfo.img").unlink()
        answer = ask(sock, "CPUINFO_CHECK", opts=m.criu_opts(images_dir_fd=images, cpu_cap=2))
        assert not answer.success and "cpuinfo.img" in answer.cr_errmsg
    os.close(images)


def test_a_page_server_of_ones_own(tmp_path: Path) -> None:
    images = os.open(tmp_path, os.O_RDONLY)
    with swrk() as (_, sock):
        opts = m.criu_opts(images_dir_fd=images, ps=m.criu_page_server_info(address="127.0.0.1", port=0))
        answer = ask(sock, "PAGE_SERVER_CHLD", opts=opts, keep_open=True)
        assert answer.success, answer.cr_errmsg
        with socket.create_connection(("127.0.0.1", answer.ps.port)) as dump:
            dump.sendall(b"this is no page")
        answer = ask(sock, "WAIT_PID", pid=answer.ps.pid, keep_open=True)
        assert answer.success and os.WEXITSTATUS(answer.status) == 1
        answer = ask(sock, "WAIT_PID", pid=1)
        assert not answer.success and "was not started on this socket" in answer.cr_errmsg
    os.close(images)


@pytest.mark.root
def test_a_taken_pid_has_its_errno(frozen: tuple[Workload, int]) -> None:
    workload, directory = frozen
    with swrk() as (_, sock):
        start(sock, "DUMP", directory, pid=workload.pid, leave_running=True)
        names, answer = follow(sock)
        assert answer.success, answer.cr_errmsg
        assert names == [*DUMPED, "network-unlock"]
    with swrk() as (_, sock):
        start(sock, "RESTORE", directory)
        names, answer = follow(sock)
        assert (answer.success, answer.cr_errno) == (False, EEXIST)
        assert f"pid {workload.pid} is taken" in answer.cr_errmsg
    workload.check()


@pytest.mark.root
@pytest.mark.parametrize("point", DUMPED)
def test_a_client_that_refuses_a_dump_has_its_tree_back(frozen: tuple[Workload, int], point: str) -> None:
    workload, directory = frozen
    with swrk() as (server, sock):
        start(sock, "DUMP", directory, pid=workload.pid)
        _, answer = follow(sock, refuse=point)
        assert not answer.success
        assert f"refused to go on at {point}" in answer.cr_errmsg
    assert server.returncode == 0
    assert not (workload.images / "inventory.img").exists()
    workload.check()


@pytest.mark.root
@pytest.mark.parametrize("point", DUMPED)
def test_a_client_that_dies_in_a_dump_has_its_tree_back(frozen: tuple[Workload, int], point: str) -> None:
    workload, directory = frozen
    with swrk() as (server, sock):
        start(sock, "DUMP", directory, pid=workload.pid)
        leave_at(sock, point)
    assert server.returncode == 1
    assert not (workload.images / "inventory.img").exists()
    workload.check()


@pytest.mark.root
@pytest.mark.parametrize("point", RESTORED)
def test_a_client_that_dies_in_a_restore_leaves_nothing(frozen: tuple[Workload, int], point: str) -> None:
    workload, directory = frozen
    dump(workload, directory)
    with swrk() as (server, sock):
        start(sock, "RESTORE", directory)
        leave_at(sock, point)
    assert server.returncode == 1
    assert not alive(workload.pid)


def leave_at(sock: socket.socket, point: str) -> None:
    """Acknowledge notifications until `point`, then close the socket."""
    while hear(sock).notify.script != point:
        acknowledge(sock)
    sock.close()
