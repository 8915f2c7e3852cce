"""Real cgroups of the host, whatever layout it has, and a pure v2 view in a mount namespace."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import cgroups
from cgroups import freezer
from cgroups.collect import Selection, collect
from cgroups.model import CgroupSet, CgroupTree
from cgroups.move import _move_in, move
from cgroups.restore import Mode, restore
from cgroups.roots import Roots

pytestmark = pytest.mark.root
Start = Callable[[], "subprocess.Popen[bytes]"]
LIMITS: dict[str, object] = {
    "memory": {"limit": 100 << 20, "swap": 200 << 20, "reservation": 1 << 20},
    "cpu": {"shares": 512, "quota": 50_000, "period": 100_000, "cpus": "0", "mems": "0"},
    "pids": {"limit": 20},
}


def needs(*controllers: str) -> None:
    for controller in controllers:
        if cgroups.layout().holding(controller) is None:
            pytest.skip(f"this kernel lacks the cgroup controller {controller}")


def test_limits_are_written_and_read_back(manager: cgroups.Manager) -> None:
    needs("memory", "cpu", "cpuset", "pids")
    manager.create()
    manager.apply(LIMITS)
    read = manager.read()
    assert read["pids"] == {"limit": 20}
    for section in ("memory", "cpu"):
        wanted, got = LIMITS[section], read[section]
        assert isinstance(wanted, dict) and isinstance(got, dict) and wanted.items() <= got.items()


def test_a_task_is_attached_frozen_measured_and_killed(manager: cgroups.Manager, sleeper: Start) -> None:
    needs("pids")
    manager.create()
    task = sleeper()
    manager.attach(task.pid)
    assert manager.pids() == [task.pid]
    assert not manager.freeze()
    assert manager.frozen()
    assert manager.freeze(), "frozen before"
    stats = manager.stats()
    assert stats.pids is not None and stats.pids.current == 1
    reaper = threading.Thread(target=task.wait)
    reaper.start()
    manager.kill()
    reaper.join()
    assert task.returncode == -9
    manager.delete()
    assert not manager.exists()


def test_the_freezer_will_not_freeze_its_caller() -> None:
    with pytest.raises(cgroups.CgroupError, match=r"neither freezer\.state nor cgroup\.freeze"):
        freezer.freeze("/proc")


def test_put_back_keeps_what_was_frozen_before(manager: cgroups.Manager, sleeper: Start) -> None:
    manager.create()
    manager.attach(sleeper().pid)
    path = manager.freezer_path()
    manager.freeze()
    freezer.put_back(path, freezer.freeze(path))
    assert manager.frozen()
    manager.thaw()
    freezer.put_back(path, freezer.freeze(path))
    assert not manager.frozen()


def test_a_failed_create_leaves_nothing(manager: cgroups.Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = manager._create_in, []

    def fail_third(hierarchy: cgroups.Hierarchy, made: list[str]) -> None:
        calls.append(hierarchy)
        real(hierarchy, made)
        if len(calls) == min(3, len(manager.layout.hierarchies)):
            raise OSError("no more")

    monkeypatch.setattr(manager, "_create_in", fail_third)
    with pytest.raises(OSError, match="no more"):
        manager.create()
    assert not manager.exists()


@pytest.fixture
def saved(manager: cgroups.Manager, sleeper: Start) -> CgroupTree:
    """A tree with limits, a delegated child and a frozen freezer; its cgroups are gone again."""
    needs("memory", "pids", "freezer", "cpuset")
    manager.create()
    manager.apply(LIMITS)
    child = Path(manager.paths()["pids"], "delegated")
    child.mkdir()
    os.chown(child, 1234, 1234)
    task = sleeper()
    manager.attach(task.pid)
    manager.freeze()
    tree = collect([task.pid], Selection(controllers=frozenset({"memory", "pids", "freezer", "cpuset", "cpu"})))
    manager.thaw()
    task.kill()
    task.wait(10)
    manager.delete()
    return tree


def directories(tree: CgroupTree) -> list[str]:
    layout = cgroups.layout()
    found = [(layout.named(",".join(c.names)), d) for c in tree.controllers for d in c.dirs]
    return [h.directory("/" + d.name) for h, d in found if h is not None]


def test_saved_cgroups_come_back_as_they_were(saved: CgroupTree, manager: cgroups.Manager, sleeper: Start) -> None:
    assert {c.names[0] for c in saved.controllers} == {"memory", "pids", "freezer", "cpuset", "cpu"}
    task = sleeper()
    result = restore(saved)
    chosen = saved.set_by_id(saved.of_task[next(iter(saved.of_task))])
    assert chosen is not None
    # the freezer is frozen at the end only, or nothing could be built in it
    everything = Selection(controllers=frozenset({"memory", "pids", "freezer", "cpuset", "cpu"}))
    manager.create()
    move(task.pid, chosen)
    result.finish()
    assert manager.frozen()
    assert collect([task.pid], everything).controllers == saved.controllers
    manager.thaw()


def test_a_restore_can_be_undone(saved: CgroupTree) -> None:
    result = restore(saved, Mode.STRICT)
    assert all(Path(d).is_dir() for d in directories(saved))
    assert result.undo() == []
    assert not any(Path(d).exists() for d in directories(saved))


def test_modes_differ_in_what_they_make_and_write(saved: CgroupTree, manager: cgroups.Manager) -> None:
    for mode in (Mode.NONE, Mode.PROPS):
        with pytest.raises(cgroups.CgroupError, match="is not there; make it"):
            restore(saved, mode)
    assert restore(saved, Mode.IGNORE).steps == []
    manager.create()
    limit = Path(manager.paths()["pids"], "pids.max")
    before = limit.read_text()
    restore(saved, Mode.NONE if Path(manager.paths()["pids"], "delegated").exists() else Mode.SOFT).undo()
    assert limit.read_text() == before, "soft leaves what was there"
    full = restore(saved, Mode.FULL)
    assert limit.read_text() == "20\n"
    assert Path(manager.paths()["pids"], "delegated").stat().st_uid == 1234
    full.undo()
    assert limit.read_text() == before
    with pytest.raises(cgroups.CgroupError, match="is there already"):
        restore(saved, Mode.STRICT)


def test_a_new_root_moves_everything(saved: CgroupTree, manager: cgroups.Manager) -> None:
    result = restore(saved, Mode.STRICT, Roots(default=manager.path + "/elsewhere"))
    try:
        assert all(d.endswith("/elsewhere") for d in directories(result.tree))
        assert all(Path(d).is_dir() for d in directories(result.tree))
    finally:
        assert result.undo() == []


PURE_V2 = """
import errno, os, sys, subprocess
import cgroups
from cgroups import bpf
name = sys.argv[1]
assert cgroups.layout().kind == "v2", cgroups.layout()
manager = cgroups.Manager(name)
script = "read x; (: < /dev/zero) && echo yes || echo no; (: <> /dev/zero) && echo yes || echo no; read x"
task = subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
try:
    manager.create()
    read_only = [{"allow": False}, {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "r"}]
    manager.apply({"devices": [{"allow": True}]})
    manager.apply({"devices": read_only})
    fd = os.open(manager.paths()[""], os.O_RDONLY)
    assert len(bpf.attached(fd)) == 1
    os.close(fd)
    manager.attach(task.pid)
    task.stdin.write(b"\\n"); task.stdin.flush()
    assert [task.stdout.readline(), task.stdout.readline()] == [b"yes\\n", b"no\\n"]
    assert manager.freeze() is False and manager.frozen() and manager.freeze() is True
    manager.thaw()
    assert not manager.frozen()
    manager.freeze()
    import threading
    threading.Thread(target=task.wait).start()
    manager.kill()
    assert manager.pids() == []
