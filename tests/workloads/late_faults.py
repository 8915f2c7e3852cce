"""When it gets SIGUSR1, notes by a userfaultfd of its own which of its pages are written."""

from __future__ import annotations

import ctypes
import signal
import threading

from lib import DIRECTORY, workload
from uffd import PAGE, PROTECT, WP_ASYNC, Context, memory, modes, states

PAGES = 64


def main() -> None:
    with workload() as check:
        old = memory(PAGES)
        ctypes.memset(old, ord("o"), PAGES * PAGE)
        found: list[tuple[Context, int]] = []

        def begin() -> None:
            signal.sigwait([signal.SIGUSR1])
            area, context = memory(PAGES), Context(WP_ASYNC)
            ctypes.memset(area, ord("n"), PAGES * PAGE)
            context.register(area, PAGES, PROTECT)
            for page in range(0, PAGES, 2):
                context.protect(area + page * PAGE)
            found.append((context, area))
            (DIRECTORY / "registered").touch()

        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        threading.Thread(target=begin, daemon=True).start()
        check.wait()
        (_, area) = found[0]
        check.equal(ctypes.string_at(old, PAGES * PAGE), b"o" * PAGES * PAGE, "memory that is not registered")
        check.equal(ctypes.string_at(area, PAGES * PAGE), b"n" * PAGES * PAGE, "memory that is")
        check.equal(states(area, PAGES), ["pw", "p"] * (PAGES // 2), "what is protected")
        check.that(modes(area).endswith("uw"), "not registered any more")
        check.that(not modes(old).endswith(("w", "m")), "other memory is registered")


main()
