"""What --help prints, from the tables of options and commands."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from cr.commands import COMMANDS, Command
from cr.option_row import Row
from cr.options import rows

_COLUMN, _WIDTH = 30, 100


def overview() -> str:
    """The commands."""
    head = "Usage: woodfrog-criu COMMAND [OPTION ...]\n\nCheckpoint and restore of process trees.\n\nCommands:\n"
    table = "\n".join(f"  {command.name:<14}{command.help}" for command in COMMANDS.values())
    return f"{head}{table}\n\n`woodfrog-criu COMMAND --help` lists the options of a command.\n"


def of_command(command: Command) -> str:
    """The options of one command."""
    words = f"woodfrog-criu {command.name} [OPTION ...] {command.operands}".rstrip()
    lines = [f"Usage: {words}", "", f"{command.name}: {command.help}", "", "Options:"]
    for row in rows():
        if row.of(command.name):
            lines += _row(row)
    return "\n".join(lines) + "\n"


def spelling(row: Row) -> str:
    """`-t, --tree PID`: as in the manual page."""
    value = row.metavar or "VALUE"
    shape = {"flag": "", "optional": f"[={value}]", "verbosity": f"[={value}]"}.get(row.kind, f" {value}")
    return (f"{row.short}, " if row.short else "") + row.flag + shape


def _row(row: Row) -> Iterator[str]:
    head = f"  {spelling(row)}"
    text = textwrap.wrap(row.help, _WIDTH - _COLUMN)
    if len(head) >= _COLUMN - 1:
        yield head
    else:
        yield f"{head:<{_COLUMN}}{text.pop(0)}"
    for line in text:
        yield " " * _COLUMN + line
