"""Plug-ins: how they are found, when they are asked, and what happens when they fail."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

import cr
from cr.contract import plugins
from cr.kernel.mountinfo import Mount
from cr.kernel.proc import Mapping
from cr.model import CheckpointError
from cr.options import Options
from tests.cr.harness import Workload

RECORDER = '''
import os
from cr.plugin import Plugin

NOTES = {notes!r}

class Recorder(Plugin):
    """Notes what it is asked; takes userfaultfds and sockets, and makes pipes of them."""

    name = "recorder"

    def note(self, *words):
        with open(NOTES, "a") as file:
            print(*words, file=file)

    def begin(self, stage, images_dir):
        self.note("begin", stage, os.path.basename(images_dir))

    def end(self, stage, succeeded):
        self.note("end", stage, succeeded)

    def knows_file(self, file):
        return "userfaultfd" in file.link

    def dump_file(self, file):
        self.note("dump", file.link, os.readlink(f"/proc/self/fd/{{file.open()}}") == file.link)
        return b"what was said"

    def restore_file(self, data):
        self.note("restore", data.decode())
        return os.eventfd(0)

    def knows_socket(self, file):
        return True

    def dump_socket(self, file):
        return b"socket"

    def restore_socket(self, data):
        return os.dup(int(os.environ["WOODFROG_TEST_SOCKET"]))

    def knows_mount(self, mount):
        return mount.fsname == "odd"

    def restore_mount(self, name):
        return "/host" + name

    def knows_mapping(self, mapping):
        return mapping.path == "/dev/odd"

    def restore_mapping(self, path, start, offset):
        return (0, offset + 4096) if path == "/dev/odd" else None

    def pause(self, pid):
        self.note("pause", pid)

    def checkpoint(self, pid):
        self.note("checkpoint", pid)

    def resume(self, pid):
        self.note("resume", pid)
'''


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with one plug-in, and things that are none."""
    place = tmp_path / "plugins"
    place.mkdir()
    (place / "recorder.py").write_text(RECORDER.format(notes=str(tmp_path / "notes")))
    (place / "other.so").write_bytes(b"\x7fELF")
    return place


def notes(tmp_path: Path) -> list[str]:
    found = (tmp_path / "notes").read_text().splitlines()
    (tmp_path / "notes").unlink()
    return found


def options(place: Path) -> Options:
    return Options(libdir=str(place), images_dir="/images")


def test_they_are_at_work_inside_of_the_block_only(place: Path, tmp_path: Path) -> None:
    with plugins.plugged(options(place), "dump"):
        assert [plugin.name for plugin in plugins.active()] == ["recorder"]
    assert plugins.active() == []
    with pytest.raises(KeyError), plugins.plugged(options(place), "restore"):
        raise KeyError
    assert notes(tmp_path) == ["begin dump images", "end dump True", "begin restore images", "end restore False"]


def test_entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "odd_plugin.py").write_text("from cr.plugin import Plugin\nclass Odd(Plugin):\n    pass\n")
    info = tmp_path / "odd-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[woodfrog.plugins]\nodd = odd_plugin:Odd\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with plugins.plugged(Options(), "dump"):
        assert [plugin.name for plugin in plugins.active()] == ["Odd"]
    monkeypatch.delitem(sys.modules, "odd_plugin")
    (tmp_path / "odd_plugin.py").write_text("Odd = 7\n")
    with pytest.raises(CheckpointError, match="entry point odd gives no subclass"), plugins.plugged(Options(), "dump"):
        raise AssertionError


def test_one_that_cannot_be_loaded(place: Path) -> None:
    (place / "broken.py").write_text("1 / 0\n")
    with pytest.raises(CheckpointError, match=r"broken.py cannot be loaded: division by zero"):
        cr.restore("/nowhere", libdir=str(place))
    with pytest.raises(CheckpointError, match="--libdir /nowhere: No such file"):
        cr.restore("/nowhere", libdir="/nowhere")


def test_mounts_and_mappings(place: Path) -> None:
    odd = Mount(1, 0, 0, "/", "/mnt", 0, 0, 0, "odd", "none", 0, "")
    memory = Mapping(0x1000, 0x2000, "rw-s", 0, "00:00", 0, "/dev/odd", frozenset())
    with plugins.plugged(options(place), "dump"):
        assert plugins.mount_name(odd) == "plugin:recorder:/mnt"
        assert plugins.mount_path("plugin:recorder:/mnt") == "/host/mnt"
        assert plugins.mount_path("NAME") is None
        assert plugins.knows_mapping(memory, 1)
        assert plugins.mapping("/dev/odd", 0x1000, 0) == (0, 4096)
        assert plugins.mapping("/dev/even", 0x1000, 0) is None
        with pytest.raises(CheckpointError, match="the plug-in gone, which is not here"):
            plugins.mount_path("plugin:gone:/mnt")


@pytest.mark.root
def test_when_they_are_asked(place: Path, tmp_path: Path) -> None:
    with Workload("stubs", tmp_path) as workload:
        pid = workload.pid
        workload.dump(leave_running=True, libdir=str(place))
        asked = ["begin dump images", f"pause {pid}", f"checkpoint {pid}", "dump anon_inode:[userfaultfd] True"]
        assert notes(tmp_path) == [*asked, f"resume {pid}", "end dump True"]
        workload.dump(libdir=str(place))
        assert notes(tmp_path) == [*asked, "end dump True"]
        with pytest.raises(CheckpointError, match="saved by the plug-in recorder, which is not here"):
            workload.restore()
        workload.restore(libdir=str(place))
        assert notes(tmp_path) == [
            "begin restore images", "restore what was said", f"resume {pid}", "end restore True"
        ]  # fmt: skip
        workload.check()


@pytest.mark.root
def test_one_that_fails_harms_nobody(place: Path, tmp_path: Path) -> None:
    text = (place / "recorder.py").read_text()
    (place / "recorder.py").write_text(
        text.replace('return b"what was said"', 'raise OSError("the device is on fire")')
    )
    with Workload("stubs", tmp_path) as workload:
        with pytest.raises(CheckpointError, match="the plug-in recorder failed in dump_file: the device is on fire"):
            workload.dump(libdir=str(place))
        assert notes(tmp_path)[-2:] == [f"resume {workload.pid}", "end dump False"]
        os.kill(workload.pid, 0)


@pytest.mark.root
def test_a_socket_with_its_peer_outside(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    mine, new = socket.socketpair()
    with ours, theirs, mine, new, Workload("outside_peer", tmp_path, stdin=theirs.fileno()) as workload:
        theirs.close()
        workload.dump(libdir=str(place))
        monkeypatch.setenv("WOODFROG_TEST_SOCKET", str(new.fileno()))
        workload.restore(libdir=str(place))
        mine.send(b"question")
        workload.check()
        assert mine.recv(100) == b"answer"
