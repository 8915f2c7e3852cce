"""A container from create to delete, verb by verb."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.runtime.bundle import Bundle, environment, overlay_root, wait_for

pytestmark = pytest.mark.root


def status(bundle: Bundle) -> str:
    found: str = bundle.state()["status"]
    return found


def test_create_start_kill_delete(bundle: Bundle) -> None:
    bundle.shell("echo begun; exec sleep 1000")
    bundle.config["annotations"] = {"a": "b"}
    bundle.detached("create", "--pid-file", "pid", bundle.id)
    state = bundle.state()
    assert state["status"] == "created"
    assert state["pid"] == int((bundle.path / "pid").read_text())
    assert state["bundle"] == str(bundle.path)
    assert state["annotations"] == {"a": "b"}
    assert bundle.output() == ""
    bundle.ok("start", bundle.id)
    wait_for(lambda: "begun" in bundle.output(), "the program")
    assert status(bundle) == "running"
    bundle.ok("kill", bundle.id, "KILL")
    wait_for(lambda: status(bundle) == "stopped", "the end")
    assert bundle.state()["pid"] == 0
    bundle.ok("delete", bundle.id)
    assert "container does not exist" in bundle.fails("state", bundle.id)
    assert not bundle.cgroups()


def test_run_gives_output_and_exit_code(bundle: Bundle) -> None:
    bundle.shell("echo hello; echo oops >&2; exit 7")
    done = bundle.verb("run", bundle.id)
    assert (done.returncode, done.stdout, done.stderr) == (7, "hello\n", "oops\n")
    bundle.shell("kill -9 $$")
    bundle.config["linux"]["namespaces"].remove({"type": "pid"})
    assert bundle.verb("run", bundle.id).returncode == 137
    assert not list(bundle.root.iterdir())


def test_run_keep(bundle: Bundle) -> None:
    bundle.shell("true")
    bundle.ok("run", "--keep", bundle.id)
    assert status(bundle) == "stopped"
    bundle.ok("delete", bundle.id)


def test_standard_input_reaches_the_container(bundle: Bundle) -> None:
    bundle.shell("read line; echo got $line")
    bundle.save()
    done = subprocess.run(
        bundle.command("run", bundle.id),
        cwd=bundle.path,
        env=environment(),
        input="word\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "got word\n"


def test_signals_are_passed_on(bundle: Bundle) -> None:
    bundle.shell("trap 'echo term; exit 3' TERM; echo ready; while :; do sleep 0.02; done")
    bundle.save()
    run = subprocess.Popen(
        bundle.command("run", bundle.id), cwd=bundle.path, env=environment(), stdout=subprocess.PIPE, text=True
    )
    assert run.stdout is not None
    assert run.stdout.readline() == "ready\n"
    run.send_signal(signal.SIGTERM)
    assert run.communicate(timeout=20)[0] == "term\n"
    assert run.returncode == 3


def test_pause_and_resume(bundle: Bundle) -> None:
    bundle.shell("exec sleep 1000")
    bundle.detached("run", "-d", bundle.id)
    assert "container not paused" in bundle.fails("resume", bundle.id)
    bundle.ok("pause", bundle.id)
    assert status(bundle) == "paused"
    assert "container not running" in bundle.fails("pause", bundle.id)
    assert "cannot exec in a paused container" in bundle.fails("exec", bundle.id, "true", code=255)
    assert "that is not stopped: paused" in bundle.fails("delete", bundle.id)
    bundle.ok("resume", bundle.id)
    assert status(bundle) == "running"
    bundle.ok("pause", bundle.id)
    bundle.ok("kill", bundle.id, "KILL")
    wait_for(lambda: status(bundle) == "stopped", "the end of a paused container")


def test_list_and_ps(bundle: Bundle) -> None:
    bundle.shell("exec sleep 1000")
    assert "no such file or directory" in bundle.fails("list", "--format", "json")
    bundle.root.mkdir()
    assert bundle.ok("list", "--format", "json") == "null\n"
    bundle.detached("run", "-d", bundle.id)
    assert json.loads(bundle.ok("list", "-f", "json"))[0]["id"] == bundle.id
    assert bundle.ok("list", "-q") == f"{bundle.id}\n"
    heading, row = bundle.ok("list").splitlines()
    assert heading.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert row.split()[2] == "running"
    assert json.loads(bundle.ok("ps", "--format", "json", bundle.id)) == [bundle.state()["pid"]]
    assert "sleep 1000" in bundle.ok("ps", bundle.id).splitlines()[1]
    assert "invalid format option" in bundle.fails("list", "--format", "odd")


def test_kill_all_without_a_pid_namespace(bundle: Bundle) -> None:
    bundle.shell("sleep 1000 & exec sleep 1000")
    bundle.config["linux"]["namespaces"].remove({"type": "pid"})
    bundle.detached("run", "-d", bundle.id)
    pids = wait_for(lambda: len(found := json.loads(bundle.ok("ps", "-f", "json", bundle.id))) == 2 and found, "both")
    bundle.ok("kill", "--all", bundle.id, "KILL")
    for pid in pids:
        wait_for(lambda pid=pid: gone(pid), f"the end of {pid}")
    bundle.ok("kill", "--all", bundle.id, "KILL")


def test_who_else_is_in_the_cgroup_is_spared(bundle: Bundle) -> None:
    """A stranger that somebody has put there: not of the container's pid namespace, so none of its processes."""
    bundle.shell("exec sleep 1000")
    bundle.detached("run", "-d", bundle.id)
    with subprocess.Popen(["sleep", "1000"]) as stranger:
        try:
            for place in bundle.cgroups():
                (place / "cgroup.procs").write_text(str(stranger.pid))
            warning = bundle.verb("delete", "--force", bundle.id)
            assert (warning.returncode, stranger.poll()) == (0, None)
            assert f"stays: processes of others are in it: [{stranger.pid}]" in warning.stderr
        finally:
            stranger.kill()
            stranger.wait()
    for place in bundle.cgroups():
        wait_for(lambda place=place: removed(place), "the removal of the cgroup")


