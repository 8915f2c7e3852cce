"""Docker over runc, with this engine in the place of criu, and over woodfrog."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from integration import shims
from integration.containers import wait_for
from integration.docker.daemon import IMAGE, Docker

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", params=["runc", "woodfrog"])
def installation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    runtime = shims.woodfrog(tmp_path_factory.mktemp("program")) if request.param == "woodfrog" else ""
    with (
        tempfile.TemporaryDirectory(prefix="frog", ignore_cleanup_errors=True) as place,
        Docker(Path(place), runtime) as running,
    ):
        yield running


@pytest.fixture
def docker(installation: Docker) -> Iterator[Docker]:
    yield installation
    installation.clean()


def test_checkpoint_and_start(docker: Docker) -> None:
    docker.run("counter")
    for name in ("first", "second"):
        wait_for(lambda: docker.count("counter") > 2, "the container to count")
        before = docker.count("counter")
        docker("checkpoint", "create", "counter", name)
        wait_for(lambda: docker("inspect", "--format", "{{.State.Running}}", "counter") == "false", "its end")
        docker.thaw("counter", name)
        docker.counts_beyond(before, "counter")
        assert docker("exec", "counter", "/bin/cat", "/data/starts") == "start"


def test_leave_running(docker: Docker) -> None:
    docker.run("left")
    wait_for(lambda: docker.count("left") > 2, "the container to count")
    docker("checkpoint", "create", "--leave-running", "left", "only")
    before = docker.count("left")
    wait_for(lambda: docker.count("left") > before, "the container to go on")
    assert docker("checkpoint", "ls", "left").split()[-1] == "only"


def test_run_and_its_exit_code(docker: Docker) -> None:
    alone = ("run", "--rm", "--network", "none")
    script = "read -r a; echo got $a $X; hostname=$(</proc/sys/kernel/hostname); echo $hostname"
    words = docker(*alone, "-i", "--env", "X=y", "--hostname", "pond", IMAGE, "/bin/bash", "-c", script, input="word\n")
    assert words.split() == ["got", "word", "y", "pond"]
    done = docker.attempt(*alone, IMAGE, "/bin/bash", "-c", "echo oops >&2; exit 7")
    assert (done.returncode, done.stderr) == (7, "oops\n")
    assert docker.attempt(*alone, IMAGE, "/bin/absent").returncode == 127
    assert docker.attempt(*alone, IMAGE, "/etc").returncode == 126


def test_exec_logs_and_stop(docker: Docker) -> None:
    script = "trap 'echo term; exit 4' TERM; echo up; while :; do read -r -t 0.05 <><(:); done"
    docker("run", "--detach", "--name", "talker", "--network", "none", IMAGE, "/bin/bash", "-c", script)
    assert docker("exec", "--user", "7", "--env", "A=b", "talker", "/bin/bash", "-c", "echo $UID $A") == "7 b"
    assert docker.attempt("exec", "talker", "/bin/bash", "-c", "exit 9").returncode == 9
    assert docker("exec", "--tty", "talker", "/bin/stty", "size").split()[0].isdigit()
    docker("stop", "--time", "20", "talker")
    assert docker("logs", "talker").splitlines() == ["up", "term"]
    assert docker("inspect", "--format", "{{.State.ExitCode}}", "talker") == "4"
    docker("start", "talker")
    docker("kill", "talker")
    assert docker("wait", "talker") == "137"


def test_pause_top_stats_and_update(docker: Docker) -> None:
    docker.run("busy", "--memory", "128m")
    docker("pause", "busy")
    before = docker.count("busy")
    assert docker("inspect", "--format", "{{.State.Status}}", "busy") == "paused"
    assert docker.count("busy") == before
    docker("unpause", "busy")
    wait_for(lambda: docker.count("busy") > before, "the container to go on")
    assert "/bin/bash" in docker("top", "busy")
    docker("update", "--memory", "256m", "--memory-swap", "512m", "busy")
    assert docker("inspect", "--format", "{{.HostConfig.Memory}}", "busy") == str(256 << 20)
    if shims.containerd_measures():
        assert "/ 256MiB" in docker("stats", "--no-stream", "busy")


def test_volumes_and_a_read_only_root(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("bound")
    mounts = ("--volume", f"{tmp_path}:/bound:ro", "--volume", "/cargo", "--tmpfs", "/scratch", "--read-only")
    script = "echo x >/scratch/y && echo gold >/cargo/hold && cat /bound/file; (echo z >/data/y) 2>/dev/null || echo no"
    alone = ("run", "--rm", "--network", "none")
    assert docker(*alone, *mounts, IMAGE, "/bin/bash", "-c", script) == "boundno"


def test_several_at_once(docker: Docker) -> None:
    names = [f"several{number}" for number in range(6)]
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(docker.run, names))
        for name in names:
            docker.counts_beyond(2, name)
        list(pool.map(lambda name: docker("stop", "--time", "0", name), names))
