"""When it gets SIGUSR1, changes memory, and from then on notes by a userfaultfd which of its pages are written."""

from __future__ import annotations

import ctypes
import os
import signal
import threading

from lib import DIRECTORY, workload
from uffd import PAGE, PROTECT, WP_ASYNC, Context, memory, modes, states

PAGES = 64


def main() -> None:
    with workload() as check:
        old = memory(PAGES)
        ctypes.memset(old, ord("o"), PAGES * PAGE)
        file = os.open(DIRECTORY / "file", os.O_RDWR | os.O_CREAT)
        os.ftruncate(file, PAGES * PAGE)
        area = memory(PAGES, file, shared=False)
        ctypes.memset(area, ord("b"), PAGES * PAGE)
        found: list[Context] = []

        def begin() -> None:
            signal.sigwait([signal.SIGUSR1])
            context = Context(WP_ASYNC)
            ctypes.memset(area, ord("n"), PAGES * PAGE)
            context.register(area, PAGES, PROTECT)
            for page in range(0, PAGES, 2):
                context.protect(area + page * PAGE)
            found.append(context)
            (DIRECTORY / "registered").touch()

        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        threading.Thread(target=begin, daemon=True).start()
        check.wait()
        check.equal(len(found), 1, "userfaultfds")
        check.that(ctypes.string_at(old, PAGES * PAGE) == b"o" * PAGES * PAGE, "memory that is not registered")
        check.that(ctypes.string_at(area, PAGES * PAGE) == b"n" * PAGES * PAGE, "memory that is")
        check.equal(states(area, PAGES), ["pw", "p"] * (PAGES // 2), "what is protected")
        check.that(modes(area).endswith("uw"), "not registered any more")
        check.that(not modes(old).endswith(("w", "m")), "other memory is registered")


main()