@pytest.mark.skipif(not os.path.isdir("/sys/fs/cgroup/freezer"), reason="needs the freezer of cgroup v1")
def test_who_has_to_end_is_waited_for(bundle: Bundle) -> None:
    """A killed process without a processor: on a busy machine it may stay for seconds.  Here a freezer holds it."""
    bundle.shell("exec sleep 1000")
    bundle.detached("run", "-d", bundle.id)
    ice = Path(f"/sys/fs/cgroup/freezer/{bundle.id}-ice")
    ice.mkdir()
    with subprocess.Popen(["sleep", "1000"]) as doomed:
        try:
            for place in bundle.cgroups():
                if "freezer" not in place.parts:
                    (place / "cgroup.procs").write_text(str(doomed.pid))
            (ice / "cgroup.procs").write_text(str(doomed.pid))
            (ice / "freezer.state").write_text("FROZEN")
            doomed.kill()
            deleting = threading.Thread(target=bundle.ok, args=("delete", "--force", bundle.id))
            deleting.start()
            time.sleep(2)
            assert bundle.cgroups()
        finally:
            (ice / "freezer.state").write_text("THAWED")
            doomed.kill()
            doomed.wait()
        deleting.join(20)
    assert not bundle.cgroups()
    wait_for(lambda: removed(ice), "the removal of the cgroup")


def removed(cgroup: Path) -> bool:
    with contextlib.suppress(OSError):
        cgroup.rmdir()
    return not cgroup.exists()


def test_without_pid_namespaces_a_cgroup_is_shared_by_pid_namespaces(bundle: Bundle) -> None:
    """Only a container with a pid namespace of its own can be told from one that has none."""
    bundle.shell("sleep 1000 & exec sleep 1000")
    bundle.config["linux"]["namespaces"].remove({"type": "pid"})
    bundle.detached("run", "-d", bundle.id)
    own = wait_for(lambda: len(found := json.loads(bundle.ok("ps", "-f", "json", bundle.id))) == 2 and found, "both")
    other = Bundle(bundle.path.parent / "other")
    other.root = bundle.root
    other.shell("exec sleep 1000")
    other.detached("run", "-d", other.id)
    twin = other.state()["pid"]
    record = other.root / other.id / "state.json"
    state, shared = json.loads(record.read_text()), json.loads((bundle.root / bundle.id / "state.json").read_text())
    left, state["cgroup"] = other.cgroups(), shared["cgroup"]  # as after a restore
    record.write_text(json.dumps(state))
    for place in bundle.cgroups():
        (place / "cgroup.procs").write_text(str(twin))
    for place in left:
        wait_for(lambda place=place: removed(place), "the removal of the cgroup")
    assert json.loads(bundle.ok("ps", "-f", "json", bundle.id)) == own
    assert json.loads(other.ok("ps", "-f", "json", other.id)) == [twin]
    bundle.ok("delete", "--force", bundle.id)
    assert all(gone(pid) for pid in own)
    assert other.state()["status"] == "running"
    other.ok("delete", "--force", other.id)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_delete_force(bundle: Bundle) -> None:
    bundle.shell("exec sleep 1000")
    bundle.detached("run", "-d", bundle.id)
    pid = bundle.state()["pid"]
    assert "that is not stopped: running" in bundle.fails("delete", bundle.id)
    bundle.ok("delete", "--force", bundle.id)
    assert gone(pid)
    bundle.ok("delete", "--force", bundle.id)
    assert "container does not exist" in bundle.fails("delete", bundle.id)


def test_wrong_states(bundle: Bundle) -> None:
    bundle.shell("exec sleep 1000")
    bundle.detached("create", bundle.id)
    assert "container with given ID already exists" in bundle.fails("create", bundle.id)
    assert "Container cannot be checkpointed in created state" in bundle.fails("checkpoint", bundle.id)
    bundle.ok("start", bundle.id)
    assert "cannot start an already running container" in bundle.fails("start", bundle.id)
    assert 'unknown signal \\"FOO\\"' in bundle.fails("kill", bundle.id, "FOO")
    bundle.ok("kill", bundle.id, "KILL")
    wait_for(lambda: status(bundle) == "stopped", "the end")
    assert "cannot start a container that has stopped" in bundle.fails("start", bundle.id)
    assert "container not running" in bundle.fails("kill", bundle.id, "KILL")
    assert "cannot exec in a stopped container" in bundle.fails("exec", bundle.id, "true", code=255)
    assert "Container cannot be checkpointed in stopped state" in bundle.fails("checkpoint", bundle.id)


