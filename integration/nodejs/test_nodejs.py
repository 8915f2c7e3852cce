"""A Node.js server with a worker thread, its thread pool, a child and a kept connection is frozen and thawed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from integration.containers import WORK, Container, program, wait_for

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]

SCRIPT = Path(__file__).with_name("server.js")
COUNTERS = ("ticks", "worker", "hashes", "echoes", "kept")


def ask(container: Container) -> Any:
    """The server's state, by a real client on a new connection."""
    command = ("curl", "-sS", "--retry", "20", "--retry-connrefused", "--max-time", "20", "http://127.0.0.1:8080/state")
    return json.loads(container.exec(*command))


def advanced(container: Container, before: Any) -> Any:
    """Wait until everything that the server does went on from `before`; its state then."""

    def state() -> Any:
        now = ask(container)
        assert now["wrong"] == [], now["wrong"]
        return all(now[name] >= before.get(name, 0) + 20 for name in COUNTERS) and now

    return wait_for(state, f"the server to go on from {before}")


def test_server(tmp_path: Path) -> None:
    node = program("node", "nodejs")
    program("curl", "curl")
    with Container(tmp_path / "c", "nodejs", [node, f"{WORK}/server.js", WORK]) as container:
        shutil.copy(SCRIPT, container.work)
        container.start()
        states = [advanced(container, {})]

        def check(_: int) -> None:
            now = advanced(container, states[-1])
            assert now["pid"] == states[0]["pid"]
            assert now["requests"] > states[-1]["requests"]
            lines = (container.work / "log").read_text().splitlines()
            complete = [str(number) for number in range(1, len(lines) + 1)]
            assert lines == complete, "the log has a gap"
            states.append(now)

        container.twice(check, "--tcp-established")
