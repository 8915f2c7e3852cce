"""Lazy restores: pages come on demand and in the background."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import cr
from cr import page_server
from cr.lazy_pages import daemon
from cr.lazy_pages.remaining import Piece, Remaining
from cr.model import CheckpointError
from cr.options import Options
from cr.page_server.lend import ImagePages, lend
from cr.page_server.process import start_server
from cr.page_server.protocol import PageServerError
from cr.page_server.wire import Wire
from images.directory import ImageDirectory
from tests.cr.harness import Workload, alive, wait_for

CRIU = os.environ.get("WOODFROG_TEST_CRIU", "")
PAGE = 4096
PID_NS = ["unshare", "--pid", "--fork", "--kill-child", "setsid", "--wait"]


def test_pages_are_taken_once() -> None:
    remaining = Remaining([Piece(0x1000, 0x5000, 0x1000), Piece(0x8000, 0x9000, 0x8000)])
    assert remaining.take(0x2000, 0x3000) == [Piece(0x2000, 0x3000, 0x2000)]
    assert remaining.take(0x2000, 0x3000) == []
    assert remaining.nr_pages == 4
    assert remaining.at(0x2000) is None
    assert remaining.at(0x3000) == Piece(0x3000, 0x5000, 0x3000)
    assert remaining.next(0x5000) == Piece(0x8000, 0x9000, 0x8000)
    assert remaining.next(0x9000) == Piece(0x1000, 0x2000, 0x1000)
    assert remaining.take(0, 0x10000) == [
        Piece(0x1000, 0x2000, 0x1000),
        Piece(0x3000, 0x5000, 0x3000),
        Piece(0x8000, 0x9000, 0x8000),
    ]
    assert not remaining
    assert remaining.nr_pages == 0


def test_moved_pages_keep_their_origin() -> None:
    remaining = Remaining([Piece(0x1000, 0x4000, 0x1000), Piece(0x9000, 0xA000, 0x9000)])
    child = remaining.copy()
    remaining.move(0x2000, 0x9000, 0x1000)
    assert remaining.at(0x9000) == Piece(0x9000, 0xA000, 0x2000)
    assert remaining.at(0x2000) is None
    assert remaining.nr_pages == 3
    assert child.at(0x9000) == Piece(0x9000, 0xA000, 0x9000)


@contextmanager
def lazy_pages(images: Path, **options: Any) -> Iterator[None]:
    """Our daemon, which must end well."""
    pid, _ = start_server(Options(images_dir=str(images), **options), daemon.serve)
    try:
        yield
        deadline = time.monotonic() + 30
        while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0):
            assert time.monotonic() < deadline, "the daemon goes on and on"
            time.sleep(0.01)
        pid = 0
        assert os.waitstatus_to_exitcode(ended[1]) == 0
    finally:
        if pid:
            os.kill(pid, 9)
            os.waitpid(pid, 0)


@pytest.mark.root
@pytest.mark.parametrize("name", ["memory_moves", "cow", "threads", "mixed"])
def test_lazy_restore(name: str, tmp_path: Path) -> None:
    with Workload(name, tmp_path) as workload:
        workload.dump()
        with lazy_pages(workload.images):
            workload.restore(lazy_pages=True)
            workload.check()


@pytest.mark.root
def test_pages_follow_by_themselves(tmp_path: Path) -> None:
    """The daemon ends although nobody touches anything; then the task is dumped and restored as always."""
    with Workload("memory_moves", tmp_path) as workload:
        workload.dump()
        with lazy_pages(workload.images):
            workload.restore(lazy_pages=True)
        workload.cycle()


@pytest.mark.root
def test_pages_from_a_page_server(tmp_path: Path) -> None:
    with Workload("memory_moves", tmp_path) as workload:
        workload.dump()
        server = page_server.start(Options(images_dir=str(workload.images), address="127.0.0.1", lazy_pages=True))
        with lazy_pages(workload.images, page_server=True, address="127.0.0.1", port=server.port):
            workload.restore(lazy_pages=True)
            workload.check()
        assert os.waitstatus_to_exitcode(os.waitpid(server.pid, 0)[1]) == 0


class Tired(ImagePages):
    """Lends some pages, then no more: it breaks off, or keeps silence until `end` is set."""

    def __init__(self, images: ImageDirectory, silent: bool) -> None:
        super().__init__(images)
        self.left, self.silent, self.end = 40, silent, threading.Event()

    def send(self, wire: Wire, pid: int, vaddr: int, nr_pages: int) -> None:
        self.left -= 1
        if self.left < 0:
            if self.silent:
                self.end.wait(30)
            raise PageServerError("tired")
        super().send(wire, pid, vaddr, nr_pages)


@contextmanager
def tired_page_server(directory: Path, silent: bool) -> Iterator[int]:
    """The port of a page server that gives up."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        ImageDirectory.open(directory) as images,
        Tired(images, silent) as pages,
    ):

        def serve() -> None:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(PageServerError):
                lend(Wire(connection, "the daemon"), pages)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            pages.end.set()
            thread.join()


