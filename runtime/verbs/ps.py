"""ps: the processes in a container."""

from __future__ import annotations

import json

from runtime import members
from runtime.container import Container
from runtime.errors import ContainerError
from runtime.options import Option, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runtime.context import Context

VERB = Verb(
    "ps",
    "display the processes running inside a container",
    "<container-id> [ps options]",
    maximum=None,
    options=(Option("format", "select one of: table or json", short="f", default="table"),),
)


def run(context: Context, values: dict[str, Any], arguments: list[str]) -> int:
    """Print the pids as JSON, or those lines of ps(1) that show them."""
    pids = members.processes(Container.load(context, arguments[0]))
    if values["format"] == "json":
        print(json.dumps(pids))
        return 0
    if values["format"] != "table":
        raise ContainerError("invalid format option")
    import subprocess

    try:
        words = ["ps", *(arguments[1:] or ["-ef"])]
        shown = subprocess.run(words, capture_output=True, text=True, check=True)
    except FileNotFoundError as err:
        raise ContainerError("the table needs ps (package procps); --format json does not") from err
    except subprocess.CalledProcessError as err:
        raise ContainerError(f"ps failed: {err.stderr.strip()}") from err
    print("\n".join(select(shown.stdout.splitlines(), set(pids))))
    return 0


def select(lines: list[str], pids: set[int]) -> list[str]:
    """The heading and the lines whose PID column holds one of `pids`."""
    column = lines[0].split().index("PID") if "PID" in lines[0].split() else -1
    if column < 0:
        raise ContainerError("couldn't find PID field in ps output")
    return [lines[0], *(line for line in lines[1:] if _pid(line, column) in pids)]


def _pid(line: str, column: int) -> int:
    fields = line.split()
    return int(fields[column]) if len(fields) > column and fields[column].isdecimal() else -1
