"""Programs with a startup snapshot: they are what the ordinary ones are, and know when they are out of date."""

from __future__ import annotations

import errno
import os
import pty
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cr.kernel import mounts, prefault
from runtime.startup import freshness, hot_pages
from runtime.startup.entrance import Processor, Thread, page
from runtime.startup.layout import PROGRAMS, WORDS, command_of
from runtime.startup.recorder import relocated
from tests.cr.harness import Workload, wait_for
from tests.runtime.bundle import ROOT, Bundle, environment
from tests.runtime.freezing import counting, cycle, goes_on, start

pytestmark = pytest.mark.root
PLAIN = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
NAME_OF_CPU = 0x60  # where the page of words has what CPUID said


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("programs")
    command = [sys.executable, "-m", "runtime.main", "startup-snapshot", str(place)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == [str(place / name) for name in PROGRAMS]
    assert sorted(path.name for path in place.iterdir()) == sorted(PROGRAMS)
    yield place
    shutil.rmtree(place)  # some 60 MiB


@pytest.fixture
def quick(bundle: Bundle, programs: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """A bundle whose verbs are run by such a program."""
    bundle.program = [str(programs / "woodfrog")]
    monkeypatch.setattr(bundle, "environment", lambda: PLAIN)
    return bundle


def run(*command: object, **more: Any) -> subprocess.CompletedProcess[str]:
    options = {"env": PLAIN, "stdin": subprocess.DEVNULL, "timeout": 60, **more}
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)


def is_woken(program: Path, **more: Any) -> bool:
    done = run(program, "startup-snapshot", "--check", **more)
    assert done.returncode == ("ordinary" in done.stdout), done
    return done.returncode == 0


def test_the_programs_of_pip_are_the_same() -> None:
    import tomllib

    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert {name: ":".join(place) for name, place in PROGRAMS.items()} == scripts


@pytest.mark.parametrize("name", PROGRAMS)
def test_they_say_what_the_ordinary_ones_say(programs: Path, name: str) -> None:
    module = PROGRAMS[name][0]
    for words in (["--version"], ["--help"], ["--no-such-option"]):
        quick = run(programs / name, *words)
        plain = run(sys.executable, "-m", module, *words, env=environment())
        expected = plain.stdout.replace("__main__.py", name).replace(f"{module.rpartition('.')[2]}.py", name)
        assert (quick.returncode, quick.stdout) == (plain.returncode, expected)
    assert is_woken(programs / "woodfrog")


def test_they_have_their_own_arguments_environment_and_streams(programs: Path) -> None:
    done = run(programs / "woodfrog-criu", "restore", "-D", "/nonexistent/ü", env={**PLAIN, "LANG": "C"})
    assert done.returncode == 1
    assert "ü" in done.stderr
    found = {**PLAIN, "CRIU_CONFIG_FILE": "/nonexistent/configuration"}
    done = run(programs / "woodfrog-criu", "restore", "-D", "/nonexistent", env=found)
    assert "/nonexistent/configuration" in done.stderr


def test_closed_descriptors(programs: Path) -> None:
    done = run("/bin/sh", "-c", f"{programs}/woodfrog list >&- 2>&-; echo $?", pass_fds=())
    assert done.stdout.strip() in ("0", "1")


def test_inherited_descriptors_are_left_alone(programs: Path) -> None:
    """The recorded interpreter waits in read(2) of descriptor 3: here that is somebody else's."""
    reading, writing = os.pipe()
    os.write(writing, b"request")
    os.close(writing)
    done = run("/bin/sh", "-c", f"exec 3<&0; {programs}/woodfrog --version; cat <&3", stdin=reading)
    os.close(reading)
    assert done.stdout.endswith("request")


def test_a_terminal(programs: Path) -> None:
    """What is written to a terminal comes at once, as standard output of an interpreter does."""
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run([programs / "woodfrog", "list"], stdin=theirs, stdout=theirs, env=PLAIN, timeout=60)
        assert done.returncode == 0
        assert b"STATUS" in os.read(ours, 4096)
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_whole_life(quick: Bundle) -> None:
    counting(quick)
    start(quick)
    assert quick.ok("exec", quick.id, "/bin/echo", "inside") == "inside\n"
    cycle(quick, times=2)
    goes_on(quick)
    quick.ok("kill", quick.id, "KILL")
    wait_for(lambda: quick.state()["status"] == "stopped", "the end")
    quick.ok("delete", quick.id)


def test_a_tree_of_processes(programs: Path, tmp_path: Path) -> None:
    """The engine, forks and threads of its own included."""
    with Workload("threads", tmp_path) as workload:
        workload.images.mkdir()
        log = "-D", workload.images, "-o", "log"
        done = run(programs / "woodfrog-criu", "dump", "-t", workload.pid, *log)
        assert done.returncode == 0, done.stderr
        workload._reap()
        done = run(programs / "woodfrog-criu", "restore", "-d", *log, "--pidfile", tmp_path / "root.pid")
        assert done.returncode == 0, done.stderr
        workload.restored = int((tmp_path / "root.pid").read_text())
        workload.check()


def test_the_program_cannot_be_written_from_a_container(quick: Bundle) -> None:
    """CVE-2019-5736: the first process of a container, which runs our program, has it from a read-only mount."""
    quick.shell("exec sleep 1000")
    quick.detached("create", quick.id)
    kept = os.open(f"/proc/{quick.state()['pid']}/exe", os.O_PATH)
    quick.ok("delete", "--force", quick.id)  # while it runs, nobody may write to it anyway
    try:
        assert os.fstat(kept).st_ino == os.stat(quick.program[0]).st_ino
        with pytest.raises(OSError) as caught:
            os.open(f"/proc/self/fd/{kept}", os.O_WRONLY)
        assert caught.value.errno == errno.EROFS
        with pytest.raises(OSError):
            mounts.mount_setattr(kept, "", mounts.AT_EMPTY_PATH, attr_clr=mounts.MOUNT_ATTR_RDONLY)
    finally:
        os.close(kept)


def test_interrupted(programs: Path, tmp_path: Path) -> None:
    """SIGINT is an interpreter's, unless whoever started us has it ignored, as nohup(1) does with SIGHUP."""
    socket = tmp_path / "socket"
    command = [programs / "woodfrog-criu", "service", "--address", socket, "-W", tmp_path]
    with subprocess.Popen(command, env=PLAIN, stderr=subprocess.PIPE) as service:
        wait_for(socket.exists, "the service")
        caught = int(_status(service.pid)["SigCgt"], 16)
        ignored = int(_status(service.pid)["SigIgn"], 16)
        service.terminate()
    assert caught >> signal.SIGINT - 1 & 1
    assert ignored >> signal.SIGPIPE - 1 & 1
    command = ["/bin/sh", "-c", "trap '' INT HUP; exec \"$@\"", "sh", *map(str, command)]
    socket.unlink(missing_ok=True)
    with subprocess.Popen(command, env=PLAIN, stderr=subprocess.PIPE) as service:
        wait_for(socket.exists, "the service")
        ignored = int(_status(service.pid)["SigIgn"], 16)
        service.terminate()
    assert ignored >> signal.SIGINT - 1 & 1
    assert ignored >> signal.SIGHUP - 1 & 1


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_another_processor(programs: Path, tmp_path: Path) -> None:
    """The C library was set up for the one of the recording: on another the command runs plainly."""
    program = _copy(programs, tmp_path)
    with program.open("r+b") as file:
        file.seek(_offset(program, WORDS) + NAME_OF_CPU)
        (word,) = struct.unpack("<I", file.read(4))
        file.seek(-4, os.SEEK_CUR)
        file.write(struct.pack("<I", word ^ 1))
    assert not is_woken(program)
    assert run(program, "--version").stdout.startswith("woodfrog version")


def _copy(programs: Path, place: Path) -> Path:
    return Path(shutil.copy(programs / "woodfrog", place / "woodfrog"))


def _offset(program: Path, address: int) -> int:
    """Where in the file the segment of an address begins."""
    with program.open("rb") as file:
        head = file.read(1 << 16)
    for number in range(struct.unpack_from("<H", head, 56)[0]):
        _, _, offset, start, _, size, _, _ = struct.unpack_from("<II6Q", head, 64 + 56 * number)
        if start <= address < start + size:
            return int(offset)
    raise AssertionError(f"no segment has {address:#x}")


def test_variables_that_only_an_interpreter_minds(programs: Path) -> None:
    assert not is_woken(programs / "woodfrog", env={**PLAIN, "PYTHONPATH": str(ROOT)})
    assert is_woken(programs / "woodfrog", env={**PLAIN, "PYTHONUNBUFFERED": "1"})


@pytest.mark.parametrize(
    "layout",
    [
        ["setarch", "-R"],
        ["setarch", "--addr-compat-layout"],
        ["prlimit", "--stack=unlimited"],
        ["prlimit", "--as=300000000"],
    ],
    ids=" ".join,
)
def test_layouts_of_the_address_space(programs: Path, layout: list[str]) -> None:
    """Wherever the kernel puts stack, vDSO and heap, and however little room there may be."""
    done = run(*layout, programs / "woodfrog", "startup-snapshot", "--check")
    assert done.stdout == "started from a snapshot\n", done.stderr


def test_a_source_that_changed(programs: Path) -> None:
    """Then they run plainly, and --if-stale, which leaves fresh ones alone, makes them anew."""
    program = programs / "woodfrog"
    refresh = program, "startup-snapshot", "--if-stale", programs
    assert run(*refresh).stdout == ""
    source = ROOT / "runtime/startup/__init__.py"
    before = source.stat()
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000_000))
    try:
        assert not is_woken(program)
        assert str(program) in run(*refresh).stdout
        assert is_woken(program)
    finally:
        os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not is_woken(program)
    assert str(program) in run(*refresh).stdout


