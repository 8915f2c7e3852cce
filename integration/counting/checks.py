"""What every runtime that calls criu does with its containers when this engine is there in the place of criu."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from integration.containers import wait_for
from integration.counting.container import CountingContainer
from integration.shell.terminal import PROMPT, Terminal

SHELL = ["/bin/bash", "--norc", "--noprofile", "-i"]


def comes_back(container: CountingContainer, *options: str) -> None:
    """Twice, and counts on."""
    before = container.count()
    container.twice(lambda number: container.goes_on(before + number), *options)
    assert container.status() == "running"


def is_left_running(container: CountingContainer) -> None:
    first = container.first()
    container.snapshot("--leave-running")
    assert container.first() == first
    container.goes_on(container.count() + 2)
    assert container.status() == "running"


def is_left_running_too(container: CountingContainer, *options: str) -> None:
    """Twice in a row, whatever its first process is."""
    for _ in range(2):
        container.snapshot("--leave-running", *options)
        container.goes_on(container.count() + 2)


def comes_back_from_a_chain(container: CountingContainer, pre_dumps: int) -> None:
    """With criu: not on a kernel that has no soft-dirty."""
    before, parent = container.count(), list[str]()
    for _ in range(pre_dumps):
        container.snapshot("--pre-dump", *parent)
        parent = ["--parent-path", f"../{container.images.name}"]
        container.goes_on(container.count() + 2)
    container.checkpoint(*parent)
    container.restore(fresh=True)
    container.goes_on(before + 2)


def comes_back_at_a_terminal(container: CountingContainer) -> None:
    """Its process, a shell, is asked over a console socket, before and after; the container is not started yet."""
    container.config["process"]["terminal"] = True
    container.config["process"]["env"] += [f"PS1={PROMPT}", "TERM=dumb"]
    with Terminal(container.place / "console") as terminal:
        container.start(console=str(terminal.path))
        terminal.take()
        terminal.read_until(PROMPT)
        terminal.command("answer=42")
        for number in (1, 2):
            container.checkpoint()
            container.restore(fresh=number == 2, console=str(terminal.path))
            terminal.take()
            assert terminal.command("echo $answer") == "42"


@contextmanager
def keeper() -> Iterator[int]:
    """A process in namespaces of its own."""
    command = ["unshare", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "sleep", "1000"]
    with subprocess.Popen(command, start_new_session=True) as outer:
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
        wait_for(lambda: children.read_text().strip(), "the process in the namespaces")
        try:
            yield int(children.read_text())
        finally:
            outer.kill()
