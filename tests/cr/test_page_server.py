"""The page server: pages of a dump go to another process."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import cr
from cr import page_server
from cr.model import CheckpointError
from cr.options import Options
from cr.page_server import protocol
from cr.page_server.lend import ImagePages, lend
from cr.page_server.protocol import Header, PageServerError
from cr.page_server.receive import receive
from cr.page_server.send import RemotePages
from cr.page_server.wire import Wire
from images.directory import ImageDirectory
from images.kinds import PageFlag
from images.pages import PAGE_SIZE, PagemapReader
from tests.cr.harness import Workload, alive, end_tree, wait_for

CRIU = os.environ.get("WOODFROG_TEST_CRIU", "")
ENGINE = [sys.executable, "-m", "cr.cli"]
PAGE = bytes(range(256)) * (PAGE_SIZE // 256)


@contextmanager
def conversation(serve: Callable[[Wire], object]) -> Iterator[Wire]:
    """Our end of a connection whose other end is served in a thread; what went wrong there is raised here."""
    ours, theirs = socket.socketpair()
    problems: list[BaseException] = []

    def work() -> None:
        try:
            with theirs:
                serve(Wire(theirs, "the client"))
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        with ours:
            ours.settimeout(10)
            yield Wire(ours, "the server")
    finally:
        thread.join(10)
    if problems:
        raise problems[0]


def test_pages_arrive(tmp_path: Path) -> None:
    with ImageDirectory.open(tmp_path) as images:
        with conversation(lambda wire: receive(wire, images)) as wire:
            store = RemotePages(wire)
            with store.writer("pagemap", 7) as task:
                task.append(0x1000, PAGE * 2, lazy=True)
                task.in_parent(0x5000, 3)
            with store.writer("pagemap-shmem", 99) as shared:
                shared.append(0, PAGE)
            store.finish()
        with PagemapReader(images, "pagemap", 7) as found:
            assert [(run.vaddr, run.nr_pages, run.flags) for run in found.runs] == [
                (0x1000, 2, PageFlag.PRESENT | PageFlag.LAZY),
                (0x5000, 3, PageFlag.PARENT),
            ]
        assert (tmp_path / f"pages-{found.runs[0].pages_id}.img").read_bytes() == PAGE * 2
        with PagemapReader(images, "pagemap-shmem", 99) as shared_pages:
            assert shared_pages.runs[0].nr_pages == 1


def test_two_threads_send_in_order(tmp_path: Path) -> None:
    """Whoever has the later bytes waits for the earlier ones."""
    with ImageDirectory.open(tmp_path) as images, conversation(lambda wire: receive(wire, images)) as wire:
        store = RemotePages(wire)
        with store.writer("pagemap", 1) as task:
            task.present(0x1000, 2)
            later = threading.Thread(target=task.store_at, args=(memoryview(b"b" * PAGE_SIZE), PAGE_SIZE))
            later.start()
            task.store_at(memoryview(b"a" * PAGE_SIZE), 0)
            later.join()
        store.finish()
    assert (tmp_path / "pages-65537.img").read_bytes() == b"a" * PAGE_SIZE + b"b" * PAGE_SIZE


def test_a_dump_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    with ImageDirectory.open(tmp_path) as images:
        with (
            pytest.raises(PageServerError, match="went away in the middle of a dump"),
            conversation(lambda wire: receive(wire, images)) as wire,
            RemotePages(wire).writer("pagemap", 7) as task,
        ):
            task.append(0x1000, PAGE)
        assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("headers", "sentence"),
    [
        ([Header(99)], "unknown command"),
        ([Header(protocol.ADD_FLAGGED, 4, 1, 0x1000, 0x701)], "has not opened"),
        ([Header(protocol.OPEN, object=0x703)], "a kind that we do not know"),
        ([Header(protocol.OPEN, object=0x701), Header(protocol.HOLE, 0, 1, 0x5001, 0x701)], "cannot be"),
        (
            [
                Header(protocol.OPEN, object=0x701),
                Header(protocol.HOLE, 0, 1, 0x5000, 0x701),
                Header(protocol.HOLE, 0, 1, 0x4000, 0x701),
            ],
            "out of order",
        ),
    ],
)
def test_nonsense_is_refused(headers: list[Header], sentence: str, tmp_path: Path) -> None:
    with (
        ImageDirectory.open(tmp_path) as images,
        pytest.raises(PageServerError, match=sentence),
        conversation(lambda wire: receive(wire, images)) as wire,
    ):
        wire.send(*(header.pack() for header in headers))
        while wire.receive(1):
            pass


def test_pages_are_lent(tmp_path: Path) -> None:
    with ImageDirectory.open(tmp_path) as images:
        with conversation(lambda wire: receive(wire, images)) as wire:
            store = RemotePages(wire)
            with store.writer("pagemap", 7) as task:
                task.append(0x1000, b"a" * PAGE_SIZE + b"b" * PAGE_SIZE)
            store.finish()
        with ImagePages(images) as pages, conversation(lambda wire: lend(wire, pages)) as wire:
            wire.send_header(Header(protocol.GET, 0, 5, 0x2000, 7))
            answer = wire.header()
            assert answer == (protocol.ADD_FLAGGED, PageFlag.PRESENT, 1, 0x2000, 7)
            assert wire.receive(PAGE_SIZE) == b"b" * PAGE_SIZE
            wire.send_header(Header(protocol.GET, 0, 1, 0x9000, 7))
            assert wire.header() == (protocol.ADD_FLAGGED, 0, 0, 0x9000, 7)
            wire.send_header(Header(protocol.CLOSE))
            assert wire.status() == 0


def _page_server(directory: Path, **options: Any) -> page_server.Started:
    directory.mkdir(exist_ok=True)
    return page_server.start(Options(images_dir=str(directory), address="127.0.0.1", **options))


def _status(server: page_server.Started) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(server.pid, 0)[1])


@pytest.mark.root
def test_dump_to_a_page_server(tmp_path: Path) -> None:
    with Workload("memory_moves", tmp_path) as workload:
        server = _page_server(workload.images)
        workload.dump(page_server=True, address="127.0.0.1", port=server.port)
        assert _status(server) == 0
        assert all(name.startswith("pages-65") for name in os.listdir(workload.images) if name.startswith("pages-"))
        workload.restore()
        workload.check()


@pytest.mark.root
def test_a_tree_that_runs_on_is_dumped_to_a_page_server(tmp_path: Path) -> None:
    """Its pages are sent from copies, after what was sent while it stood still."""
    with Workload("busy", tmp_path, ["32"]) as work:
        server = _page_server(work.images)
        work.dump(page_server=True, address="127.0.0.1", port=server.port, leave_running=True)
        assert _status(server) == 0
        end_tree(work.pid)
        assert work.process is not None
        work.process.wait()
        work.restore()
        work.check()


@pytest.mark.root
def test_a_connection_that_somebody_else_has_made(tmp_path: Path) -> None:
    """--ps-socket, on both sides."""
    here, there = socket.socketpair()
    with Workload("plain", tmp_path) as workload, here, there:
        workload.images.mkdir()
        server = page_server.start(Options(images_dir=str(workload.images), ps_socket=there.fileno()))
        there.close()
        workload.dump(page_server=True, ps_socket=here.fileno())
        assert _status(server) == 0
        workload.restore()
        workload.check()


@pytest.mark.root
def test_pre_dumps_to_a_page_server(tmp_path: Path) -> None:
    """The pages of all rounds are over there, everything else is here; put together they are a chain."""

    def options(name: str, parent: str) -> dict[str, Any]:
        there = tmp_path / f"there-{name}"
        server = _page_server(there, prev_images_dir=parent and f"../there-{parent}", auto_dedup=True)
        servers.append(server)
        where = {"page_server": True, "address": "127.0.0.1", "port": server.port}
        return {**where, "prev_images_dir": parent and f"../here-{parent}"}

    servers: list[page_server.Started] = []
    with Workload("rounds", tmp_path) as work:
        for name, parent in (("first", ""), ("second", "first")):
            cr.pre_dump(work.pid, str(tmp_path / f"here-{name}"), **options(name, parent))
            before = (tmp_path / "round").read_text()
            os.kill(work.pid, signal.SIGUSR1)
            wait_for(lambda before=before: (tmp_path / "round").read_text() != before, "the next round")  # type: ignore[misc]
        (tmp_path / "here-last").mkdir()
        work.images.symlink_to("here-last")
        work.dump(**options("last", "second"))
        assert [_status(server) for server in servers] == [0, 0, 0]
        with (
            ImageDirectory.open(tmp_path / "there-last") as images,
            PagemapReader(images, "pagemap", work.pid) as found,
        ):
            assert {bool(run.flags & PageFlag.PARENT) for run in found.runs} == {True, False}
        for file in work.images.glob("*.img"):
            shutil.copy(file, tmp_path / "there-last")
        work.images.unlink()
        work.images.symlink_to("there-last")
        work.restore()
        work.check()


@pytest.mark.root
def test_a_page_server_that_goes_away(tmp_path: Path) -> None:
    """The dump fails with one sentence, the tree runs on."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve_a_little() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(protocol.SIZE)
            connection.sendall(b"\0")
            connection.recv(100)

    with Workload("memory_moves", tmp_path) as workload, listening:
        thread = threading.Thread(target=serve_a_little)
        thread.start()
        with pytest.raises(CheckpointError, match=r"the connection to the page server .* broke"):
            workload.dump(page_server=True, address="127.0.0.1", port=listening.getsockname()[1])
        thread.join()
        assert alive(workload.pid)
        assert not list(workload.images.glob("*.img"))
        workload.check()


