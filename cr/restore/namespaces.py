"""The namespaces of the root puppet: made with it, filled before anything is restored into them."""

from __future__ import annotations

from collections.abc import Iterator

from cr.contract.resource import NamespaceResource, namespace_resources
from cr.contract.restoring import RestoreContext


def own_namespaces(context: RestoreContext) -> Iterator[tuple[type[NamespaceResource], int]]:
    """The kinds of namespaces that the root task has of its own (not the dumping host's), with their ids."""
    ids, host = context.root.ids, context.inventory.root_ids if context.inventory else None
    if ids is None or host is None:
        return
    for resource in namespace_resources():
        ns_id = getattr(ids, resource.ids_field)
        if ns_id and ns_id != getattr(host, resource.ids_field):
            yield resource, ns_id


def clone_flags(context: RestoreContext) -> int:
    """CLONE_NEW* flags with which the root puppet is created."""
    flags = 0
    for resource, _ in own_namespaces(context):
        flags |= resource.clone_flag
    return flags


def fill(context: RestoreContext) -> None:
    """Restore the content of each new namespace of the root puppet, in the order of the resources."""
    for resource, ns_id in own_namespaces(context):
        try:
            resource.restore(ns_id, context)
        except Exception as error:
            error.add_note(f"while restoring the {resource.name} namespace")
            raise
