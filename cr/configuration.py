"""Configuration files of the engine (criu(8), CONFIGURATION FILES).

An option a line, as on the command line but without the dashes; a value behind it, in double quotes where it holds
blanks; `#` begins a comment.  Read in this order, later ones win, the command line wins over all:
/etc/criu/default.conf, $HOME/.criu/default.conf, $CRIU_CONFIG_FILE, --config FILE.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping

from cr.model import CheckpointError

SYSTEM = "/etc/criu/default.conf"


def words(path: str) -> Iterator[str]:
    """The options of one file as words of a command line."""
    try:
        with open(path) as file:
            lines = file.readlines()
    except OSError as error:
        raise CheckpointError(f"the configuration file {path} cannot be read: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        try:
            parts = shlex.split(line, comments=True)
        except ValueError as error:
            raise CheckpointError(f"{path}, line {number}: {error}") from error
        if parts:
            yield f"--{parts[0]}" if len(parts) == 1 else f"--{parts[0]}={' '.join(parts[1:])}"


def gather(explicit: str, *, defaults: bool, environment: Mapping[str, str]) -> list[str]:
    """The words of all files that apply; a default file that does not exist is none."""
    files: list[str] = []
    if defaults:
        home = environment.get("HOME")
        candidates = [SYSTEM] + ([f"{home}/.criu/default.conf"] if home else [])
        files += [path for path in candidates if os.path.exists(path)]
    if named := environment.get("CRIU_CONFIG_FILE"):
        files.append(named)
    if explicit:
        files.append(explicit)
    return [word for path in files for word in words(path)]
