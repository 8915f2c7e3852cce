"""What cannot be done is said in one sentence, with a non-zero exit, and nobody is harmed."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cr.harness import Workload, alive, wait_for

pytestmark = pytest.mark.root

ENGINE = [sys.executable, "-m", "cr.cli"]


def engine(*arguments: object) -> subprocess.CompletedProcess[str]:
    words = [*ENGINE, *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def heeds_interrupts() -> None:
    """A shell starts what it runs in the background with SIGINT ignored, which the engine respects."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    """It failed with an exit status (no signal, no traceback), in words that contain these."""
    assert result.returncode == 1, result
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr, result.stderr


@contextmanager
def sleeper(*command: str) -> Iterator[int]:
    process = subprocess.Popen(
        command or ("sleep", "1000"),
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: Path(f"/proc/{process.pid}/comm").read_text() != Path("/proc/self/comm").read_text(), "exec")
        yield process.pid
    finally:
        process.kill()
        process.wait()


def sleeps_on(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    directory = tmp_path / "images"
    directory.mkdir()
    return directory


# Dump


def test_no_such_pid(images: Path) -> None:
    refused(engine("dump", "-t", 4194303, "-D", images), "4194303")
    assert list(images.iterdir()) == []


def test_no_pid_at_all(images: Path) -> None:
    refused(engine("dump", "-D", images), "-t PID")


def test_our_own_ancestor(images: Path) -> None:
    refused(engine("dump", "-t", os.getpid(), "-D", images), "ancestor")


def test_traced_by_another(images: Path) -> None:
    with sleeper() as pid:
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.ptrace(0x4206, pid, 0, 0) == 0  # PTRACE_SEIZE
        refused(engine("dump", "-t", pid, "-D", images), "traced by", str(os.getpid()))
        assert alive(pid)


def elf32() -> bytes:
    """A static 32-bit program that waits: pause(2), again and again."""
    code = bytes.fromhex("b81d000000cd80ebf7")
    base, size = 0x08048000, 52 + 32
    ident = b"\x7fELF\x01\x01\x01" + bytes(9)
    header = ident + struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, base + size, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    segment = struct.pack("<IIIIIIII", 1, 0, base, base, size + len(code), size + len(code), 5, 0x1000)
    return header + segment + code


def test_a_32_bit_task(images: Path, tmp_path: Path) -> None:
    program = tmp_path / "wait32"
    program.write_bytes(elf32())
    program.chmod(0o755)
    with sleeper(str(program)) as pid:
        refused(engine("dump", "-t", pid, "-D", images), "32-bit")
        assert alive(pid)


def test_image_directory_is_missing(tmp_path: Path) -> None:
    with sleeper() as pid:
        refused(engine("dump", "-t", pid, "-D", tmp_path / "nowhere"), str(tmp_path / "nowhere"))
        assert sleeps_on(pid)


def test_image_directory_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with sleeper() as pid:
        refused(engine("dump", "-t", pid, "-D", tmp_path / "file"), "file")
        assert sleeps_on(pid)


@contextmanager
def small_tmpfs(place: Path, options: str) -> Iterator[Path]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "woodfrog-test", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def test_the_disk_is_full_in_the_middle(images: Path) -> None:
    with sleeper() as pid, small_tmpfs(images, "size=48k"):
        refused(engine("dump", "-t", pid, "-D", images, "-W", images.parent), "No space left")
        assert list(images.iterdir()) == [], "a failed dump leaves no images"
        wait_for(lambda: sleeps_on(pid), "the task to sleep on")


def test_a_directory_that_cannot_be_written(images: Path) -> None:
    with sleeper() as pid, small_tmpfs(images, "ro"):
        refused(engine("dump", "-t", pid, "-D", images, "-W", images.parent), "Read-only file system")
        wait_for(lambda: sleeps_on(pid), "the task to sleep on")


def test_unknown_option(images: Path) -> None:
    result = engine("dump", "--no-such-option", "-D", images)
    assert result.returncode != 0
    assert "--no-such-option" in result.stderr


@pytest.mark.parametrize("signo", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_dump_that_is_ended_harms_nobody(signo: signal.Signals, tmp_path: Path) -> None:
    """At moments from the first to the last millisecond of a dump."""
    with Workload("threads", tmp_path) as workload:
        workload.images.mkdir()
        for delay in (0.05, 0.09, 0.1, 0.11, 0.12, 0.13, 0.14, 0.15, 0.17, 0.2):
            command = [*ENGINE, "dump", "-t", str(workload.pid), "-D", str(workload.images), "--leave-running"]
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL, preexec_fn=heeds_interrupts)
            try:
                process.wait(delay)
            except subprocess.TimeoutExpired:
                process.send_signal(signo)
            process.wait(20)
            wait_for(lambda: "TracerPid:\t0\n" in Path(f"/proc/{workload.pid}/status").read_text(), "the tracer to go")
        workload.check()


# Restore


@pytest.fixture
def dumped(images: Path) -> Iterator[Path]:
    """Images of a sleeping process that is gone."""
    with sleeper() as pid:
        assert engine("dump", "-t", pid, "-D", images).returncode == 0
    yield images


def root_pid(images: Path) -> int:
    from images.directory import ImageDirectory

    with ImageDirectory.open(images) as directory:
        return int(directory.read("pstree")[0].pid)


def nothing_restored(images: Path) -> None:
    assert not alive(root_pid(images))


def test_no_images(images: Path) -> None:
    refused(engine("restore", "-D", images), "inventory.img")


def test_truncated_pages(dumped: Path) -> None:
    pages = dumped / "pages-1.img"
    os.truncate(pages, pages.stat().st_size // 2)
    refused(engine("restore", "-d", "-D", dumped), "pages-1.img")
    nothing_restored(dumped)


def test_truncated_core(dumped: Path) -> None:
    core = next(dumped.glob("core-*.img"))
    os.truncate(core, core.stat().st_size - 3)
    refused(engine("restore", "-d", "-D", dumped), core.name)
    nothing_restored(dumped)


def test_a_missing_image(dumped: Path) -> None:
    next(dumped.glob("mm-*.img")).unlink()
    refused(engine("restore", "-d", "-D", dumped), "mm-")
    nothing_restored(dumped)


def test_images_of_another_machine(dumped: Path) -> None:
    from images.directory import ImageDirectory

    pid = root_pid(dumped)
    with ImageDirectory.open(dumped) as directory:
        core = directory.read_one("core", pid)
        core.mtype = core.march.AARCH64
        directory.write("core", pid, entries=[core])
    refused(engine("restore", "-d", "-D", dumped), "AARCH64")
    nothing_restored(dumped)


def born_as(pid: int) -> bool:
    """fork(2) with a pid for the child; whether this is it."""
    from cr.kernel.clone import CLONE_ARGS_SIZE, clone_args
    from cr.kernel.libc import syscall

    tid = (ctypes.c_int * 1)(pid)
    args = clone_args(0, exit_signal=17, set_tid=ctypes.addressof(tid), set_tid_size=1)
    return syscall("clone3", 435, ctypes.create_string_buffer(args, len(args)), CLONE_ARGS_SIZE) == 0


def test_the_pid_is_taken(dumped: Path) -> None:
    pid = root_pid(dumped)
    if born_as(pid):
        os.execv("/bin/sleep", ["sleep", "1000"])
    try:
        refused(engine("restore", "-d", "-D", dumped), f"pid {pid} is taken")
        assert alive(pid)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_the_pid_is_that_of_a_session(dumped: Path) -> None:
    """Whose leader is gone: no process has the pid, and it cannot be had."""
    pid = root_pid(dumped)
    reading, writing = os.pipe()
    if born_as(pid):
        os.setsid()
        if member := os.fork():
            os.write(writing, str(member).encode())
            os._exit(0)
        os.execv("/bin/sleep", ["sleep", "1000"])
    os.waitpid(pid, 0)
    member = int(os.read(reading, 10))
    os.close(reading)
    os.close(writing)
    try:
        sentence = f"pid {pid} is taken: it is the session of another process, task {member} (sleep): end it, or"
        refused(engine("restore", "-d", "-D", dumped), sentence)
    finally:
        os.kill(member, signal.SIGKILL)


def test_a_file_that_is_gone(tmp_path: Path, images: Path) -> None:
    path = tmp_path / "needed"
    path.write_text("x")
    with sleeper("sh", "-c", f"exec sleep 1000 3<{path}") as pid:
        wait_for(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", "the shell's exec")
        assert engine("dump", "-t", pid, "-D", images).returncode == 0
    path.unlink()
    refused(engine("restore", "-d", "-D", images), str(path))
    nothing_restored(images)


def name_of(pid: int) -> str:
    """Of a live process, otherwise nothing."""
    try:
        return Path(f"/proc/{pid}/comm").read_text() if alive(pid) else ""
    except (FileNotFoundError, ProcessLookupError):
        return ""


@pytest.mark.parametrize("signo", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_restore_that_is_ended_leaves_nothing(signo: signal.Signals, dumped: Path) -> None:
    pid = root_pid(dumped)
    for delay in (0.05, 0.08, 0.09, 0.1, 0.11, 0.12, 0.13, 0.14, 0.15):
        command = [*ENGINE, "restore", "-D", str(dumped)]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, preexec_fn=heeds_interrupts)
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            process.send_signal(signo)
        status = process.wait(20)
        wait_for(lambda: name_of(pid) in ("", "sleep\n"), f"the end of a puppet after status {status}")
        if alive(pid):  # it was complete and let go already, the engine only waited for its end
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: not alive(pid), "the end of what had been restored")
