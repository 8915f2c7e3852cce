"""Configuration files of the engine (criu(8), CONFIGURATION FILES).

An option a line, as on the command line but without the dashes; a value behind it, in double quotes where it holds
blanks (`\\"` is a double quote then, any other backslash is itself); `#` begins a comment.  Files are read in the order
of `places`, later ones win, the command line wins over all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from cr.kernel.patterns import pattern
from cr.model import CheckpointError

SYSTEM = ("/etc/criu/default.conf", "/etc/woodfrog/criu.conf")
PERSONAL = (".criu/default.conf", ".woodfrog/criu.conf")
_TOKEN = pattern(r'\s*(?:"((?:\\"|[^"])*)"(?=\s|$)|([^\s"#][^\s"]*)(?=\s|$)|(#.*))')


def places(explicit: str, *, defaults: bool, environment: Mapping[str, str]) -> list[str]:
    """The files that apply: the default ones that exist, $CRIU_CONFIG_FILE, --config."""
    files: list[str] = []
    if defaults:
        home = environment.get("HOME")
        candidates = [*SYSTEM, *(f"{home}/{name}" for name in PERSONAL if home)]
        files += [path for path in candidates if os.path.exists(path)]
    if named := environment.get("CRIU_CONFIG_FILE"):
        files.append(named)
    return files + ([explicit] if explicit else [])


def gather(explicit: str, *, defaults: bool, environment: Mapping[str, str]) -> list[str]:
    """The words of all files that apply."""
    return [word for path in places(explicit, defaults=defaults, environment=environment) for word in words(path)]


def words(path: str) -> Iterator[str]:
    """The options of one file as words of a command line."""
    try:
        with open(path) as file:
            lines = file.readlines()
    except OSError as error:
        raise CheckpointError(f"the configuration file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CheckpointError(f"the configuration file {path} is not text: {error}") from error
    for number, line in enumerate(lines, 1):
        parts = _parts(line.strip(), f"{path}, line {number}")
        if parts:
            yield f"--{parts[0]}" if len(parts) == 1 else f"--{parts[0]}={' '.join(parts[1:])}"


def _parts(line: str, where: str) -> list[str]:
    found: list[str] = []
    position = 0
    while position < len(line):
        match = _TOKEN.match(line, position)
        if match is None:
            raise CheckpointError(f"{where}: a quotation has no end, or begins inside of a word")
        quoted, plain, _comment = match.groups()
        if quoted is not None:
            found.append(quoted.replace('\\"', '"'))
        elif plain is not None:
            found.append(plain)
        position = match.end()
    if found and found[0].startswith("-"):
        raise CheckpointError(f"{where}: write options without their dashes")
    return found
