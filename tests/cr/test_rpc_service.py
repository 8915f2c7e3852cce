"""`service`: many clients, each with its own rights."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EACCES
from pathlib import Path
from typing import Any

import pytest

from images import messages as m
from tests.cr.harness import PYTHON, WORKLOADS, alive, wait_for
from tests.cr.rpc_client import ask, hear, kind_of

pytestmark = pytest.mark.root

PROJECT = Path(__file__).resolve().parent.parent.parent
ENGINE = [sys.executable, "-m", "cr.cli"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(PROJECT)}
USER = 12345
ASKER = (WORKLOADS / "asker.py").read_text()  # a user may have no way to the file


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that other users can reach, with image directories for root and for a user."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        for owner in (0, USER):
            (place / str(owner)).mkdir(mode=0o700)
            os.chown(place / str(owner), owner, owner)
        yield place


@pytest.fixture
def service(place: Path) -> Iterator[Path]:
    """A running service; its socket."""
    command = [*ENGINE, "service", "-W", str(place), "-D", str(place), "--address", "socket", "-o", "log", "-v4"]
    with subprocess.Popen([*command, "--pidfile", "pid"], env=ENVIRONMENT) as server:
        try:
            wait_for((place / "pid").exists, "the service")
            yield place / "socket"
            assert server.poll() is None, (place / "log").read_text()
        finally:
            server.terminate()
            server.wait(20)


def connect(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.settimeout(30)
    try:
        sock.connect(str(path))
    except OSError:
        sock.close()
        raise
    return sock


def rights_of(user: int) -> dict[str, Any]:
    """Arguments of Popen for a process of the user's."""
    return {"user": user, "group": user, "extra_groups": []} if user else {}


