"""Pre-dumps: only what changed is written, and the chain of snapshots gives the memory of the last moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import cr
from cr.dump import predump, tracker
from cr.dump.freeze import FrozenTree
from cr.kernel import pagemap, proc
from cr.model import CheckpointError
from cr.options import Options
from images.directory import ImageDirectory
from images.pages import PAGE_SIZE, PagemapReader
from tests.cr.harness import Workload, alive, end_tree, wait_for

pytestmark = pytest.mark.root


def change(work: Workload) -> None:
    """One more round."""
    pid, file = work.restored or work.pid, work.directory / "round"
    before = file.read_text()
    os.kill(pid, signal.SIGUSR1)
    wait_for(lambda: file.read_text() != before, "the next round")


def trackers(pid: int) -> list[tracker.Tracker]:
    return [found for found in tracker.running() if any(task[0] == pid for task in found.rows)]


def pages(directory: Path, pid: int) -> tuple[int, int]:
    """How many pages the snapshot has itself, and how many its parents have."""
    with ImageDirectory.open(directory) as images, PagemapReader(images, "pagemap", pid) as reader:
        own = sum(run.nr_pages for run in reader.runs if run.offset is not None)
        return own, sum(run.nr_pages for run in reader.runs) - own


def marks(pid: int) -> set[str]:
    """VmFlags of all mappings."""
    lines = Path(f"/proc/{pid}/smaps").read_text().splitlines()
    return {flag for line in lines if line.startswith("VmFlags:") for flag in line.split()[1:]}


def populated(pid: int) -> set[int]:
    """Addresses of the pages that are in memory, swapped out, or marked, of all private anonymous mappings."""
    found: set[int] = set()
    fd = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY)
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        fields = line.split()
        if fields[1].startswith("rw-p") and fields[4] == "0":
            start, _, end = fields[0].partition("-")
            any_of = pagemap.PAGE_IS_PRESENT | pagemap.PAGE_IS_SWAPPED
            for first, last, _ in pagemap.scan(fd, int(start, 16), int(end, 16), any_of=any_of):
                found |= set(range(first, last, PAGE_SIZE))
    os.close(fd)
    return found


@pytest.mark.parametrize("arguments", [[], ["threads"], ["children"]])
def test_a_chain_of_pre_dumps(arguments: list[str], tmp_path: Path) -> None:
    with Workload("rounds", tmp_path, arguments) as work:
        parent = ""
        for name in ("first", "second", "third"):
            cr.pre_dump(work.pid, str(tmp_path / name), prev_images_dir=parent)
            assert len(trackers(work.pid)) == 1
            change(work)
            parent = f"../{name}"
        keeper = trackers(work.pid)[0].pid
        work.dump(prev_images_dir=parent, track_mem=True)
        own, inherited = pages(work.images, work.pid)
        assert 0 < own < inherited
        assert pages(tmp_path / "first", work.pid)[1] == 0
        assert pages(tmp_path / "third", work.pid)[1] > 0
        wait_for(lambda: not alive(keeper), "the tracker to end with its tasks")
        work.restore()
        assert not {"uw", "um"} & marks(work.restored)
        work.check()


def test_snapshots_of_a_tree_that_runs_on(tmp_path: Path) -> None:
    with Workload("rounds", tmp_path) as work:
        for name, parent in (("first", ""), ("second", "../first")):
            cr.dump(work.pid, str(tmp_path / name), prev_images_dir=parent, track_mem=True, leave_running=True)
            change(work)
        cr.dump(work.pid, str(work.images), prev_images_dir="../second", leave_running=True)
        assert pages(work.images, work.pid)[1] > 0
        assert not trackers(work.pid)
        assert "uw" not in marks(work.pid)
        change(work)
        work.check()


def test_tracking_touches_no_page(tmp_path: Path) -> None:
    """Memory that nobody has used yet stays so, and is not in the next snapshot either."""
    with Workload("rounds", tmp_path) as work:
        before = populated(work.pid)
        for name, parent in (("first", ""), ("second", "../first")):
            cr.dump(work.pid, str(tmp_path / name), prev_images_dir=parent, track_mem=True, leave_running=True)
            assert populated(work.pid) == before
        work.check()


def test_nothing_of_ours_is_in_a_tracked_task(tmp_path: Path) -> None:
    with Workload("rounds", tmp_path) as work:
        wait_for(lambda: not Path(f"/proc/{work.pid}/fd/3").exists(), "the workload to close what it said ready by")
        before = sorted(os.listdir(f"/proc/{work.pid}/fd"))
        mapped = [line.split()[:5] for line in Path(f"/proc/{work.pid}/maps").read_text().splitlines()]
        cr.pre_dump(work.pid, str(tmp_path / "first"))
        assert sorted(os.listdir(f"/proc/{work.pid}/fd")) == before
        assert [line.split()[:5] for line in Path(f"/proc/{work.pid}/maps").read_text().splitlines()] == mapped
        assert "uw" in marks(work.pid)
        found = trackers(work.pid)[0]
        os.kill(found.pid, signal.SIGKILL)
        wait_for(lambda: "uw" not in marks(work.pid), "the kernel to forget the tracking")
        work.check()


def test_what_is_not_known_is_written(tmp_path: Path) -> None:
    """The tracker was killed; or the parent is not the last snapshot."""
    with Workload("rounds", tmp_path) as work:
        cr.pre_dump(work.pid, str(tmp_path / "first"))
        change(work)
        cr.pre_dump(work.pid, str(tmp_path / "second"), prev_images_dir="../first")
        change(work)
        cr.pre_dump(work.pid, str(tmp_path / "third"), prev_images_dir="../first")
        assert pages(tmp_path / "second", work.pid)[1] > 0
        assert pages(tmp_path / "third", work.pid)[1] == 0
        os.kill(trackers(work.pid)[0].pid, signal.SIGKILL)
        work.dump(prev_images_dir="../third")
        assert pages(work.images, work.pid)[1] == 0
        assert not (work.images / "parent").is_symlink()
        work.restore()
        work.check()


def test_a_failed_dump_leaves_the_tracking_alone(tmp_path: Path) -> None:
    with Workload("rounds", tmp_path) as work:
        cr.pre_dump(work.pid, str(tmp_path / "first"))
        change(work)

        def refuse(event: str, pid: int, fd: int | None) -> None:
            if event == "network-lock":
                raise CheckpointError("no")

        with pytest.raises(CheckpointError, match="no"):
            cr.dump(work.pid, str(work.images), prev_images_dir="../first", notify=refuse)
        work.dump(prev_images_dir="../first")
        assert pages(work.images, work.pid)[1] > 0
        work.restore()
        work.check()


def test_a_parent_that_is_missing_or_does_not_belong(tmp_path: Path) -> None:
    with Workload("rounds", tmp_path) as work:
        (tmp_path / "empty").mkdir()
        cr.pre_dump(work.pid, str(tmp_path / "first"))
        os.rename(tmp_path / f"first/pagemap-{work.pid}.img", tmp_path / "first/pagemap-1.img")
        for parent, why in (
            ("../nowhere", "cannot be opened: No such file"),
            ("../empty", "there is no complete snapshot"),
            ("../first", "does not belong to this tree"),
            (".", "is the image directory itself"),
        ):
            with pytest.raises(CheckpointError, match=why):
                work.dump(prev_images_dir=parent)
        work.dump()
        work.restore()
        work.check()


def test_the_restore_of_a_chain_that_is_broken(tmp_path: Path) -> None:
    from images.errors import ImageError

    with Workload("rounds", tmp_path) as work:
        cr.pre_dump(work.pid, str(tmp_path / "first"))
        work.dump(prev_images_dir="../first")
        os.rename(tmp_path / "first", tmp_path / "elsewhere")
        with pytest.raises(ImageError, match="parent"):
            work.restore()
        os.rename(tmp_path / "elsewhere", tmp_path / "first")
        work.restore()
        work.check()


def disk(directory: Path) -> int:
    """Bytes that the pages of a snapshot take."""
    return sum(path.stat().st_blocks * 512 for path in directory.glob("pages-*.img"))


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "cr.cli", *words], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("way", ["auto", "verb"])
def test_pages_that_were_replaced_are_freed(way: str, tmp_path: Path) -> None:
    with Workload("rounds", tmp_path) as work:
        auto = way == "auto"
        cr.pre_dump(work.pid, str(tmp_path / "first"))
        change(work)
        full = disk(tmp_path / "first")
        cr.pre_dump(work.pid, str(tmp_path / "second"), prev_images_dir="../first", auto_dedup=auto)
        change(work)
        work.dump(prev_images_dir="../second", auto_dedup=auto)
        if not auto:
            assert disk(tmp_path / "first") == full
            for name in ("second", "images"):
                done = command("dedup", "-D", str(tmp_path / name))
                assert done.returncode == 0, done.stderr
        own = disk(work.images)
        assert disk(tmp_path / "first") < full
        work.restore(auto_dedup=auto)
        work.check()
        assert disk(work.images) == (0 if auto else own)


def test_the_commands(tmp_path: Path) -> None:
    with Workload("rounds", tmp_path) as work:
        for name in ("first", "second", "images"):
            (tmp_path / name).mkdir()
        for name, parent in (("first", []), ("second", ["--prev-images-dir", "../first"])):
            words = ["-t", str(work.pid), "-D", str(tmp_path / name), *parent, "--display-stats"]
            done = command("pre-dump", *words)
            assert done.returncode == 0, done.stderr
            change(work)
        assert "Memory pages skipped from parent: 0 " not in done.stdout
        done = command(
            "dump", "-t", str(work.pid), "-D", str(work.images), "--prev-images-dir", "../second", "--track-mem"
        )
        assert done.returncode == 0, done.stderr
        work._reap()
        work.restore()
        work.check()
        assert command("check", "--feature", "mem_dirty_track").returncode == 0
        done = command("restore", "-D", str(tmp_path / "second"))
        assert done.returncode != 0
        assert "is a pre-dump" in done.stderr


def test_a_child_of_criu_restores_the_chain(tmp_path: Path) -> None:
    oracle = os.environ.get("WOODFROG_TEST_CRIU")
    if not oracle:
        pytest.skip("needs WOODFROG_TEST_CRIU, a binary of criu")
    with Workload("rounds", tmp_path) as work:
        cr.pre_dump(work.pid, str(tmp_path / "first"))
        change(work)
        work.dump(prev_images_dir="../first")
        words = ["restore", "-d", "-D", str(work.images), "--pidfile", str(tmp_path / "restored"), "-o", "restore.log"]
        done = subprocess.run([oracle, *words], timeout=60)
        assert done.returncode == 0, (work.images / "restore.log").read_text()[-2000:]
        work.restored = int((tmp_path / "restored").read_text())
        work.check()


def test_a_task_ends_before_its_memory_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of tasks that run on while a pre-dump writes, the memory of one that has ended is zeros."""
    release = FrozenTree.release

    def release_and_kill(tree: FrozenTree) -> None:
        release(tree)
        os.kill(child, signal.SIGKILL)
        wait_for(lambda: not os.path.exists(f"/proc/{child}"), "the child to be gone")

    monkeypatch.setattr(FrozenTree, "release", release_and_kill)
    command = ["sh", "-c", "sleep 1000 & wait; exec sleep 1000"]
    with subprocess.Popen(command, start_new_session=True) as root:
        try:
            child = wait_for(lambda: proc.children(root.pid), "its child")[0]
            wait_for(lambda: proc.stat(child).comm == "sleep", "the child to be itself")
            predump.pre_dump(Options(tree=root.pid, images_dir=str(tmp_path / "images"), track_mem=True))
            (found,) = trackers(root.pid)
            assert child not in {pid for pid, _ in found.rows}
        finally:
            end_tree(root.pid)
    wait_for(lambda: os.waitpid(found.pid, os.WNOHANG)[0], "the tracker to end with its tasks")
    assert {"inventory.img", f"pagemap-{child}.img"} <= set(os.listdir(tmp_path / "images"))


def test_a_scan_with_more_runs_than_the_buffer_holds() -> None:
    """Every run is told once, however the kernel cuts the walk."""
    import mmap

    from cr.kernel import pagemap, vm

    count = 3 * 2048 + 7
    with mmap.mmap(-1, 2 * count * vm.PAGE_SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_NOHUGEPAGE)
        start = vm.address_of(memory)
        for index in range(count):
            memory[2 * index * vm.PAGE_SIZE] = 1
        fd = os.open("/proc/self/pagemap", os.O_RDONLY)
        runs = pagemap.scan(fd, start, start + len(memory), any_of=pagemap.PAGE_IS_PRESENT)
        os.close(fd)
    assert [run[0] - start for run in runs] == [2 * index * vm.PAGE_SIZE for index in range(count)]


def test_memory_that_devices_may_write_to_is_not_tracked(tmp_path: Path) -> None:
    with Workload("rounds", tmp_path, ["aio"]) as work:
        cr.pre_dump(work.pid, str(tmp_path / "first"))
        assert not trackers(work.pid)
        work.dump(prev_images_dir="../first")
        assert pages(work.images, work.pid)[1] == 0
        work.restore()
        work.check()
