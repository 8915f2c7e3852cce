"""The command that takes the engine's place after a restore (--exec-cmd), and so is the parent of the root task."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from cr.model import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn


class Successor:
    """`words`, the program of which is looked for at once: no tree shall be made and then wait for it in vain.

    Whoever asks over RPC gets more: `directory` to run in, `output` for descriptors 1 and 2, and with `apart` nothing
    that the service has and its client need not: neither its environment, nor the capability that it lends.
    """

    def __init__(self, words: Sequence[str], *, directory: str = "", output: int = -1, apart: bool = False) -> None:
        from shutil import which

        self.words, self.directory, self.output, self.apart = list(words), directory, output, apart
        found = which(words[0])
        if found is None:
            raise CheckpointError(f"--exec-cmd: there is no program {words[0]}")
        self.program = os.path.abspath(found)

    def take_over(self) -> NoReturn:
        """Become the command; OSError where it cannot be run."""
        if self.directory:
            os.chdir(self.directory)
        if self.output >= 0:
            os.dup2(self.output, 1)
            os.dup2(self.output, 2)
        for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by the interpreter, not by whoever started us
            signal.signal(ignored, signal.SIG_DFL)
        if self.apart and os.getuid():
            from cr.kernel import capabilities

            capabilities.set_ambient(0)
            capabilities.capset(0, 0, 0)
        os.execve(self.program, self.words, {"PATH": os.defpath} if self.apart else dict(os.environ))
