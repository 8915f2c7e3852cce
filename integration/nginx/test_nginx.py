"""nginx, master and workers, with kept connections, is frozen and thawed."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from integration.containers import WORK, Container, program, wait_for

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]

HERE = Path(__file__).parent
SCRIPT = f"""
cd {WORK}
nginx -p {WORK} -c nginx.conf &
until [ -S nginx.sock ]; do sleep 0.05; done
python3 client.py {WORK} &
wait
"""


class Site:
    """What runs in the container, asked from outside."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.rounds = 0

    def kept(self) -> list[str]:
        """What the connections say that were open before: the server's names for connection and worker."""
        self.rounds += 1
        with (self.container.work / "commands").open("w") as commands:
            commands.write("go\n")
        answers = self.container.work / "answers"
        wait_for(lambda: len(answers.read_text().splitlines()) == self.rounds, "an answer on kept connections")
        found: list[str] = json.loads(answers.read_text().splitlines()[-1])
        for answer in found:
            assert f" request {self.rounds} " in answer, answer
        return [re.sub(r"request \d+", "", answer) for answer in found]

    def get(self, path: str) -> str:
        return self.container.exec("curl", "-sS", "--fail", "--max-time", "20", f"http://127.0.0.1:8080{path}")

    def workers(self) -> list[int]:
        master = int((self.container.work / "nginx.pid").read_text())
        children = self.container.exec("cat", f"/proc/{master}/task/{master}/children")
        return [int(child) for child in children.split()]

    def reload(self, old: list[int]) -> None:
        """The master still obeys: it replaces its workers."""
        self.container.exec("nginx", "-p", WORK, "-c", "nginx.conf", "-s", "reload")
        wait_for(lambda: set(self.workers()) - set(old), "new workers")


def test_master_workers_and_kept_connections(tmp_path: Path) -> None:
    program("nginx", "nginx")
    program("curl", "curl")
    with Container(tmp_path / "c", "nginx", ["/bin/sh", "-c", SCRIPT]) as container:
        for name in ("nginx.conf", "client.py"):
            shutil.copy(HERE / name, container.work)
        (container.work / "page").write_text("a page\n" * 10_000)
        os.mkfifo(container.work / "commands")
        container.start()
        wait_for(lambda: (container.work / "answers").exists(), "the client")
        site = Site(container)
        kept, workers = site.kept(), site.workers()
        assert len(workers) == 2

        def check(_: int) -> None:
            assert site.kept() == kept
            assert site.workers() == workers
            assert site.get("/page") == "a page\n" * 10_000

        container.twice(check, "--tcp-established")
        site.reload(workers)
        assert site.get("/page") == "a page\n" * 10_000