@contextmanager
def sleeper(user: int) -> Iterator[int]:
    """A process of a user's; its pid."""
    null = subprocess.DEVNULL
    command = ["/bin/sleep", "1000"]
    process = subprocess.Popen(
        command, stdin=null, stdout=null, stderr=null, start_new_session=True, cwd="/", **rights_of(user)
    )
    try:
        wait_for(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n", "sleep")
        yield process.pid
    finally:
        process.kill()
        process.wait()


def ask_as(user: int, service: Path, directory: Path, kind: str, **opts: Any) -> m.criu_resp:
    """A request by a process of the user's."""
    request = m.criu_req(type=kind, opts=m.criu_opts(images_dir_fd=100, **opts)).SerializeToString()
    command = [PYTHON, "-c", ASKER, str(service), str(directory), request.hex()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", timeout=30, **rights_of(user))
    assert done.returncode == 0, done.stderr
    return m.criu_resp.FromString(bytes.fromhex(done.stdout))


def test_many_clients_at_once_and_bad_ones_among_them(service: Path) -> None:
    clients = [connect(service) for _ in range(20)]
    clients[3].send(b"junk")
    clients[4].close()
    clients[5].send(b"\x08")
    for number in (3, 5):
        assert kind_of(hear(clients[number])) == "EMPTY"
    for number in (19, 0, 11):
        assert ask(clients[number], "VERSION").success
    for client in clients:
        client.close()
    with connect(service) as late:
        assert ask(late, "VERSION").success


def test_a_user_dumps_and_restores_what_is_the_users_own(service: Path, place: Path) -> None:
    with sleeper(USER) as pid:
        answer = ask_as(USER, service, place / str(USER), "DUMP", pid=pid, leave_running=True)
        assert answer.success, answer.cr_errmsg
        answer = ask_as(USER, service, place / str(USER), "DUMP", pid=pid)
        assert answer.success, answer.cr_errmsg
        os.waitpid(pid, 0)
        answer = ask_as(USER, service, place / str(USER), "RESTORE")
        assert answer.success, answer.cr_errmsg
        status = Path(f"/proc/{answer.restore.pid}/status").read_text()
        os.kill(answer.restore.pid, signal.SIGKILL)
    assert f"Uid:\t{USER}\t{USER}\t{USER}\t{USER}" in status
    assert "CapEff:\t0000000000000000" in status
    assert "CapPrm:\t0000000000000000" in status


def test_the_command_of_a_user_has_no_more_rights_than_the_user(service: Path, place: Path) -> None:
    command = ["sh", "-c", "grep ^Cap[IPEA] /proc/self/status; env; echo end"]
    with sleeper(USER) as pid:
        assert ask_as(USER, service, place / str(USER), "DUMP", pid=pid).success
        os.waitpid(pid, 0)
        answer = ask_as(USER, service, place / str(USER), "RESTORE", log_file="r.log", exec_cmd=command)
        assert answer.success, answer.cr_errmsg
        log = place / str(USER) / "r.log"
        said = wait_for(lambda: "end\n" in (text := log.read_text()) and text, "the command to run")
        os.kill(answer.restore.pid, signal.SIGKILL)
    assert [line.split()[1] for line in said.splitlines() if line.startswith("Cap")] == [f"{0:016x}"] * 4
    assert "HOME=" not in said


def test_a_user_gets_nothing_of_others(service: Path, place: Path) -> None:
    for owner in (0, USER + 1):
        with sleeper(owner) as pid:
            answer = ask_as(USER, service, place / str(USER), "DUMP", pid=pid)
            assert (answer.success, answer.cr_errno) == (False, EACCES)
            assert answer.cr_errmsg == f"user {USER} has no right to dump process {pid}"
            assert alive(pid)


def test_a_user_writes_nowhere_else(service: Path, place: Path) -> None:
    (place / "0").chmod(0o755)
    with sleeper(USER) as pid:
        answer = ask_as(USER, service, place / "0", "DUMP", pid=pid, leave_running=True)
        assert not answer.success
        assert "Permission denied" in answer.cr_errmsg
        assert not list((place / "0").iterdir())
        assert alive(pid)


def test_a_user_does_not_become_somebody_else_by_images(service: Path, place: Path) -> None:
    """Images of root's process, in the hands of a user."""
    with sleeper(0) as pid:
        answer = ask_as(0, service, place / "0", "DUMP", pid=pid)
        assert answer.success, answer.cr_errmsg
        os.waitpid(pid, 0)
        for file in (place / "0").iterdir():
            os.chown(file, USER, USER)
        os.chown(place / "0", USER, USER)
        answer = ask_as(USER, service, place / "0", "RESTORE")
        assert not answer.success
        assert not alive(pid)


def test_what_only_a_child_can_ask(service: Path, place: Path) -> None:
    answer = ask_as(0, service, place / "0", "RESTORE", rst_sibling=True)
    assert (answer.success, answer.cr_errmsg[:12]) == (False, "rst_sibling:")


def test_in_the_background(place: Path) -> None:
    command = [*ENGINE, "service", "-W", str(place), "-D", str(place), "-o", "log", "--pidfile", "pid", "--daemon"]
    subprocess.run(command, env=ENVIRONMENT, check=True, timeout=30)
    pid = int((place / "pid").read_text())
    try:
        with connect(place / "criu_service.socket") as client:
            assert ask(client, "VERSION").success
        done = subprocess.run(command, env=ENVIRONMENT, check=False, timeout=30, capture_output=True, text=True)
        assert done.returncode == 1
        assert "criu_service.socket: Address already in use" in done.stderr
    finally:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not alive(pid), "the service to end")
    with pytest.raises(ConnectionRefusedError):
        connect(place / "criu_service.socket")
    (place / "pid").unlink()
    subprocess.run(command, env=ENVIRONMENT, check=True, timeout=30)  # a stale socket is not in its way
    os.kill(int((place / "pid").read_text()), signal.SIGKILL)


@pytest.mark.parametrize("user", [0, USER])
def test_a_process_asks_to_be_dumped_itself(service: Path, place: Path, user: int) -> None:
    """The second life begins with the answer that says so."""
    script = "\n".join([
        "import os, socket, sys, time",
        "sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)",
        "sock.connect(sys.argv[1])",
        "os.dup2(os.open(sys.argv[2], os.O_RDONLY), 100)",
        "sock.send(bytes.fromhex(sys.argv[3]))",
        "answer = sock.recv(4096)",
        "open(sys.argv[2] + '/answer', 'w').write(answer.hex())",
    ])  # fmt: skip
    request = m.criu_req(type="DUMP", opts=m.criu_opts(images_dir_fd=100)).SerializeToString().hex()
    null = subprocess.DEVNULL
    own = place / str(user)
    command = [PYTHON, "-c", script, str(service), str(own), request]
    process = subprocess.Popen(
        command, start_new_session=True, stdin=null, stdout=null, stderr=null, cwd="/", **rights_of(user)
    )
    assert process.wait(30) == -signal.SIGKILL
    answer = ask_as(user, service, own, "RESTORE")
    assert answer.success, answer.cr_errmsg
    wait_for((own / "answer").exists, "the second life")
    wait_for(lambda: not alive(process.pid), "its end")
    heard = m.criu_resp.FromString(bytes.fromhex((own / "answer").read_text()))
    assert heard.success and heard.dump.restored
