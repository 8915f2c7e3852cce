"""The command line of the engine, made from the table of options."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Any

from cr.options import Options, Row, rows
from cr.values import fields

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
COMMANDS = {
    "dump": "checkpoint a process tree",
    "pre-dump": "write the memory of a tree that runs on, and track what it writes from then on",
    "dedup": "free the pages of earlier snapshots that the one in --images-dir has replaced",
    "restore": "restore a process tree from its images",
    "check": "say whether this kernel has what we need",
}


def size(text: str) -> int:
    """A number of bytes, with K, M or G behind it."""
    match = re.fullmatch(r"(\d+)([KMG]?)", text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: a number, K, M or G may follow")
    return int(match[1]) * _UNITS[match[2]]


def parser() -> argparse.ArgumentParser:
    """argparse's parser: `woodfrog-criu COMMAND [OPTION ...]`."""
    result = argparse.ArgumentParser(
        "woodfrog-criu",
        description="Checkpoint and restore of process trees.",
        allow_abbrev=False,
    )
    result.add_argument("command", choices=sorted(COMMANDS), metavar="COMMAND", help=", ".join(sorted(COMMANDS)))
    result.add_argument("-V", "--version", action="store_true", help="print the version and exit")
    result.add_argument("--feature", action="append", default=[], metavar="NAME", help="check: one feature, or list")
    result.add_argument("--config", metavar="FILE", help="read options from FILE")
    result.add_argument("--no-default-config", action="store_true", help="do not read default configuration files")
    for row in rows():
        _add(result, row)
    return result


def _add(target: argparse.ArgumentParser, row: Row) -> None:
    names = [row.flag] + ([row.short] if row.short else [])
    text = row.help.replace("%", "%%")
    if row.kind == "flag":
        target.add_argument(*names, dest=row.name, action="store_true", default=None, help=text)
        target.add_argument(f"--no-{row.flag[2:]}", dest=row.name, action="store_false", help=argparse.SUPPRESS)
    elif row.kind == "verbosity":
        target.add_argument(*names, dest=row.name, action=_Verbosity, nargs="?", metavar=row.metavar, help=text)
    elif row.kind == "optional":
        target.add_argument(*names, dest=row.name, nargs="?", const="", metavar=row.metavar, help=text)
    elif row.kind == "list":
        target.add_argument(*names, dest=row.name, action="append", metavar=row.metavar, help=text)
    else:
        kinds: dict[str, Callable[[str], Any]] = {"number": int, "size": size, "text": str}
        target.add_argument(*names, dest=row.name, type=kinds[row.kind], metavar=row.metavar, help=text)


class _Verbosity(argparse.Action):
    """-v, -vvv, -v4, --verbosity, --verbosity=4."""

    def __call__(self, parser: object, namespace: argparse.Namespace, values: object, option: object = None) -> None:
        text = str(values) if values is not None else ""
        current = namespace.verbosity if namespace.verbosity is not None else 2
        if text.isdigit():
            namespace.verbosity = int(text)
        elif set(text) <= {"v"}:
            namespace.verbosity = current + 1 + len(text)
        else:
            raise argparse.ArgumentError(self, f"{text!r} is not a log level: 0 to 4, or v...")


# Long options that getopt_long takes with one dash, as callers of criu write them.
_ONE_DASH = re.compile(r"-verbosity(=.*)?")


def parse(arguments: list[str]) -> argparse.Namespace:
    """The namespace of a command line; argparse ends the program with status 2 where it is wrong."""
    return parser().parse_args([f"-{word}" if _ONE_DASH.fullmatch(word) else word for word in arguments])


def options(namespace: argparse.Namespace) -> Options:
    """The values of a namespace; what was not given keeps its default."""
    result = Options()
    for field in fields(Options):
        value = getattr(namespace, field.name, None)
        if value is not None:
            setattr(result, field.name, value)
    return result
