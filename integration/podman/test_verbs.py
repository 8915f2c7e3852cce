"""podman's everyday verbs over woodfrog."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from integration import shims
from integration.containers import wait_for
from integration.podman.engine import IMAGE, Counter, Podman

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]

TALK = "trap 'echo term; exit 4' TERM; echo up; while read -r word; do echo got $word; done; while :; do :; done"


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    path = shims.woodfrog(tmp_path_factory.mktemp("program"))
    with tempfile.TemporaryDirectory(prefix="frog") as place, Podman(Path(place), path) as result:
        yield result


@pytest.fixture
def podman(installation: Podman) -> Iterator[Podman]:
    yield installation
    installation.clean()


def shell(podman: Podman, script: str, *options: str, network: str = "none") -> str:
    """Run a container to its end; its output."""
    return podman("run", "--rm", "--network", network, *options, IMAGE, "/bin/bash", "-c", script)


def test_run_and_its_exit_code(podman: Podman) -> None:
    assert shell(podman, "read -r a; echo got $a $X", "--interactive", "--env", "X=y") == "got y"
    done = podman.attempt("run", "--rm", "--network", "none", IMAGE, "/bin/bash", "-c", "echo oops >&2; exit 7")
    assert (done.returncode, done.stderr) == (7, "oops\n")
    assert podman.attempt("run", "--rm", "--network", "none", IMAGE, "/bin/absent").returncode == 127
    assert podman.attempt("run", "--rm", "--network", "none", IMAGE, "/etc").returncode == 126


def test_exec(podman: Podman) -> None:
    Counter(podman, "host")
    assert podman("exec", "host", "/bin/cat", "/data/starts") == "start"
    assert podman("exec", "--env", "A=b", "--workdir", "/data", "host", "/bin/bash", "-c", "echo $A $PWD") == "b /data"
    assert podman("exec", "--user", "7:8", "host", "/bin/bash", "-c", "echo $UID") == "7"
    assert podman.attempt("exec", "host", "/bin/bash", "-c", "exit 9").returncode == 9
    assert "tty" not in podman("exec", "--tty", "host", "/bin/stty", "size")
    podman("exec", "--detach", "host", "/bin/bash", "-c", "echo here >/data/detached")
    wait_for((podman.root_of("host") / "data" / "detached").exists, "the detached process")


def test_logs_attach_and_stop(podman: Podman) -> None:
    podman("run", "--detach", "--interactive", "--name", "talker", "--network", "none", IMAGE, "/bin/bash", "-c", TALK)
    wait_for(lambda: podman("logs", "talker") == "up", "its first word")
    with subprocess.Popen(
        [*podman.command, "attach", "--sig-proxy=false", "talker"],
        env=podman.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as attached:
        assert attached.stdin and attached.stdout
        attached.stdin.write("word\n")
        attached.stdin.flush()
        assert attached.stdout.readline() == "got word\n"
        podman("stop", "--time", "20", "talker")
        attached.wait(20)
    assert podman("logs", "talker").splitlines() == ["up", "got word", "term"]
    assert podman("inspect", "--format", "{{.State.ExitCode}}", "talker") == "4"
    podman("start", "talker")
    podman("kill", "talker")
    assert podman("wait", "talker") == "137"


def test_a_terminal_is_attached(podman: Podman) -> None:
    ours, theirs = pty.openpty()
    command = [
        *podman.command,
        "run",
        "--rm",
        "-it",
        "--network",
        "none",
        IMAGE,
        "/bin/bash",
        "-c",
        "stty size; read x",
    ]
    with subprocess.Popen(command, env=podman.environment, stdin=theirs, stdout=theirs, stderr=theirs) as run:
        os.close(theirs)
        text = b""
        while b"\n" not in text:
            text += os.read(ours, 100)
        os.write(ours, b"\n")
        assert run.wait(30) == 0
    os.close(ours)
    assert len(text.split()) == 2


def test_pause_top_stats_and_update(podman: Podman) -> None:
    counter = Counter(podman, "busy", "--memory", "128m")
    podman("pause", "busy")
    before = counter.count()
    assert podman("ps", "--all", "--format", "{{.Status}}").startswith("Paused")
    assert podman.attempt("exec", "busy", "/bin/cat", "/data/count").returncode != 0
    assert counter.count() == before
    podman("unpause", "busy")
    counter.goes_on(before)
    assert "bash" in podman("top", "busy", "comm")
    stats = json.loads(podman("stats", "--no-stream", "--format", "json", "busy"))
    assert stats[0]["name"] == "busy"
    assert "134.2MB" in stats[0]["mem_usage"]
    podman("update", "--memory", "256m", "--cpu-shares", "512", "busy")
    cgroup = podman("inspect", "--format", "{{.State.CgroupPath}}", "busy")
    files = ("memory/{}/memory.limit_in_bytes", "{}/memory.max")  # podman itself goes on showing the first limit
    limits = [Path("/sys/fs/cgroup", file.format(cgroup.lstrip("/"))) for file in files]
    assert [path.read_text().strip() for path in limits if path.exists()] == [str(256 << 20)]


def test_volumes_and_read_only(podman: Podman, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("bound")
    mounts = (
        "--volume",
        f"{tmp_path}:/bound:ro",
        "--volume",
        "cargo:/cargo",
        "--mount",
        "type=tmpfs,destination=/scratch",
    )
    script = "echo x >/scratch/y; echo gold >/cargo/hold; cat /bound/file; (echo z >/bound/file) 2>/dev/null || echo no"
    assert shell(podman, script, *mounts) == "boundno"
    assert shell(podman, "cat /cargo/hold", *mounts) == "gold"
    script = "(echo x >/data/y) 2>/dev/null || echo no; echo z >/tmp/z && cat /tmp/z"
    assert shell(podman, script, "--read-only").split() == ["no", "z"]
    assert "deep" in shell(podman, "cat /proc/mounts", "--tmpfs", "/deep")
    podman("volume", "rm", "cargo")


@pytest.mark.parametrize("kind", ["none", "host", "bridge", "container"])
def test_networks(podman: Podman, kind: str) -> None:
    devices = 'while IFS=: read -r name rest; do [ "$rest" ] && echo $name; done </proc/net/dev'
    if kind == "none":
        assert shell(podman, devices) == "lo"
    elif kind == "host":
        assert set(os.listdir("/sys/class/net")) >= set(shell(podman, devices, network="host").split())
    elif kind == "bridge":
        assert shell(podman, devices, network=podman.network).split() == ["lo", "eth0"]
    else:
        Counter(podman, "first", network=podman.network)
        inside = podman("exec", "first", "/bin/ls", "-l", "/proc/self/ns/net").split()[-1]
        assert shell(podman, "ls -l /proc/self/ns/net", network="container:first").split()[-1] == inside


def test_a_user_namespace(podman: Podman) -> None:
    maps = ("--uidmap", "0:100000:5000", "--gidmap", "0:200000:5000")
    text = shell(podman, "echo $UID; cat /proc/self/uid_map; echo x >/data/mine; ls -ln /data/mine", *maps).split()
    assert text[:4] == ["0", "0", "100000", "5000"]
    assert text[6:8] == ["0", "0"]


def test_init(podman: Podman) -> None:
    init = shims.binary("WOODFROG_TEST_CATATONIT", "catatonit")
    assert shell(podman, "read -r name </proc/1/comm; echo $name; echo $$", "--init", "--init-path", init).split() == [
        "podman-init",
        "2",
    ]


def test_a_health_check(podman: Podman) -> None:
    check = ("--health-cmd", '["/bin/ls", "/data/well"]', "--health-interval", "disable", "--health-retries", "1")
    Counter(podman, "patient", *check)
    podman("exec", "patient", "/bin/bash", "-c", "echo >/data/well")
    podman("healthcheck", "run", "patient")
    assert podman("inspect", "--format", "{{.State.Health.Status}}", "patient") == "healthy"
    podman("exec", "patient", "/bin/mv", "/data/well", "/data/ill")
    assert podman.attempt("healthcheck", "run", "patient").returncode == 1
    assert podman("inspect", "--format", "{{.State.Health.Status}}", "patient") == "unhealthy"


def test_pods(podman: Podman) -> None:
    """Its containers share namespaces with one of podman's own, which catatonit runs."""
    shims.binary("WOODFROG_TEST_CATATONIT", "catatonit, which podman finds by itself")
    podman("pod", "create", "--name", "pod", "--share-parent=false", "--network", podman.network)
    try:
        for name in ("one", "two"):
            podman("run", "--detach", "--name", name, "--pod", "pod", IMAGE, "/bin/bash", "-c", "read -r <>/dev/fd/1")
        spaces = [podman("exec", name, "/bin/ls", "-l", "/proc/self/ns").splitlines() for name in ("one", "two")]
        shared = [{line.split()[-1] for line in lines if line.split()} for lines in spaces]
        assert {kind.split(":")[0] for kind in shared[0] & shared[1]} >= {"net", "ipc", "uts", "user", "time"}
        podman("pod", "pause", "pod")
        podman("pod", "unpause", "pod")
        podman("pod", "stop", "--time", "1", "pod")
    finally:
        podman("pod", "rm", "--force", "pod")


def test_several_at_once(podman: Podman) -> None:
    with ThreadPoolExecutor(6) as pool:
        counters = list(pool.map(lambda number: Counter(podman, f"several{number}"), range(6)))
        for counter in counters:
            counter.goes_on(counter.count())
        list(pool.map(lambda counter: podman("stop", "--time", "0", counter.name), counters))
