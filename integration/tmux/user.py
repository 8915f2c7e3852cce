"""Types into a shell of a tmux server for ever, and waits for what the shell does: /data/count."""

from __future__ import annotations

import os
import pty
import subprocess
import time

TMUX = ["tmux", "-S", "/data/socket", "-f", "/dev/null"]


def tmux(*words: str) -> str:
    return subprocess.run([*TMUX, *words], check=True, capture_output=True, text=True, timeout=60).stdout


def answered() -> int:
    """How often the shell has done what was typed."""
    try:
        with open("/data/answer") as answer:
            return int(answer.read())
    except FileNotFoundError:
        return 0


def attach() -> tuple[int, int]:
    """A client on a terminal of its own, whose output we read and forget."""
    pid, master = pty.fork()
    if pid == 0:
        os.execvp("tmux", [*TMUX, "attach"])
    os.set_blocking(master, False)
    return pid, master


with open("/data/starts", "a") as starts:
    starts.write("start\n")
tmux("new-session", "-d", "-s", "frog", "exec bash --norc")
tmux("split-window", "-t", "frog", "exec top")
tmux("new-window", "-t", "frog", "exec less /etc/services")
client, master = attach()
number = 0
while True:
    number += 1
    tmux(
        "send-keys",
        "-t",
        "frog:0.0",
        "n=$((n + 1)); echo $n >/data/answer.new; mv /data/answer.new /data/answer",
        "Enter",
    )
    while answered() < number:
        time.sleep(0.01)
    try:
        while os.read(master, 65536):
            pass
    except BlockingIOError:
        pass
    assert len(tmux("list-panes", "-s", "-t", "frog").splitlines()) == 3
    assert tmux("list-clients", "-t", "frog"), "the client has gone"
    with open("/data/next", "w") as output:
        output.write(f"{number}\n")
    os.rename("/data/next", "/data/count")