def test_programs_that_cannot_be_written_leave_nothing(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("")
    done = run(sys.executable, "-m", "runtime.main", "startup-snapshot", place / "bin", env=environment())
    assert done.returncode == 1
    assert "cannot write" in done.stderr


def test_the_vector_on_the_stack_is_moved() -> None:
    start = 0x7FFC00000000
    text = b"prog\0a\0X=1\0" + bytes(5)
    words = [2, start + 120, start + 125, 0, start + 127, 0, 33, 0x7FFE00000000, 25, start + 120, 6, 4096, 0, 0, 0]
    moved = relocated(struct.pack("<15Q", *words) + text, start, 0x1000)
    found = struct.unpack_from("<15Q", moved)
    assert found[1:3] == (start + 0x1000 + 120, start + 0x1000 + 125)
    assert found[4] == start + 0x1000 + 127
    assert found[6] == 1, "AT_SYSINFO_EHDR is ignored"
    assert found[9] == start + 0x1000 + 120
    assert found[11] == 4096
    assert moved[120:] == text


def test_the_page_of_words() -> None:
    thread = Thread(*range(0x10, 0x1B))
    made = page(0x1000, thread, Processor(tuple(range(7))), "/python", "/script")
    assert struct.unpack_from("<12Q", made) == (0, *range(0x10, 0x1B))
    python, script = struct.unpack_from("<QQ", made, 0x80)
    assert made[python - 0x1000 :].startswith(b"/python\0")
    assert made[script - 0x1000 :].startswith(b"/script\0")


def test_stamps(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text("1")
    assert freshness.fresh(freshness.stamps())
    known = freshness.stamp(os.fsencode(file)) + freshness.stamp(os.fsencode(tmp_path))
    assert freshness.fresh(known)
    file.write_text("22")
    assert not freshness.fresh(known)
    file.unlink()
    assert not freshness.fresh(known)


def test_names_choose_commands() -> None:
    from cr.cli import command as engine
    from runtime.main import command as runtime

    assert command_of("/opt/shim/criu") is engine
    assert command_of("woodfrog-criu") is engine
    assert command_of("woodfrog") is runtime
    assert command_of("anything") is runtime


def test_the_shim_is_the_program_itself(programs: Path, tmp_path: Path) -> None:
    run(programs / "woodfrog", "criu-shim", tmp_path)
    assert (tmp_path / "criu").readlink() == programs / "woodfrog"
    assert run(tmp_path / "criu", "--version").stdout.startswith("Version: ")


def writable_segments(program: bytes) -> list[range]:
    """Addresses of the PT_LOAD segments that can be written to (elf(5))."""
    (count,) = struct.unpack_from("<H", program, 56)
    rows = [struct.unpack_from("<II6Q", program, 64 + 56 * index) for index in range(count)]
    return [
        range(address, address + size) for kind, flags, _, address, _, _, size, _ in rows if kind == 1 and flags & 2
    ]


def test_the_pages_that_a_dump_needs_are_known(programs: Path) -> None:
    with (programs / "woodfrog").open("rb") as file:
        head = file.read(1 << 16)
        runs = hot_pages.read(file.fileno())
    segments = writable_segments(head)
    assert 100 < sum(count for _, count in runs) < 4000
    for address, count in runs:
        assert any(address in segment and address + count * 4096 - 1 in segment for segment in segments)
    assert runs == sorted(runs)


def test_pages_are_noted_behind_a_program(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"what was there")
    with program.open("rb") as file:
        assert hot_pages.read(file.fileno()) == []
        hot_pages.note(str(program), [0x1000, 0x2000, 0x5000])
        assert hot_pages.read(file.fileno()) == [(0x1000, 2), (0x5000, 1)]
    assert program.read_bytes().startswith(b"what was there")
    program.write_bytes(b"short")
    with program.open("rb") as file:
        assert hot_pages.read(file.fileno()) == []


def test_touching_pages_that_are_not_there_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefault, "known", lambda: [(0x1000, 1)])
    prefault.populate()
