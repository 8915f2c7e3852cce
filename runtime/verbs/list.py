"""list: all containers of this root."""

from __future__ import annotations

import json
import os

from runtime.container import Container
from runtime.context import default_root
from runtime.errors import ContainerError
from runtime.options import Option, Verb
from runtime.store import all_ids
from runtime.view import summary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from oci.types import State
    from runtime.context import Context

VERB = Verb(
    "list",
    "list containers started with the given root",
    minimum=0,
    maximum=0,
    options=(
        Option("format", "select one of: table or json", short="f", default="table"),
        Option("quiet", "display only container IDs", "flag", short="q"),
    ),
)
_HEADINGS = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")


def run(context: Context, values: dict[str, Any], arguments: list[str]) -> int:
    """Print them; a container without a readable record is told about, not counted."""
    if values["format"] not in ("table", "json"):
        raise ContainerError("invalid format option")
    if values["quiet"]:
        print(*all_ids(context.root), sep="\n", end="\n" if all_ids(context.root) else "")
        return 0
    if not os.path.isdir(context.root) and context.root != default_root():
        raise ContainerError(f"open {context.root}: no such file or directory")
    found = [state for name in all_ids(context.root) if (state := _state(context, name))]
    if values["format"] == "json":
        print(json.dumps(found or None, separators=(",", ":")))
        return 0
    rows = [_HEADINGS, *(_row(state) for state in found)]
    widths = [max(len(row[i]) for row in rows) + 3 for i in range(5)]
    for row in rows:
        cells = [f"{cell:{max(12, width)}}" for cell, width in zip(row, [*widths, 0], strict=True)]
        print("".join(cells).rstrip())
    return 0


def _state(context: Context, name: str) -> State | None:
    try:
        state = summary(Container.load(context, name))
    except ContainerError as err:
        context.reporter.warn(f"{name}: {err}; delete --force removes it")
        return None
    state["owner"] = _owner(os.stat(os.path.join(context.root, name)).st_uid)
    return state


def _owner(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def _row(state: State) -> tuple[str, ...]:
    pid = str(state.get("pid", 0))
    return state["id"], pid, state["status"], state["bundle"], state["created"], state["owner"]
