"""--unprivileged: dump and restore by a user with CAP_CHECKPOINT_RESTORE and CAP_SYS_PTRACE only."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import cr
from cr.dump.preload import preload
from cr.kernel import capabilities, prctl
from tests.cr.harness import alive, wait_for

pytestmark = pytest.mark.root
NOBODY = 65534
RIGHTS = ["CAP_CHECKPOINT_RESTORE", "CAP_SYS_PTRACE"]


def as_nobody(work: Callable[[], object], rights: list[str]) -> str:
    """What `work` returns, or raises, in a process of that user."""
    preload()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        answer = "the test itself failed"
        try:
            _become_nobody(capabilities.as_set(rights))
            answer = str(work())
        except Exception as error:
            answer = str(error)
        finally:
            os.write(writing, answer.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        answer = file.read()
    os.waitpid(pid, 0)
    return answer


def _become_nobody(rights: int) -> None:
    prctl.set_keep_capabilities(True)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    capabilities.capset(rights, rights, rights)
    capabilities.set_ambient(rights)
    prctl.set_dumpable(True)


@pytest.fixture
def directory() -> Iterator[Path]:
    """Where nobody can get to."""
    path = Path(tempfile.mkdtemp(prefix="woodfrog-test-"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


@contextmanager
def sleeper(user: int) -> Iterator[subprocess.Popen[bytes]]:
    null = subprocess.DEVNULL
    options = {"user": user, "group": user, "extra_groups": [], "start_new_session": True, "cwd": "/"}
    with subprocess.Popen(["sleep", "1000"], stdin=null, stdout=null, stderr=null, **options) as process:  # type: ignore[call-overload]
        name = Path(f"/proc/{process.pid}/comm")
        wait_for(lambda: name.read_text() == "sleep\n", "the program to run")
        yield process
        process.kill()


def test_there_and_back_as_nobody(directory: Path) -> None:
    images = str(directory / "images")
    with sleeper(NOBODY) as process:
        pid = process.pid
        _dump(pid, images)
    _restore(pid, images)


def _dump(pid: int, images: str) -> None:
    assert "--unprivileged tries without" in as_nobody(lambda: cr.dump(pid, images), RIGHTS)
    assert "needs at least the capability" in as_nobody(lambda: cr.dump(pid, images, unprivileged=True), [])
    assert as_nobody(lambda: cr.dump(pid, images, unprivileged=True).tasks, RIGHTS) == "1"


def _restore(pid: int, images: str) -> None:
    again = as_nobody(lambda: cr.restore(images, unprivileged=True).pid, RIGHTS)
    assert again == str(pid), again
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        assert "Uid:\t65534\t65534\t65534\t65534\n" in status
        assert "CapPrm:\t0000000000000000\n" in status and "CapAmb:\t0000000000000000\n" in status
    finally:
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not alive(pid), "the end")


def test_tasks_of_others_do_not_come_back(directory: Path) -> None:
    with sleeper(1234) as process:
        cr.dump(process.pid, str(directory / "images"))
    for path in directory.rglob("*"):
        path.chmod(0o755)
    said = as_nobody(lambda: cr.restore(str(directory / "images"), unprivileged=True), RIGHTS)
    assert "only one's own tasks come back" in said, said
    assert not alive(process.pid)


def test_rights_in_a_user_namespace_of_our_own_are_not_enough(tmp_path: Path) -> None:
    script = 'sleep 1000 & "$0" -m cr.cli dump -t $! -D "$1" --shell-job; status=$?; kill $!; exit $status'
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", script, sys.executable, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "(sleep) has mapped are not for us to open: that takes CAP_CHECKPOINT_RESTORE" in done.stderr
