"""The program that the demonstration freezes: it counts, and can tell whether it missed anything.

Two threads, a child process, a growing file that stays open, a pipe and a unix socket between parent and
child, and a timer.  Every count is a line in the file.  On SIGTERM it checks itself: 0 when nothing was lost.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

DIRECTORY = Path(sys.argv[1])
TICK = 0.05


class Counter:
    """What the process holds, and what it must still hold afterwards."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.count = 0
        self.echoes = 0
        self.ticks = 0
        self.asked = threading.Event()
        self.log = (DIRECTORY / "count").open("w")
        self.socket, child_socket = socket.socketpair()
        self.pipe, child_pipe = os.pipe()
        self.child = os.fork()
        if self.child == 0:
            serve(child_socket, child_pipe)
        child_socket.close()
        os.close(child_pipe)

    def run(self) -> int:
        signal.signal(signal.SIGTERM, lambda *_: self.asked.set())
        signal.signal(signal.SIGALRM, self.tick)
        signal.setitimer(signal.ITIMER_REAL, TICK, TICK)
        threads = [threading.Thread(target=work, daemon=True) for work in (self.counting, self.talking)]
        for thread in threads:
            thread.start()
        started = {thread.native_id for thread in threads}
        while not self.asked.wait(TICK):
            pass
        self.verify(started)
        print("\n".join(self.failures) or "the workload checked itself: nothing is missing", flush=True)
        return bool(self.failures)

    def tick(self, *_: object) -> None:
        self.ticks += 1

    def counting(self) -> None:
        while True:
            self.count += 1
            self.log.write(f"{self.count}\n")
            self.log.flush()
            time.sleep(TICK)

    def talking(self) -> None:
        """Each number goes to the child by the socket, and comes back by the pipe."""
        while True:
            self.socket.sendall((self.echoes + 1).to_bytes(8, "little"))
            answer = int.from_bytes(os.read(self.pipe, 8), "little")
            if answer != self.echoes + 1:
                self.failures.append(f"the child answered {answer} instead of {self.echoes + 1}")
            self.echoes = answer
            time.sleep(TICK)

    def verify(self, started: set[int | None]) -> None:
        before = (self.count, self.echoes, self.ticks)
        time.sleep(10 * TICK)
        for name, old, new in zip(("counter", "pipe and socket", "timer"), before, self.now(), strict=True):
            if new <= old:
                self.failures.append(f"the {name} stands still at {old}")
        if not started < {int(name) for name in os.listdir("/proc/self/task")}:
            self.failures.append("a thread is missing")
        lines = (DIRECTORY / "count").read_text().split()
        if lines != [str(number) for number in range(1, len(lines) + 1)]:
            self.failures.append("the file has a gap")

    def now(self) -> tuple[int, int, int]:
        return self.count, self.echoes, self.ticks


def serve(channel: socket.socket, pipe: int) -> None:
    while data := channel.recv(8):
        os.write(pipe, data)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(Counter().run())
