"""Taking back what was made: steps in plain data that another process can run too."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Literal

from cgroups.errors import CgroupError
from cgroups.node import write_file
from cgroups.removal import remove_tree
from values import dataclass


@dataclass(frozen=True)
class UndoStep:
    """`rmdir`: remove the directory `path` and all below it.  `write`: write `value` to the file `path`."""

    kind: Literal["rmdir", "write"]
    path: str
    value: str = ""


def undo(steps: Iterable[UndoStep]) -> list[CgroupError]:
    """Run the steps, the last one first.  Goes on after a failure; answers with all failures."""
    failures: list[CgroupError] = []
    for step in reversed(list(steps)):
        try:
            if step.kind == "rmdir":
                remove_tree(step.path)
            elif os.path.exists(step.path):
                write_file(step.path, step.value)
        except CgroupError as err:
            failures.append(err)
    return failures
