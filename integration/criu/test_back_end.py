"""woodfrog's containers, frozen and thawed by another program that speaks criu's RPC (`woodfrog --criu`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from integration import shims
from integration.containers import PROJECT, WOODFROG
from integration.counting.container import TALKER, CountingContainer
from integration.shell.terminal import PROMPT, Terminal

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(params=["ours", "criu"])
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "criu":
        return shims.binary("WOODFROG_TEST_CRIU", "criu 4")
    place = PROJECT / ".pytest_cache" / "shim"
    shims.environment(place)
    return str(place / "criu")


class Driven(CountingContainer):
    """A container of woodfrog's whose engine is a program."""

    def __init__(self, place: Path, name: str, engine: str, *args: str) -> None:
        super().__init__(place, name, args)
        self.runtime = [*WOODFROG, "--criu", engine]


def test_a_container(engine: str, tmp_path: Path) -> None:
    with Driven(tmp_path / "c", "driven", engine) as container, container.pipes():
        container.start()
        container.goes_on(beyond=2)
        before = container.count()
        container.snapshot("--leave-running")
        container.goes_on(container.count())
        container.twice(lambda number: container.goes_on(before + number))


def test_a_terminal(engine: str, tmp_path: Path) -> None:
    shell = ["/bin/bash", "--norc", "--noprofile", "-i"]
    with Driven(tmp_path / "c", "driven", engine, *shell) as container:
        container.config["process"]["terminal"] = True
        container.config["process"]["env"] += [f"PS1={PROMPT}", "TERM=dumb"]
        with Terminal(container.place / "console") as terminal:
            container.start(console=str(terminal.path))
            terminal.take()
            terminal.read_until(PROMPT)
            terminal.command("answer=42")
            container.checkpoint()
            container.restore(console=str(terminal.path))
            terminal.take()
            assert terminal.command("echo $answer") == "42"


def test_what_it_refuses_is_told(engine: str, tmp_path: Path) -> None:
    with Driven(tmp_path / "c", "driven", engine, "/usr/bin/python3", "-c", TALKER) as container, container.pipes():
        container.start()
        container.goes_on(beyond=2)
        with pytest.raises(AssertionError, match="tcp"):
            container.snapshot()
        container.goes_on(container.count() + 2)
