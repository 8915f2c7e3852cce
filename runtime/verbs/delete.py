"""delete: remove a container that has stopped, or with --force any."""

from __future__ import annotations

from runtime.container import Container
from runtime.delete import destroy, kill_init, unmount_restore_root
from runtime.errors import ContainerError
from runtime.options import Option, Verb
from runtime.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runtime.context import Context

VERB = Verb(
    "delete",
    "delete any resources held by the container",
    "<container-id>",
    options=(Option("force", "delete the container if it is still running (uses SIGKILL)", "flag", short="f"),),
)


def run(context: Context, values: dict[str, Any], arguments: list[str]) -> int:
    """Delete it; with --force one that does not exist is no error."""
    force: bool = values["force"]
    try:
        container = Container.load(context, arguments[0], lock=True)
    except ContainerError:
        return _without_record(Store(context.root, arguments[0]), force)
    status = container.status()
    if status not in ("stopped", "created") and not force:
        raise ContainerError(f"cannot delete container {container.id} that is not stopped: {status}")
    kill_init(container)
    destroy(container, context.reporter)
    return 0


def _without_record(store: Store, force: bool) -> int:
    """No record, or a damaged one: a create was killed before it wrote one, or there is no such container."""
    if not force:
        store.load()
        raise ContainerError("container does not exist")
    if store.exists():
        store.lock()
        unmount_restore_root(store)
        store.remove()
    return 0
