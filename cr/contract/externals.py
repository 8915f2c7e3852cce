"""What stays outside of the tree: --external TYPE[ID][:VALUE] and --inherit-fd fd[NUM]:RESOURCE (criu(8))."""

from __future__ import annotations

import os
import re

from cr.model import CheckpointError
from cr.options import Options

_EXTERNAL = re.compile(r"(?P<type>[a-z]+)\[(?P<id>[^\]]*)\](?::(?P<value>.*))?")
_INHERITED = re.compile(r"fd\[(?P<fd>\d+)\]:(?P<resource>.+)")


def externals(options: Options, kind: str) -> dict[str, str]:
    """ID -> VALUE ("" where none is given) of every --external of that type."""
    found = {}
    for text in options.external:
        match = _EXTERNAL.fullmatch(text)
        if match and match["type"] == kind:
            found[match["id"]] = match["value"] or ""
    return found


def inherited(options: Options, resource: str) -> int | None:
    """A new descriptor of what --inherit-fd gives us for `resource`, None where nothing is given."""
    for text in options.inherit_fd:
        match = _INHERITED.fullmatch(text)
        if match and match["resource"] == resource:
            try:
                return os.dup(int(match["fd"]))
            except OSError as error:
                raise CheckpointError(
                    f"--inherit-fd {text}: descriptor {match['fd']} cannot be used: {error.strerror}"
                ) from error
    return None