@pytest.mark.root
def test_no_page_server(tmp_path: Path) -> None:
    with Workload("plain", tmp_path) as workload:
        with pytest.raises(CheckpointError, match="cannot be reached"):
            workload.dump(page_server=True, address="127.0.0.1", port=1)
        workload.check()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem, cert.pem and key.pem for 127.0.0.1, and the certificate of another CA."""
    home = tmp_path_factory.mktemp("pki")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=home, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout")
    openssl("req", "-x509", *key, "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2")
    openssl("req", "-x509", *key, "other.key", "-out", "other.pem", "-subj", "/CN=other", "-days", "2")
    openssl("req", *key, "key.pem", "-out", "request", "-subj", "/CN=server")
    (home / "names").write_text("subjectAltName=IP:127.0.0.1")
    openssl(
        "x509", "-req", "-in", "request", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
        "-out", "cert.pem", "-days", "2", "-extfile", "names",
    )  # fmt: skip
    return home


def _tls(home: Path, ca: str = "ca.pem") -> dict[str, Any]:
    return {
        "tls": True,
        "tls_cacert": str(home / ca),
        "tls_cert": str(home / "cert.pem"),
        "tls_key": str(home / "key.pem"),
    }


@pytest.mark.root
def test_tls(tmp_path: Path, certificates: Path) -> None:
    with Workload("plain", tmp_path) as workload:
        server = _page_server(workload.images, **_tls(certificates))
        workload.dump(page_server=True, address="127.0.0.1", port=server.port, **_tls(certificates))
        assert _status(server) == 0
        workload.restore()
        workload.check()


@pytest.mark.root
def test_a_certificate_that_does_not_match(tmp_path: Path, certificates: Path) -> None:
    with Workload("plain", tmp_path) as workload:
        server = _page_server(workload.images, **_tls(certificates))
        with pytest.raises(CheckpointError, match=r"the TLS certificate of the page server at .* does not match"):
            workload.dump(page_server=True, address="127.0.0.1", port=server.port, **_tls(certificates, "other.pem"))
        assert _status(server) == 1
        workload.check()


@pytest.mark.parametrize("command", ["page-server", "lazy-pages", "service"])
def test_a_daemon_tells_when_it_is_ready(command: str, tmp_path: Path) -> None:
    read, write = os.pipe()
    words = [command, "-D", str(tmp_path), "-W", str(tmp_path), "--pidfile", "pid", "-d", "--status-fd", str(write)]
    subprocess.run([*ENGINE, *words], pass_fds=[write], check=True, timeout=30)
    pid = int((tmp_path / "pid").read_text())
    try:
        os.close(write)
        with os.fdopen(read, "rb") as status:
            assert status.read() == b"\0"  # and it has kept no copy
        assert alive(pid)
    finally:
        os.kill(pid, signal.SIGTERM)


@pytest.mark.root
@pytest.mark.skipif(not CRIU, reason="needs WOODFROG_TEST_CRIU")
def test_dump_to_the_page_server_of_criu(tmp_path: Path) -> None:
    with Workload("memory_moves", tmp_path) as workload:
        workload.images.mkdir()
        read, write = os.pipe()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        server = subprocess.Popen(
            [CRIU, "page-server", "-D", str(workload.images), "--address", "127.0.0.1", "--port", str(port),
             "--status-fd", str(write), "-o", "page-server.log"],
            pass_fds=[write],
        )  # fmt: skip
        os.close(write)
        assert os.read(read, 1) == b"\0"
        os.close(read)
        workload.dump(page_server=True, address="127.0.0.1", port=port)
        assert server.wait(20) == 0
        workload.restore()
        workload.check()
