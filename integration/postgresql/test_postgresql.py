"""PostgreSQL is frozen and thawed while a transaction is open, which is then committed."""

from __future__ import annotations

import glob
import os
import pwd
from pathlib import Path

import pytest

from integration.containers import WORK, Container, program, wait_for

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]

SCRIPT = """
cd /data
postgres -D data -k /data -c listen_addresses=127.0.0.1 -c shared_buffers=16MB -c max_connections=20 >log 2>&1 &
until psql -h /data -d postgres -qAtc 'SELECT 1' >/dev/null 2>&1; do sleep 0.1; done
exec psql -h {host} -d postgres -qAt -v ON_ERROR_STOP=0 0<>commands >answers 2>&1
"""
ROWS = 10_000


class Database:
    """The session that is frozen, by its FIFO; and clients that come and go."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.said = 0

    def session(self, statements: str) -> str:
        """Let the frozen session do it; its answer."""
        self.said += 1
        mark = f"done-{self.said}"
        before = len(self._answers())
        with (self.container.work / "commands").open("w") as commands:
            commands.write(f"{statements}\n\\echo {mark}\n")
        wait_for(lambda: mark in self._answers()[before:], f"the session to answer {statements!r}")
        return self._answers()[before:].partition(mark)[0].strip()

    def _answers(self) -> str:
        return (self.container.work / "answers").read_text()

    def ask(self, query: str) -> str:
        """By a client that comes now."""
        return self.container.exec("psql", "-h", "127.0.0.1", "-d", "postgres", "-qAtc", query).strip()


def prepare(container: Container, initdb: str) -> None:
    container.config["process"]["env"] += [f"PATH={os.path.dirname(initdb)}:/usr/bin:/bin", "LC_ALL=C.UTF-8"]
    os.mkfifo(container.work / "commands", 0o600)
    os.chown(container.work / "commands", *container.owner)


@pytest.mark.parametrize("host", [WORK, "127.0.0.1"], ids=["unix", "tcp"])
def test_an_open_transaction_is_committed_later(tmp_path: Path, host: str) -> None:
    places = sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)
    initdb = program("initdb", "postgresql", *places)
    user = pwd.getpwnam("postgres")
    script = f"set -e; {initdb} -D data -N -A trust -U postgres >initdb.log\n" + SCRIPT.format(host=host)
    with Container(tmp_path / "c", "postgresql", ["/bin/sh", "-c", script], user.pw_uid, user.pw_gid) as container:
        prepare(container, initdb)
        container.start()
        wait_for(lambda: (container.work / "answers").exists(), f"the session: {container.output()}")
        database = Database(container)
        database.session("CREATE TABLE frogs (round int, number int);")

        def begin(number: int) -> None:
            database.session(f"BEGIN; INSERT INTO frogs SELECT {number}, generate_series(1, {ROWS});")
            assert database.ask("SELECT count(*) FROM frogs") == str((number - 1) * ROWS)  # not seen by others yet

        def check(number: int) -> None:
            assert database.ask("SELECT count(*) FROM frogs") == str((number - 1) * ROWS)
            assert database.session("SELECT count(*) FROM frogs;") == str(number * ROWS)
            assert database.session("COMMIT;") == ""
            assert database.ask(f"SELECT sum(number) FROM frogs WHERE round = {number}") == str(ROWS * (ROWS + 1) // 2)
            database.ask("CHECKPOINT")
            if number == 1:
                begin(2)

        begin(1)
        container.twice(check, "--tcp-established")
        assert "PANIC" not in (container.work / "log").read_text()
