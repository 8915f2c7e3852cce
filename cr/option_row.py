"""What an option is: a field of `cr.options.Options` with these facts as metadata."""

from __future__ import annotations

from typing import Any

from cr.values import dataclass, field


@dataclass(frozen=True)
class Row:
    """How an option is spelled and explained."""

    name: str
    kind: str  # flag | text | number | size | list | optional
    short: str
    metavar: str
    commands: frozenset[str]
    help: str
    choices: tuple[str, ...] = ()
    """the values that are allowed besides none, where not every text is"""
    rpc: tuple[str, ...] = ()
    """Fields of criu_opts that it comes from, the last one that is given holds; else the one of the same name."""

    def of(self, command: str) -> bool:
        """Whether the command makes use of it."""
        return command in self.commands or "*" in self.commands

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


def row(
    kind: str,
    commands: frozenset[str],
    help: str,
    *,
    short: str = "",
    metavar: str = "",
    default: object = None,
    choices: tuple[str, ...] = (),
    rpc: str = "",
) -> Any:
    """A row of the table; `kind` says how its value is read, None as `default` that there is none."""
    meta = {"kind": kind, "short": short, "metavar": metavar, "commands": commands, "help": help, "choices": choices}
    meta["rpc"] = tuple(rpc.split())
    if kind == "list":
        return field(default_factory=list, metadata=meta)
    return field(default=False if kind == "flag" else default, metadata=meta)
