"""Command lines as the runtimes of this world read them (Go's flag package), from declarative tables.

``-name`` and ``--name`` are the same; ``--name value`` and ``--name=value`` too; ``--flag=false`` turns a
flag off; ``--`` ends the options.  A verb declares one `Verb` with its `Option` rows.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Values = dict[str, Any]

_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")


class UsageError(Exception):
    """The command line is wrong; the caller sees the usage of the verb."""


class Option:
    """One row: long name, what it means, and its kind: flag, value, int or list (may be repeated)."""

    def __init__(self, name: str, help: str, kind: str = "value", short: str = "", default: Any = None) -> None:
        self.name = name
        self.help = help
        self.kind = kind
        self.short = short
        self.default = {"flag": False, "list": [], "int": 0, "value": ""}[kind] if default is None else default

    def label(self) -> str:
        """As help shows it: "--bundle value, -b value"."""
        value = "" if self.kind == "flag" else " value"
        short = f", -{self.short}{value}" if self.short else ""
        return f"--{self.name}{value}{short}"

    def parse(self, text: str) -> Any:
        """The value of this text.  Raises UsageError."""
        if self.kind == "flag":
            if text not in _TRUE + _FALSE:
                raise UsageError(f'invalid boolean value "{text}" for -{self.name}: parse error')
            return text in _TRUE
        if self.kind == "int":
            try:
                return int(text, 0)
            except ValueError as err:
                raise UsageError(f'invalid value "{text}" for flag -{self.name}: parse error') from err
        return text


class Verb:
    """What a verb takes.  `maximum` None: any number of arguments, and options end at the first one."""

    def __init__(
        self,
        name: str,
        usage: str,
        arguments: str = "",
        minimum: int = 1,
        maximum: int | None = 1,
        options: Sequence[Option] = (),
        description: str = "",
    ) -> None:
        self.name = name
        self.usage = usage
        self.arguments = arguments
        self.minimum = minimum
        self.maximum = maximum
        self.options = options
        self.description = description

    def parse(self, argv: Sequence[str]) -> tuple[Values, list[str]]:
        """Values by name (with underscores) and arguments.  Raises UsageError."""
        values, arguments = parse(argv, self.options, self.maximum is None)
        if values["help"]:
            return values, arguments
        if self.minimum == self.maximum and len(arguments) != self.minimum:
            raise UsageError(f'woodfrog: "{self.name}" requires exactly {self.minimum} argument(s)')
        if len(arguments) < self.minimum:
            raise UsageError(f'woodfrog: "{self.name}" requires a minimum of {self.minimum} argument(s)')
        if self.maximum is not None and len(arguments) > self.maximum:
            raise UsageError(f'woodfrog: "{self.name}" requires a maximum of {self.maximum} argument(s)')
        return values, arguments

    def help(self) -> str:
        """The text of --help."""
        options = " [command options]" if self.options else ""
        lines = ["NAME:", f"   woodfrog {self.name} - {self.usage}", "", "USAGE:"]
        lines += [f"   woodfrog {self.name}{options} {self.arguments}".rstrip(), ""]
        if self.description:
            lines += ["DESCRIPTION:", *(f"   {line}" for line in self.description.splitlines()), ""]
        return "\n".join(lines + option_lines(self.options)) + "\n"


def option_lines(options: Sequence[Option], title: str = "OPTIONS:") -> list[str]:
    """The table of options in a help text."""
    if not options:
        return []
    width = max(len(option.label()) for option in options)
    return [title, *(f"   {option.label():{width}}  {option.help}" for option in options), ""]


def parse(argv: Sequence[str], options: Sequence[Option], stop: bool) -> tuple[Values, list[str]]:
    """Values and arguments; with `stop`, options end at the first argument.  Raises UsageError."""
    table = {name: option for option in options for name in (option.name, option.short) if name}
    values: Values = {option.name.replace("-", "_"): _fresh(option.default) for option in options}
    values["help"] = False
    arguments: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        if word == "--":
            return values, arguments + words
        if word == "-" or not word.startswith("-"):
            arguments.append(word)
            if stop:
                return values, arguments + words
            continue
        _take(word, words, table, values)
    return values, arguments


def _fresh(default: Any) -> Any:
    return list(default) if isinstance(default, list) else default


def _take(word: str, words: list[str], table: dict[str, Option], values: Values) -> None:
    """Read one option, and its value from `words` if it needs one."""
    name, equals, text = word[2 if word.startswith("--") else 1 :].partition("=")
    option = table.get(name)
    if option is None and name in ("h", "help"):
        values["help"] = True
        return
    if option is None:
        raise UsageError(f"flag provided but not defined: -{name}")
    if not equals and option.kind == "flag":
        text = "true"
    elif not equals:
        if not words:
            raise UsageError(f"flag needs an argument: -{name}")
        text = words.pop(0)
    key = option.name.replace("-", "_")
    if option.kind == "list":
        values[key].append(option.parse(text))
    else:
        values[key] = option.parse(text)
