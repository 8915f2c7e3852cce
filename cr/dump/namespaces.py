"""The namespaces of the tree, each written once."""

from __future__ import annotations

from cr.contract.dumping import DumpContext, DumpTask, note
from cr.contract.resource import NamespaceResource, namespace_resources


def dump_namespaces(context: DumpContext, host_ids: dict[str, int]) -> None:
    """Images of every namespace that is not the host's (`host_ids`: ids of our own)."""
    for resource in namespace_resources():
        done: set[int] = set()
        for task in context.live_tasks:
            for reason in resource.obstacles(task, context):
                context.refuse(reason)
            ns_id = task.ids[resource.ids_field]
            if ns_id in done:
                continue
            done.add(ns_id)
            _dump(resource, task, ns_id, context, shared=ns_id == host_ids[resource.ids_field])


def _dump(resource: type[NamespaceResource], task: DumpTask, ns_id: int, context: DumpContext, *, shared: bool) -> None:
    with note(f"while dumping the {resource.name} namespace of {task}"):
        if not shared:
            resource.dump(task, ns_id, context)
        elif task is context.root:
            resource.dump_shared(context)
