"""The one table of commands: name, operands, sentence and the function that does it.

A function is named as "module:function" and imported when its command is run; it takes `Options` and returns the exit
status.  Words that are neither the command nor an option are `Options.operands`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from cr.options import Options
from cr.values import dataclass


@dataclass(frozen=True)
class Command:
    """A row: `doing` begins the log's line about a failure; `logs` is false where the command opens its log itself.

    `operands` tells what else the command takes; where it begins with "--", only what stands behind `--`.
    """

    name: str
    help: str
    function: str
    doing: str
    operands: str = ""
    logs: bool = True

    @property
    def takes_words(self) -> bool:
        """Whether words that are no options mean something to it, without a `--` before them."""
        return bool(self.operands) and not self.operands.startswith("--")

    def load(self) -> Callable[[Options], int]:
        module, function = self.function.split(":")
        found: Callable[[Options], int] = getattr(import_module(module), function)
        return found


COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        Command("dump", "checkpoint a process tree", "cr.verbs.dump:run", "Dumping"),
        Command("pre-dump", "write the memory of a tree that runs on", "cr.verbs.pre_dump:run", "Pre-dumping"),
        Command("dedup", "free the pages of earlier snapshots that this one replaces", "cr.dedup:run", "Deduplicating"),
        Command(
            "restore", "restore a process tree from its images", "cr.verbs.restore:run", "Restoring", "-- COMMAND ..."
        ),
        Command("lazy-pages", "bring the pages of a lazy restore", "cr.lazy_pages.daemon:run", "Bringing pages"),
        Command("page-server", "take the pages of a dump, or lend pages", "cr.page_server.server:run", "Page serving"),
        Command("cpuinfo", "write or check what the processor can do", "cr.cpuinfo:run", "Looking", "dump|check"),
        Command("exec", "make a system call in a task", "cr.syscall_exec:run", "Calling", "SYSCALL ARGUMENT ..."),
        Command("check", "say whether this kernel has what we need", "cr.check:run", "Checking", logs=False),
        Command("swrk", "serve the program at socket FD (RPC)", "cr.rpc.swrk:run", "Serving", "FD", logs=False),
        Command("service", "serve programs at the socket --address (RPC)", "cr.rpc.service:run", "Serving"),
    )
}
