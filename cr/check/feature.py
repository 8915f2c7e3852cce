"""What a feature is, and how its probe is run."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cr.kernel.libc import syscall
from cr.kernel.numbers import NUMBERS
from cr.remote.tracee import WALL, Tracee
from cr.values import dataclass

NEEDED, EXTRA, EXPERIMENTAL = 1, 2, 3
CATEGORIES = {
    NEEDED: "Needed for every tree",
    EXTRA: "Needed for trees that use it",
    EXPERIMENTAL: "Experimental",
}


@dataclass(frozen=True)
class Feature:
    """A name, the category of the manual page, and the probe: OSError says what is lacking."""

    name: str
    probe: Callable[[], None]
    category: int = EXTRA


def problem(feature: Feature) -> str:
    """Why it is not there; empty where it is."""
    try:
        feature.probe()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def lacking(sentence: str) -> OSError:
    """What a probe raises where the kernel's answer was no error, but not what is needed either."""
    return OSError(errno.ENOSYS, sentence)


def calls(name: str, *arguments: object, expected: tuple[int, ...]) -> Callable[[], None]:
    """A probe: a call that must exist fails on useless arguments with one of the expected errors."""

    def probe() -> None:
        try:
            syscall(name, NUMBERS[name], *arguments)
        except OSError as error:
            if error.errno not in expected:
                raise

    return probe


def exists(path: str) -> Callable[[], None]:
    """A probe: this file is there."""

    def probe() -> None:
        if not os.path.lexists(path):
            raise lacking(f"there is no {path}")

    return probe


def all_of(*probes: Callable[[], None]) -> Callable[[], None]:
    """A probe made of several."""

    def probe() -> None:
        for each in probes:
            each()

    return probe


def apart(probe: Callable[[], None]) -> Callable[[], None]:
    """The probe in a child process, for what changes its process or its namespaces."""

    def in_child() -> None:
        reading, writing = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            _child(probe, writing)
        os.close(writing)
        with os.fdopen(reading, "rb") as answers:
            answer = answers.read()
        os.waitpid(pid, 0)
        number, _, sentence = answer.decode(errors="replace").partition(" ")
        if number != "0":
            raise OSError(int(number or errno.ECHILD), sentence or "the process that tried it was killed")

    return in_child


def _child(probe: Callable[[], None], writing: int) -> None:
    answer = "5 the probe itself failed"
    try:
        probe()
        answer = "0"
    except OSError as error:
        answer = f"{error.errno or errno.EIO} {error.strerror or error}"
    finally:
        os.write(writing, answer.encode())
        os._exit(0)


@contextmanager
def seed(options: int | None = None) -> Iterator[Tracee]:
    """An empty process that we trace."""
    from cr.remote.puppet import OPTIONS, spawn_seed

    read, write = os.pipe()
    try:
        tracee = spawn_seed(read, options=OPTIONS if options is None else options)
        try:
            yield tracee
        finally:
            os.kill(tracee.tid, 9)
            os.waitpid(tracee.tid, WALL)
    finally:
        os.close(read)
        os.close(write)