finally:
    task.kill()
    task.wait()
    manager.delete()
assert not manager.exists()
"""


THREADED_V2 = """
import subprocess, sys, os
from pathlib import Path
import cgroups
from cgroups.collect import collect
from cgroups.move import move
from cgroups.restore import Mode, restore
def start():
    task = subprocess.Popen([sys.executable, "-c", sys.argv[2]], stdin=-1, stdout=-1, text=True)
    return task, int(task.stdout.readline())
manager = cgroups.Manager(sys.argv[1])
(old, old_thread), (new, new_thread) = start(), start()
try:
    manager.create()
    top = Path(manager.paths()[""])
    (top / "t").mkdir()
    (top / "t/cgroup.type").write_text("threaded")
    manager.attach(old.pid)
    (top / "t/cgroup.threads").write_text(str(old_thread))
    tree = collect([old.pid])
    assert tree.controllers[0].is_threaded
    old.kill(); old.wait()
    manager.delete()
    result = restore(tree, Mode.STRICT)
    main, thread = (tree.set_by_id(tree.of_task[task]) for task in (old.pid, old_thread))
    move(new.pid, main)
    move(new_thread, thread, thread_of=new.pid)
    result.finish()
    assert collect([new.pid]).controllers == tree.controllers
    assert cgroups.membership(new.pid, new_thread)[""] == sys.argv[1] + "/t"
    new.kill(); new.wait()
    assert result.undo() == []
