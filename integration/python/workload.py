"""A busy multi-threaded program: it can say at any time whether one of its threads lost or repeated a step.

    /usr/bin/python3 workload.py SOCKET

Four walkers follow a number sequence, each waiting on a condition for its turn.  A producer and a consumer hand
numbers over by a queue.  An asyncio loop ticks, and a pool hashes.  Each connection to SOCKET gets one line of JSON.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import queue
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

PAUSE = 0.002


def step(number: int) -> int:
    return (number * 6364136223846793005 + 1442695040888963407) % 2**64


class Walkers:
    """Threads that take turns."""

    def __init__(self, count: int) -> None:
        self.turn = threading.Condition()
        self.steps = 0
        self.value = 1
        self.count = count

    def walk(self, which: int) -> None:
        while True:
            with self.turn:
                self.turn.wait_for(lambda: self.steps % self.count == which)
                self.value = step(self.value)
                self.steps += 1
                self.turn.notify_all()
            time.sleep(PAUSE)

    def right(self) -> tuple[int, bool]:
        """How many steps, and whether they lead where they must."""
        with self.turn:
            steps, value = self.steps, self.value
        replayed = 1
        for _ in range(steps):
            replayed = step(replayed)
        return steps, replayed == value


class Belt:
    """A producer and a consumer with a short queue between them."""

    def __init__(self) -> None:
        self.queue: queue.Queue[int] = queue.Queue(3)
        self.taken = 0
        self.wrong = 0

    def produce(self) -> None:
        number = 0
        while True:
            self.queue.put(number)
            number += 1

    def consume(self) -> None:
        while True:
            self.wrong += self.queue.get() != self.taken
            self.taken += 1
            time.sleep(PAUSE)


class Loop:
    """An asyncio loop with a ticker and a pool of hashing threads."""

    def __init__(self) -> None:
        self.ticks = 0
        self.hashes = 0
        self.wrong = 0

    def run(self) -> None:
        asyncio.run(self.main())

    async def main(self) -> None:
        with ThreadPoolExecutor(2) as pool:
            await asyncio.gather(self.tick(), *(self.hash(pool, bytes([seed]) * 100_000) for seed in range(2)))

    async def tick(self) -> None:
        while True:
            await asyncio.sleep(PAUSE)
            self.ticks += 1

    async def hash(self, pool: ThreadPoolExecutor, data: bytes) -> None:
        right = hashlib.sha256(data).digest()
        while True:
            found = await asyncio.get_running_loop().run_in_executor(pool, lambda: hashlib.sha256(data).digest())
            self.wrong += found != right
            self.hashes += 1
            await asyncio.sleep(PAUSE)


def main() -> None:
    walkers, belt, loop = Walkers(4), Belt(), Loop()
    jobs = [lambda which=which: walkers.walk(which) for which in range(walkers.count)]
    for job in [*jobs, belt.produce, belt.consume, loop.run]:
        threading.Thread(target=job, daemon=True).start()
    local = threading.local()
    local.secret = "kept"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(sys.argv[1])
        server.listen()
        while True:
            connection, _ = server.accept()
            with connection:
                steps, right = walkers.right()
                state = {
                    "threads": threading.active_count(),
                    "counts": [steps, belt.taken, loop.ticks, loop.hashes],
                    "right": right and not belt.wrong and not loop.wrong and local.secret == "kept",
                    "clock": time.monotonic(),
                }
                connection.sendall(json.dumps(state).encode() + b"\n")


if __name__ == "__main__":
    main()
