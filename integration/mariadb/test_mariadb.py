"""A MariaDB server and a session that commits rows for ever are frozen and thawed; the table is whole afterwards."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from integration.containers import WORK, program
from integration.counting import checks
from integration.counting.container import CountingContainer

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]

HERE = Path(__file__).parent


def test_server(tmp_path: Path) -> None:
    program("mariadbd", "mariadb-server-core")
    program("mariadb", "mariadb-client-core")
    with CountingContainer(tmp_path / "c", "mariadb", ["/bin/sh", f"{WORK}/server.sh", WORK]) as container:
        for name in ("server.sh", "client.py"):
            shutil.copy(HERE / name, container.work)
        container.start()
        container.goes_on(beyond=20)
        checks.comes_back(container, "--tcp-established", "--file-locks")
        checks.is_left_running_too(container, "--tcp-established", "--file-locks")
        assert "OK" in container.exec(
            "mariadb", "--no-defaults", "-S", f"{WORK}/socket", "-e", "check table woodfrog.kept"
        )
        log = (container.work / "server.log").read_text()
        assert "[ERROR]" not in log, log