@pytest.mark.root
@pytest.mark.parametrize("killed", [False, True])
def test_pages_that_never_come(killed: bool, tmp_path: Path) -> None:
    """The page server goes away, or the daemon is killed: the task does not go on with zeros for its memory."""
    with Workload("memory_moves", tmp_path) as workload, contextlib.ExitStack() as stack:
        workload.dump()
        port = stack.enter_context(tired_page_server(workload.images, killed))
        options = Options(images_dir=str(workload.images), page_server=True, address="127.0.0.1", port=port)
        pid, _ = start_server(options, daemon.serve)
        workload.restore(lazy_pages=True)
        if killed:
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == (-signal.SIGKILL if killed else 1)
        os.kill(workload.restored, signal.SIGTERM)
        _, status = os.waitpid(workload.restored, 0)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGBUS
        assert not workload.verdict_file.exists()


@pytest.mark.root
def test_no_daemon(tmp_path: Path) -> None:
    with Workload("plain", tmp_path) as workload:
        workload.dump()
        with pytest.raises(CheckpointError, match="there is no lazy-pages daemon at"):
            workload.restore(lazy_pages=True)
        workload.restore()
        workload.check()


@pytest.mark.root
def test_lazy_migration(tmp_path: Path) -> None:
    """The pages stay in the frozen tree until those of the new one need them."""
    with Workload("memory_moves", tmp_path, prefix=PID_NS) as workload:
        where: dict[str, Any] = {"address": "127.0.0.1", "port": 41327}
        ready, status = os.pipe()
        dumper = os.fork()
        if dumper == 0:
            code = 1
            try:
                os.close(ready)
                cr.dump(workload.pid, str(workload.images), lazy_pages=True, **where, status_fd=status)
                code = 0
            except Exception:
                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(status)
        assert os.read(ready, 1) == b"\0"
        os.close(ready)
        assert alive(workload.pid)
        with ImageDirectory.open(workload.images) as images:
            stats = sum(os.path.getsize(workload.images / n) for n in images.names() if n.startswith("pages-"))
        assert stats < 3 * 512 * PAGE
        with lazy_pages(workload.images, page_server=True, **where):
            workload.restore(lazy_pages=True)
            workload.check()
        assert os.waitstatus_to_exitcode(os.waitpid(dumper, 0)[1]) == 0
        wait_for(lambda: not alive(workload.pid), "the old tree to be gone")


@pytest.mark.root
@pytest.mark.skipif(not CRIU, reason="needs WOODFROG_TEST_CRIU")
def test_the_daemon_of_criu(tmp_path: Path) -> None:
    with Workload("cow", tmp_path) as workload:
        workload.dump()
        server = _criu_daemon(workload.images)
        workload.restore(lazy_pages=True)
        workload.check()
        assert server.wait(20) == 0


@pytest.mark.root
@pytest.mark.skipif(not CRIU, reason="needs WOODFROG_TEST_CRIU")
def test_the_daemon_of_criu_fetches_from_us(tmp_path: Path) -> None:
    with Workload("memory_moves", tmp_path) as workload:
        workload.dump()
        lender = page_server.start(Options(images_dir=str(workload.images), address="127.0.0.1", lazy_pages=True))
        server = _criu_daemon(workload.images, "--page-server", "--address", "127.0.0.1", "--port", str(lender.port))
        workload.restore(lazy_pages=True)
        assert server.wait(20) == 0
        assert os.waitstatus_to_exitcode(os.waitpid(lender.pid, 0)[1]) == 0
        workload.check()


def _criu_daemon(images: Path, *options: str) -> subprocess.Popen[bytes]:
    read, write = os.pipe()
    server = subprocess.Popen(
        [CRIU, "lazy-pages", "-D", str(images), "--status-fd", str(write), "-v4", "-o", "lazy.log", *options],
        pass_fds=[write],
    )
    os.close(write)
    assert os.read(read, 1) == b"\0"
    os.close(read)
    return server


@pytest.mark.root
@pytest.mark.skipif(not CRIU, reason="needs WOODFROG_TEST_CRIU")
def test_a_restore_by_criu(tmp_path: Path) -> None:
    with Workload("memory_moves", tmp_path) as workload:
        workload.dump()
        with lazy_pages(workload.images):
            pidfile = tmp_path / "restored"
            subprocess.run(
                [CRIU, "restore", "-D", str(workload.images), "--lazy-pages", "-d", "--pidfile", str(pidfile)],
                check=True, capture_output=True,
            )  # fmt: skip
            workload.restored = int(pidfile.read_text())
            workload.check()
