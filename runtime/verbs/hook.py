"""hook: what an OCI hook can do for a container that is to be thawed or kept, and its files for hooks.d.

The runtime itself does what the annotations say (runtime.checkpoints): a hook runs beside the container's own first
process and cannot put another in its place, and at poststop there is nothing left to freeze.  What is left for hooks:

* restore (createRuntime): under a runtime that does not know the annotation, nothing is started in place of what was
  to be thawed: the creation fails and says why.
* checkpoint (poststop): images that an engine had made before the container was removed (podman container checkpoint,
  runc checkpoint: <bundle>/checkpoint) are kept where the annotation says.
"""

from __future__ import annotations

import os
import shutil
import sys

from runtime import checkpoints
from runtime.errors import ContainerError
from runtime.options import Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from oci.types import State
    from runtime.context import Context

VERB = Verb(
    "hook",
    "be an OCI hook that restores or keeps a checkpoint, or write its files for hooks.d",
    "restore | checkpoint | files <directory>",
    maximum=2,
    description="restore is for createRuntime, checkpoint for poststop; both read the container's state.\n"
    "files writes woodfrog-restore.json and woodfrog-checkpoint.json, for podman and CRI-O.",
)
STAGES = {"restore": ("createRuntime", checkpoints.RESTORE), "checkpoint": ("poststop", checkpoints.CHECKPOINT)}


def run(context: Context, values: dict[str, Any], arguments: list[str]) -> int:
    """One of the three."""
    if arguments[0] == "files" and len(arguments) == 2:
        return write_files(context, os.path.abspath(arguments[1]))
    kinds: dict[str, Callable[[Context, State], None]] = {"restore": restore, "checkpoint": keep}
    if arguments[0] not in kinds or len(arguments) != 1:
        raise ContainerError("hook is followed by restore, by checkpoint, or by files and a directory")
    kinds[arguments[0]](context, read_state())
    return 0


def read_state() -> State:
    """The state on standard input.  Raises ContainerError."""
    import json

    try:
        state: State = json.load(sys.stdin)
        assert state["id"] and state["bundle"]
    except (ValueError, KeyError, TypeError, AssertionError) as err:
        raise ContainerError("standard input is not the state of a container, as OCI hooks get it") from err
    return state


def restore(context: Context, state: State) -> None:
    """Raise ContainerError if a new container is about to start where one was to be thawed."""
    notes = state.get("annotations") or {}
    if checkpoints.RESTORED not in notes and (images := checkpoints.to_thaw(notes, context.checkpoints)):
        raise ContainerError(
            f"container {state['id']} is to be restored from {images}, "
            f"but its runtime does not know annotation {checkpoints.RESTORE}: use woodfrog as the runtime"
        )


def keep(context: Context, state: State) -> None:
    """Copy the engine's own checkpoint to where the annotation says, unless what is there is newer."""
    from runtime.frozen.annotated import take_place

    place = checkpoints.place_of(state.get("annotations") or {}, checkpoints.CHECKPOINT, context.checkpoints)
    made = os.path.join(state["bundle"], "checkpoint")
    if not place or not checkpoints.images_in(made) or _age(place) >= _age(made):
        return
    fresh = f"{place}.new.{os.getpid()}"
    try:
        shutil.copytree(made, fresh, symlinks=True)
        take_place(fresh, place)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _age(place: str) -> float:
    """When the checkpoint there was completed; 0 without one."""
    images = checkpoints.images_in(place)
    return os.stat(os.path.join(images, checkpoints.COMMIT)).st_mtime if images else 0.0


def write_files(context: Context, directory: str) -> int:
    """Write both files; their paths are printed."""
    import json

    program = os.path.abspath(sys.argv[0])
    if not os.access(program, os.X_OK) or os.path.isdir(program):
        raise ContainerError(f"hooks need a program of one path, and {program} is none: start woodfrog by its path")
    os.makedirs(directory, exist_ok=True)
    for kind in STAGES:
        path = os.path.join(directory, f"woodfrog-{kind}.json")
        with open(path, "w") as stream:
            json.dump(hook_file(kind, program, context.checkpoints), stream, indent=4)
        os.write(1, f"{path}\n".encode())
    return 0


def hook_file(kind: str, program: str, below: str) -> dict[str, Any]:
    """oci-hooks(5), version 1.0.0; pure."""
    stage, annotation = STAGES[kind]
    args = [os.path.basename(program), "--checkpoints", below, "hook", kind]
    pattern = "^" + annotation.replace(".", r"\.") + "$"
    return {
        "version": "1.0.0",
        "hook": {"path": program, "args": args},
        "when": {"annotations": {pattern: ".+"}},
        "stages": [stage],
    }