@pytest.mark.parametrize(
    "words", [["state"], ["start"], ["kill"], ["delete"], ["pause"], ["resume"], ["ps"], ["checkpoint"], ["events"]]
)
def test_no_such_container(bundle: Bundle, words: list[str]) -> None:
    assert 'msg="container does not exist"' in bundle.fails(*words, "wft-nobody")


def test_a_pid_that_was_given_to_another_is_not_ours(bundle: Bundle) -> None:
    bundle.shell("exec sleep 1000")
    bundle.detached("run", "-d", bundle.id)
    pid = bundle.state()["pid"]
    bundle.ok("kill", bundle.id, "KILL")
    wait_for(lambda: gone(pid), "the end")
    other = subprocess.Popen(["sleep", "1000"])
    try:
        record = json.loads((bundle.root / bundle.id / "state.json").read_text())
        record["pid"] = other.pid
        (bundle.root / bundle.id / "state.json").write_text(json.dumps(record))
        assert status(bundle) == "stopped"
        assert "container not running" in bundle.fails("kill", bundle.id, "KILL")
        bundle.ok("delete", "--force", bundle.id)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_update_and_events(bundle: Bundle) -> None:
    bundle.shell("exec sleep 1000")
    bundle.detached("run", "-d", bundle.id)
    bundle.ok("update", "--pids-limit", "44", bundle.id)
    stats = json.loads(bundle.ok("events", "--stats", bundle.id))
    assert (stats["type"], stats["id"], stats["data"]["pids"]) == ("stats", bundle.id, {"current": 1, "limit": 44})
    bad = stdin_of(bundle, '{"pids":{"limit":"x"}}')
    assert "$.pids.limit" in bundle.fails("update", "-r", "-", bundle.id, stdin=bad)
    os.close(bad)


def stdin_of(bundle: Bundle, text: str) -> int:
    path = bundle.path / "stdin"
    path.write_text(text)
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def test_the_log_file_and_its_json_form(bundle: Bundle) -> None:
    log = bundle.path / "log"
    assert bundle.fails("--log", str(log), "--log-format", "json", "state", "none") == "container does not exist\n"
    entry = json.loads(log.read_text())
    assert (entry["level"], entry["msg"]) == ("error", "container does not exist")


def test_usage(bundle: Bundle) -> None:
    assert "flag needs an argument: -lsm-mount-context" in bundle.fails("restore", "--lsm-mount-context")
    assert "requires exactly 1 argument(s)" in bundle.fails("create")
    assert "No help topic for 'nosuch'" in bundle.fails("nosuch", code=3)
    assert bundle.ok("--version").startswith("woodfrog version ")
    assert "--image-path" in bundle.ok("checkpoint", "--help")
    assert json.loads(bundle.ok("features"))["linux"]["seccomp"]["enabled"] is True


def test_spec_is_not_written_over(bundle: Bundle, tmp_path: Path) -> None:
    bundle.ok("spec", "--bundle", str(tmp_path))
    assert json.loads((tmp_path / "config.json").read_text())["root"]["path"] == "rootfs"
    assert "config.json exists" in bundle.fails("spec", "--bundle", str(tmp_path))


def test_an_overlay_over_the_hosts_own_root(bundle: Bundle, tmp_path: Path) -> None:
    with overlay_root(tmp_path / "over") as rootfs:
        bundle.config["root"] = {"path": str(rootfs)}
        bundle.config["mounts"] = [m for m in bundle.config["mounts"] if "bind" not in str(m.get("options"))]
        bundle.shell("echo mine > /etc/woodfrog-was-here; cat /etc/woodfrog-was-here")
        assert bundle.ok("run", bundle.id) == "mine\n"
    assert not Path("/etc/woodfrog-was-here").exists()


@pytest.mark.parametrize("delay", [0.01, 0.03, 0.05, 0.07, 0.09, 0.11, 0.13, 0.16])
def test_create_killed_at_any_time_leaves_nothing_after_delete_force(bundle: Bundle, delay: float) -> None:
    bundle.shell("exec sleep 1000")
    bundle.save()
    create = subprocess.Popen(
        bundle.command("create", bundle.id),
        cwd=bundle.path,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        create.wait(delay)
    except subprocess.TimeoutExpired:
        create.kill()
        create.wait()
    bundle.ok("delete", "--force", bundle.id)
    assert not (bundle.root / bundle.id).exists()
    assert not bundle.cgroups()
    assert not [p for p in processes() if str(bundle.root).encode() in p or bundle.id.encode() in p]


def processes() -> list[bytes]:
    """Command lines of all processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes())
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
    return found
