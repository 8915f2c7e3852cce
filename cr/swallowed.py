"""An interruption that Python throws away comes again.

The handler of a signal may run inside of a destructor, or in a callback of a weak reference, as the import system has
them.  What it raises there ends nothing: the interpreter prints "Exception ignored" and goes on, and whoever has asked
us to end waits for ever.  We raise it once more, a moment later.
"""

from __future__ import annotations

import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sys import UnraisableHookArgs

MOMENT = 0.001  # seconds: by then we are likely out of what swallows exceptions; if not, it comes yet again


def insist() -> None:
    """From now on, no interruption of the main thread is lost."""
    sys.unraisablehook = _look


def _look(swallowed: UnraisableHookArgs) -> None:
    error = swallowed.exc_value
    if error is None or not _is_interruption(error):
        sys.__unraisablehook__(swallowed)
        return
    previous = signal.getsignal(signal.SIGALRM)

    def again(*_: object) -> None:
        from cr.remote.critical import interrupt

        signal.signal(signal.SIGALRM, previous)
        interrupt(error)

    signal.signal(signal.SIGALRM, again)
    signal.setitimer(signal.ITIMER_REAL, MOMENT)


def _is_interruption(error: BaseException) -> bool:
    from cr.guard import Interrupted

    return isinstance(error, (KeyboardInterrupt, Interrupted))
