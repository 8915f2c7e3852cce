"""The command line of the engine, read as getopt_long(3) reads it, from the tables of options and commands.

Options and the command may stand in any order; long options may be abbreviated as long as they stay unique; the
value of an option follows it, or is part of the word (`-D.`, `--images-dir=.`); flags are negated with `--no-`;
what follows `--` is never an option.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from cr.commands import COMMANDS, Command
from cr.model import CheckpointError
from cr.option_row import Row
from cr.options import Options, rows
from cr.values import dataclass

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@dataclass(frozen=True)
class Setting:
    """An option as it was given: its row, its value as text (None: none), and the spelling used."""

    row: Row
    value: str | None
    negated: bool
    spelling: str


@dataclass(frozen=True)
class Line:
    """A command line, taken apart."""

    command: Command | None
    settings: list[Setting]
    operands: list[str]


def size(text: str) -> int:
    """A number of bytes, with K, M or G behind it."""
    match = re.fullmatch(r"(\d+)([KMG]?)", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size: a number, K, M or G may follow")
    return int(match[1]) * _UNITS[match[2]]


def read(words: Iterable[str], command: Command | None = None) -> Line:
    """Take a command line apart; CheckpointError where it is wrong."""
    reader = _Reader(list(words), command)
    reader.run()
    return Line(reader.command, reader.settings, reader.operands)


def apply(settings: Iterable[Setting], options: Options) -> Options:
    """Put what was given into `options`, in order: lists grow, the last of other values holds."""
    for setting in settings:
        _apply(setting, options)
    return options


def parse(words: Iterable[str]) -> tuple[Command | None, Options]:
    """Command and options of a command line, without configuration files."""
    line = read(words)
    options = apply(line.settings, Options())
    options.operands = line.operands
    return line.command, options


class _Reader:
    """Goes through the words once."""

    def __init__(self, words: list[str], command: Command | None) -> None:
        self.words, self.command = words, command
        self.settings: list[Setting] = []
        self.operands: list[str] = []
        self.table = {row.name.replace("_", "-"): row for row in rows()}

    def run(self) -> None:
        while self.words:
            word = self.words.pop(0)
            if word == "--":
                self.operands += self.words
                return
            if word.startswith("--"):
                self._long(word[2:])
            elif word.startswith("-") and word != "-":
                self._short(word)
            else:
                self._operand(word)

    def _operand(self, word: str) -> None:
        if self.command is None:
            self.command = COMMANDS.get(word)
            if self.command is None:
                raise CheckpointError(f"there is no command {word!r}: {', '.join(COMMANDS)} are there")
        elif self.command.takes_words:
            self.operands.append(word)
        else:
            raise CheckpointError(f"{self.command.name} does not know what to do with {word!r}")

    def _long(self, text: str) -> None:
        name, equals, value = text.partition("=")
        row, negated = self._find(name)
        given: str | None = value if equals else None
        if row.kind == "flag" and equals:
            raise CheckpointError(f"--{name} takes no value")
        if row.kind != "flag" and not equals:
            given = self._value(row, f"--{name}")
        self.settings.append(Setting(row, given, negated, f"--{name}"))

    def _find(self, name: str) -> tuple[Row, bool]:
        if name in self.table:
            return self.table[name], False
        if name.startswith("no-") and name[3:] in self.table and self.table[name[3:]].kind == "flag":
            return self.table[name[3:]], True
        matches = [known for known in self.table if name and known.startswith(name)]
        if len(matches) == 1:
            return self.table[matches[0]], False
        if matches:
            raise CheckpointError(f"--{name} can mean {', '.join('--' + match for match in sorted(matches))}")
        raise CheckpointError(f"there is no option --{name}{_similar(name, self.table)}")

    def _short(self, word: str) -> None:
        rest = word[1:]
        while rest:
            letter, rest = rest[0], rest[1:]
            row = self._by_letter(letter, word)
            if row.kind == "flag":
                self.settings.append(Setting(row, None, False, f"-{letter}"))
                continue
            value = rest or self._value(row, f"-{letter}")
            self.settings.append(Setting(row, value, False, f"-{letter}"))
            return

    def _by_letter(self, letter: str, word: str) -> Row:
        known = [row for row in self.table.values() if row.short == f"-{letter}"]
        if not known:
            raise CheckpointError(f"there is no option {word}" if len(word) == 2 else f"no option -{letter} in {word}")
        name = self.command.name if self.command else next((word for word in self.words if word in COMMANDS), "")
        return next((row for row in known if row.of(name)), known[0])

    def _value(self, row: Row, spelling: str) -> str | None:
        """The value in the next word; options whose value may lack take only what cannot be anything else."""
        following = self.words[0] if self.words else None
        if row.kind == "verbosity":
            return self.words.pop(0) if following is not None and following.isdigit() else None
        if row.kind == "optional":
            free = self.command is not None and not self.command.takes_words
            return self.words.pop(0) if free and following is not None and not following.startswith("-") else None
        if following is None:
            raise CheckpointError(f"{spelling} needs a value: {row.metavar or 'VALUE'}")
        return self.words.pop(0)


def _similar(name: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, known, 1)
    return f"; is --{close[0]} meant?" if close else ": --help lists them"


def _apply(setting: Setting, options: Options) -> None:
    row, text = setting.row, setting.value
    if row.kind == "flag":
        setattr(options, row.name, not setting.negated)
    elif row.kind == "verbosity":
        options.verbosity = _verbosity(text, options.verbosity)
    elif row.kind == "list":
        getattr(options, row.name).append(text)
    else:
        setattr(options, row.name, _converted(setting, text or ""))


def _converted(setting: Setting, text: str) -> object:
    try:
        if setting.row.kind == "number":
            return _number(text)
        return size(text) if setting.row.kind == "size" else text
    except ValueError as error:
        raise CheckpointError(f"{setting.spelling}: {error}") from error


def _number(text: str) -> int:
    if not re.fullmatch(r"-?\d+", text):
        raise ValueError(f"{text!r} is not a number")
    return int(text)


def _verbosity(text: str | None, current: int) -> int:
    """-v, -vvv, -v4, --verbosity, --verbosity=4, -verbosity=4 (as some callers of criu write it)."""
    value = (text or "").removeprefix("erbosity").removeprefix("=")
    if value.isdigit():
        return int(value)
    if set(value) <= {"v"}:
        return current + 1 + len(value)
    raise CheckpointError(f"-v{text}: not a log level: 0 to 4, or v...")