finally:
    for task in (old, new):
        task.kill(); task.wait()
    manager.delete()
"""


@pytest.mark.parametrize("script", [PURE_V2, THREADED_V2], ids=["life", "threaded"])
def test_a_pure_v2_view(script: str) -> None:
    inner = 'mount -t cgroup2 none /sys/fs/cgroup && exec "$@"'
    name = f"/woodfrog-test-{os.urandom(4).hex()}-v2"
    command = ["unshare", "-m", "sh", "-c", inner, "sh", sys.executable, "-c", script, name, THREADS]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


THREADS = """
import sys, threading
ready = threading.Event()
def body():
    print(threading.get_native_id(), flush=True)
    ready.wait()
threading.Thread(target=body, daemon=True).start()
sys.stdin.readline()
"""


def test_a_thread_has_a_set_of_its_own(manager: cgroups.Manager) -> None:
    needs("pids", "cpu")
    other = cgroups.Manager(manager.path + "-thread")
    task = subprocess.Popen([sys.executable, "-c", THREADS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with task:
        assert task.stdout is not None
        tid = int(task.stdout.readline())
        try:
            manager.create()
            other.create()
            manager.attach(task.pid)
            Path(other.paths()["cpu"], "tasks").write_text(str(tid))
            tree = collect([task.pid])
            sets = [tree.set_by_id(tree.of_task[t]) for t in (task.pid, tid)]
            assert sets[0] is not None and sets[1] is not None
            paths = [{m.name: m.path for m in s.members} for s in sets if s is not None]
            assert paths[0] | {"cpu": other.path} == paths[1]
            cpu = next(c for c in tree.controllers if c.names == ("cpu",))
            assert [d.name for d in cpu.dirs] == [manager.path[1:], other.path[1:]]
            move(tid, sets[0], thread_of=task.pid)
            assert cgroups.membership(task.pid, tid)["cpu"] == manager.path
            move(tid, sets[1], thread_of=task.pid)
            assert cgroups.membership(task.pid, tid)["cpu"] == other.path
            with pytest.raises(cgroups.CgroupError, match="cannot move task 4194399 to cgroup"):
                move_missing(sets[0])
        finally:
            task.kill()
            task.wait(10)
            other.delete()


def move_missing(to: CgroupSet) -> None:
    """A pid beyond pid_max is nobody."""
    hierarchy = cgroups.layout().named(to.members[1].name)
    assert hierarchy is not None
    _move_in(4194399, to.members[1], hierarchy, False)


def test_oom_kills_are_told(manager: cgroups.Manager) -> None:
    needs("memory")
    manager.create()
    manager.apply({"memory": {"limit": 8 << 20, "swap": 8 << 20}})
    eater = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.readline(); b = b'x' * (64 << 20)"], stdin=-1
    )
    with eater:
        manager.attach(eater.pid)
        watch = manager.oom_watch()
        try:
            assert eater.stdin is not None
            poller = select.poll()
            poller.register(watch.fd, watch.events)
            eater.stdin.write(b"\n")
            eater.stdin.flush()
            assert poller.poll(20_000), "no OOM event in 20 s"
            assert eater.wait(20) == -9
            assert watch.kills() >= 1
        finally:
            watch.close()
            eater.kill()
