"""A long list of system calls as programs that each fit into the scratch memory."""

from __future__ import annotations

from cr.remote.program import Program
from cr.values import dataclass, field

USUAL = 1024


@dataclass
class Chain:
    """Programs to be run one after the other; none is larger than `limit` bytes."""

    limit: int
    programs: list[Program] = field(default_factory=lambda: [Program()])

    def room(self, size: int = USUAL) -> Program:
        """The program that takes the next calls, `size` bytes of records and memory at most."""
        if self.programs[-1].size + size > self.limit:
            self.programs.append(Program())
        return self.programs[-1]

    def call(self, name: str, *arguments: int, note: str = "") -> None:
        """Append a call whose arguments are plain numbers."""
        self.room().call(name, *arguments, note=note)
