"""redis-server with 100,000 keys, its append-only file open and a blocked client is frozen and thawed."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from integration.containers import WORK, Container, program, run, wait_for
from integration.trees import Tree

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]

KEYS = 100_000
SCRIPT = Path(__file__).with_name("server.sh")
CONFIGURATION = """\
port {port}
bind 127.0.0.1
unixsocket redis.sock
dir {directory}
appendonly yes
appendfsync everysec
save ""
enable-debug-command yes
"""


class Client:
    """redis-cli, started anew for each question; `prefix` brings it to the server."""

    def __init__(self, command: Callable[..., str], port: int, work: Callable[[], Path]) -> None:
        self.command = command
        self.port = port
        self.work = work
        self.popped = 0

    def ask(self, *words: str, **more: object) -> str:
        return self.command("redis-cli", "-p", str(self.port), *words, **more).strip()

    def fill(self) -> None:
        lines = (f"SET key:{number} value:{number * 7}\r\n" for number in range(KEYS))
        answer = self.ask("--pipe", input="".join(lines), stdin=None)
        assert f"errors: 0, replies: {KEYS}" in answer, answer

    def wait_for_blocked(self) -> None:
        wait_for(lambda: "cmd=blpop" in self.ask("CLIENT", "LIST"), "a client that waits for the queue")

    def digest(self) -> str:
        return self.ask("DEBUG", "DIGEST")

    def verify(self, before: str) -> None:
        """All keys are there, the blocked client gets its element, and the append-only file goes on."""
        assert int(self.ask("DBSIZE")) >= KEYS
        assert self.digest() == before
        assert self.ask("GET", "key:99999") == str(f"value:{99999 * 7}")
        self.wait_for_blocked()
        self.popped += 1
        self.ask("RPUSH", "queue", f"element-{self.popped}")
        wait_for(lambda: f"element-{self.popped}" in (self.work() / "popped").read_text(), "the blocked client")
        assert (self.work() / "popped").read_text().count("element-") == self.popped
        self.ask("SET", f"after:{self.popped}", "written")
        self.wait_for_blocked()
        digest = self.digest()
        assert self.ask("DEBUG", "LOADAOF") == "OK"  # everything is read back from the file
        assert self.digest() == digest


def redis() -> None:
    program("redis-server", "redis-server")
    program("redis-cli", "redis-tools")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_in_a_container(tmp_path: Path) -> None:
    redis()
    with Container(tmp_path / "c", "redis", ["/bin/sh", f"{WORK}/server.sh", WORK]) as container:
        shutil.copy(SCRIPT, container.work)
        (container.work / "redis.conf").write_text(CONFIGURATION.format(port=6379, directory=WORK))
        container.start()
        client = Client(container.exec, 6379, lambda: container.work)
        wait_for(lambda: (container.work / "popped").exists(), "the server")
        client.fill()
        client.wait_for_blocked()
        before = [client.digest()]

        def check(_: int) -> None:
            client.verify(before[-1])
            before.append(client.digest())

        container.twice(check, "--tcp-established")


def test_on_the_host(tmp_path: Path) -> None:
    redis()
    port = free_port()
    (tmp_path / "redis.conf").write_text(CONFIGURATION.format(port=port, directory=tmp_path))
    with Tree(tmp_path, ["/bin/sh", str(SCRIPT), str(tmp_path), "unix"]) as tree:
        client = Client(run, port, lambda: tmp_path)
        wait_for(lambda: (tmp_path / "popped").exists(), "the server")
        client.fill()
        client.wait_for_blocked()
        for _ in range(2):
            before = client.digest()
            tree.dump()
            tree.restore()
            client.verify(before)
