"""The wait of a container's first process for its `start`, which a signal can end."""

from __future__ import annotations

import os
import signal

_ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


class Wait:
    """Two steps: from its making on signals are heeded, and only then may anybody be told that we wait.

    The first process of a pid namespace ignores signals without a handler; one that is told to end must end, also
    in the instant before it reads.  So what wakes it is the FIFO itself: the handler in C writes the signal's number
    to `bell`, a descriptor of the same FIFO that does not block (signal.set_wakeup_fd).
    """

    def __init__(self, fifo: int, bell: int) -> None:
        self._fifo = fifo
        self._bell = bell
        for number in _ENDING:
            signal.signal(number, lambda number, _: os._exit(128 + number))
        signal.set_wakeup_fd(bell, warn_on_full_buffer=False)

    def until_start(self) -> None:
        """Block until `start` writes to the FIFO.  `fifo` is open for both ends, so nobody's leaving ends the wait."""
        byte = os.read(self._fifo, 1)[0]
        if byte in _ENDING:
            os._exit(128 + byte)
        signal.set_wakeup_fd(-1)
        for number in _ENDING:
            signal.signal(number, signal.SIG_DFL)
        os.close(self._fifo)
        os.close(self._bell)
