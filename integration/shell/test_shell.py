"""An interactive shell on a terminal, with jobs, is frozen and thawed; the new terminal goes on where the old ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from integration.containers import Container, program
from integration.shell.terminal import PROMPT, Terminal

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]


@contextmanager
def shell(tmp_path: Path) -> Iterator[tuple[Container, Terminal]]:
    bash = program("bash", "bash")
    with Container(tmp_path / "c", "shell", [bash, "--norc", "--noprofile", "-i"]) as container:
        container.config["process"]["terminal"] = True
        container.config["process"]["env"] += [f"PS1={PROMPT}", "TERM=dumb"]
        with Terminal(container.place / "console") as terminal:
            container.start(console=str(terminal.path))
            terminal.take()
            terminal.resize(33, 111)
            terminal.read_until(PROMPT)
            yield container, terminal


def cycle(container: Container, terminal: Terminal, number: int) -> None:
    container.checkpoint()
    container.restore(fresh=number == 2, console=str(terminal.path))
    terminal.take()


def test_at_its_prompt_with_a_job_in_the_background(tmp_path: Path) -> None:
    with shell(tmp_path) as (container, terminal):
        terminal.command("answer=42; cd /usr/lib; leap() { echo the frog leaps $1; }; sleep 1000 & stty -echoe")
        session = terminal.command("ps -o sid=,tty=,tpgid= -p $$")
        for number in (1, 2):
            cycle(container, terminal, number)
            assert terminal.command("echo $answer $PWD; leap high").split("\r\n") == [
                "42 /usr/lib",
                "the frog leaps high",
            ]
            assert terminal.command("stty size") == "33 111"
            assert "-echoe" in terminal.command("stty -a")
            assert "Running" in terminal.command("jobs") and "sleep 1000" in terminal.command("jobs")
            assert terminal.command("ps -o sid=,tty=,tpgid= -p $$").split()[:2] == session.split()[:2]
        terminal.command("kill %1; wait %1")
        assert terminal.command("jobs -r") == ""


def test_with_a_program_in_the_foreground(tmp_path: Path) -> None:
    with shell(tmp_path) as (container, terminal):
        terminal.command("answer=42")
        terminal.type("sh -c 'echo ready; exec cat'\n")
        terminal.read_until("ready\r\n")  # what is typed before is read by the shell's line editor
        terminal.type("a line before\n")
        terminal.read_until("a line before\r\na line before\r\n")
        for number in (1, 2):
            cycle(container, terminal, number)
            terminal.type(f"line {number}\n")
            terminal.read_until(f"line {number}\r\nline {number}\r\n")
        terminal.type("\x1a")  # Ctrl-Z: the job control of the shell still works
        assert "Stopped" in terminal.read_until(PROMPT)
        cycle(container, terminal, 3)
        assert "Stopped" in terminal.command("jobs")
        terminal.type("fg\n")
        terminal.read_until("exec cat'\r\n")
        terminal.type("awake\n")
        terminal.read_until("awake\r\nawake\r\n")
        terminal.type("\x03")  # Ctrl-C
        terminal.read_until(PROMPT)
        assert terminal.command("echo $answer") == "42"
