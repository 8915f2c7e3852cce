"""What every workload does: say that it is ready, wait, check, give its verdict.

with workload() as check:
    ... prepare ...
    check.wait()
    check.that(condition, "what is wrong otherwise")
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

DIRECTORY = Path(sys.argv[1])
COMMON = "common" in sys.argv  # leave out what criu cannot dump or restore


class Check:
    def __init__(self) -> None:
        self.failures: list[str] = []
        self._asked = False
        signal.signal(signal.SIGTERM, self._ask)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # before there are threads: none shall take it

    def _ask(self, *_: object) -> None:
        self._asked = True

    def wait(self) -> None:
        """Say that everything is prepared, and wait until asked (SIGTERM)."""
        (DIRECTORY / "pid").write_text(os.environ.get("WORKLOAD_PID", str(_outer_pid())))
        (DIRECTORY / "ready").touch()
        while not self._asked:
            signal.sigwait([signal.SIGTERM])
            self._asked = True
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])

    def that(self, condition: object, failure: str) -> None:
        if not condition:
            self.failures.append(failure)

    def equal(self, found: object, expected: object, what: str) -> None:
        self.that(found == expected, f"{what}: {found!r} instead of {expected!r}")


def _outer_pid() -> int:
    """Our pid as the host sees it (/proc may be the host's even in a new pid namespace)."""
    return int(os.readlink("/proc/self"))


def somebody(uid: int, gid: int) -> tuple[int, int]:
    """These ids for a file, or ours where our user namespace does not have them."""
    mapped = any(int(line.split()[2]) > max(uid, gid) for line in Path("/proc/self/uid_map").read_text().splitlines())
    return (uid, gid) if mapped else (os.getuid(), os.getgid())


def _verdict(text: str) -> None:
    temporary = DIRECTORY / "verdict.new"
    temporary.write_text(text)
    temporary.rename(DIRECTORY / "verdict")


@contextlib.contextmanager
def workload() -> Iterator[Check]:
    check = Check()
    try:
        yield check
    except BaseException:
        check.failures.append(traceback.format_exc())
    _verdict("\n".join(check.failures) or "PASS")
    sys.stdout.flush()
    os._exit(bool(check.failures))


def answering(child: Callable[[int, int], None]) -> tuple[int, int, int]:
    """A process that runs `child(asked, answer)`, two descriptors: its pid, and our ends of these pipes."""
    (asked, ask), (answered, answer) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            child(asked, answer)
        except BaseException as error:
            os.write(answer, repr(error).encode())
        os._exit(0)
    os.close(asked)
    os.close(answer)
    return pid, ask, answered
