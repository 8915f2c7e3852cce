"""The namespaces of the tree: made with the root puppet or handed over, filled before anything is restored into them.

A task further down that has a namespace of its own leaves its parent's for it right after its birth.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from cr.contract.nesting import nesting
from cr.contract.outside import open_joined, outside
from cr.contract.resource import NamespaceResource, namespace_resources
from cr.contract.restoring import RestoreContext, RestoreTask
from cr.kernel.namespaces import CLONE_NEWUSER, FLAGS
from cr.model import CheckpointError
from cr.remote.foothold import Identity
from cr.remote.program import Program
from cr.remote.tracee import Tracee
from cr.resources.tasks.namespaces_of_children import time_for_children
from cr.restore import user_namespaces
from cr.restore.pids import FIRST, NOBODYS, place_of

EXTERNAL_KINDS = {"net": "netns", "pid": "pidns"}
"""Kinds of namespaces that an image can declare external, with the kind of that image."""


def own_namespaces(context: RestoreContext) -> Iterator[tuple[type[NamespaceResource], int]]:
    """The kinds of namespaces that the root task has of its own (not the dumping host's), with their ids."""
    ids, host = context.root.ids, context.inventory.root_ids if context.inventory else None
    if ids is None or host is None:
        return
    for resource in namespace_resources():
        ns_id = getattr(ids, resource.ids_field)
        if ns_id and ns_id != getattr(host, resource.ids_field):
            yield resource, ns_id
        elif resource.shared_image(context):
            yield resource, 0


def handed_over(context: RestoreContext) -> dict[str, int]:
    """Namespaces that exist already, by kind: descriptors of ours (--join-ns; --inherit-fd for external ones)."""
    return context.once("namespaces handed over", lambda: _handed_over(context))


def _handed_over(context: RestoreContext) -> dict[str, int]:
    found = {join.kind: context.keep(open_joined(join)) for join in outside(context).joined}
    for resource, ns_id in own_namespaces(context):
        if resource.name not in found and (fd := _given(resource.name, ns_id, context)) is not None:
            found[resource.name] = fd
    return found


def _given(kind: str, ns_id: int, context: RestoreContext) -> int | None:
    """What the user hands over for a namespace that the dump has left outside; None where it has not."""
    image = EXTERNAL_KINDS.get(kind)
    if image is None or not context.images.exists(image, ns_id):
        return None
    entry = context.images.read_one(image, ns_id)
    if not entry.HasField("ext_key"):
        return None
    key, given = str(entry.ext_key), outside(context).inherited
    if key not in given:
        raise CheckpointError(
            f"the {kind} namespace was left outside as {key}: hand one over with --inherit-fd fd[N]:{key}"
        )
    return given[key]


def clone_flags(context: RestoreContext) -> int:
    """CLONE_NEW* flags with which the root puppet is created."""
    there = handed_over(context)
    flags = 0
    for resource, _ in own_namespaces(context):
        if resource.at_birth and resource.name not in there:
            flags |= resource.clone_flag
    return flags


def all_new(context: RestoreContext) -> bool:
    """Whether no namespace is to be joined, and none of users made: an exec in a new one of those costs all rights."""
    return not handed_over(context) and not clone_flags(context) & CLONE_NEWUSER


def prepare_seed(context: RestoreContext, seed: Tracee) -> None:
    """Before the root puppet is born, which inherits what the seed has: it joins the namespaces that exist already."""
    there = {kind: fd for kind, fd in handed_over(context).items() if kind != "user" or not _joins_user_late(context)}
    program = Program()
    if there:
        ordered = sorted(there, key=lambda kind: (FLAGS[kind] == CLONE_NEWUSER, kind))  # rights are lost with user
        context.add_joins(program, [(there[kind], FLAGS[kind]) for kind in ordered])
    if "user" in there:
        _take_ids(program, context)
    elif "user" not in handed_over(context):
        user_namespaces.take_groups(program, context)
        user_namespaces.become_maker(program, context)
    if program.calls:
        context.foothold.run(seed, Identity(seed.tid, seed.tid), program)


def _joins_user_late(context: RestoreContext) -> bool:
    """Pids are chosen with rights in the user namespace that owns the pid namespace: not ours after the join."""
    return "user" in handed_over(context) and "pid" not in {resource.name for resource, _ in own_namespaces(context)}


def join_user(context: RestoreContext) -> None:
    """After the births, where pids had to be chosen with the rights that we have here."""
    if not _joins_user_late(context):
        return
    for task in context.live_tasks:
        if len(task.threads) > 1:
            raise CheckpointError(
                f"--join-ns user: {task} has threads; their ids can be chosen there only in a pid namespace of its own"
            )
        program = Program()
        context.add_joins(program, [(handed_over(context)["user"], CLONE_NEWUSER)])
        _take_ids(program, context)
        context.run(task.leader, program)


def look_from_inside(context: RestoreContext) -> None:
    """Files are found as the tasks find them, who are in a mount namespace that exists already."""
    if "mnt" in handed_over(context):
        path = f"/proc/{context.root.puppet.tid}/root/{context.options.root.lstrip('/')}"
        fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        os.dup2(fd, context.root_fd, inheritable=False)
        os.close(fd)


def _take_ids(program: Program, context: RestoreContext) -> None:
    """--join-ns user:FILE,UID,GID."""
    for join in outside(context).joined:
        if join.gid is not None:
            program.call("setresgid", join.gid, join.gid, join.gid)
        if join.uid is not None:
            program.call("setresuid", join.uid, join.uid, join.uid)


def fill(context: RestoreContext) -> None:
    """Restore the content of each new namespace of the root puppet, in the order of the resources."""
    there = handed_over(context)
    for resource in namespace_resources():
        context.has_made(context.root, resource.ids_field, getattr(context.root.ids, resource.ids_field, 0))
    new = [(resource, ns_id) for resource, ns_id in own_namespaces(context) if resource.name not in there]
    first = [pair for pair in new if pair[0].order < 0]
    _fill(first, context)
    context.network_fd = _network(context, [resource.name for resource, _ in new])
    context.options.notification("setup-namespaces", context.root.puppet.tid)
    _fill([pair for pair in new if pair[0].order >= 0], context)
    context.options.notification("post-setup-namespaces")


def _fill(namespaces: list[tuple[type[NamespaceResource], int]], context: RestoreContext) -> None:
    for resource, ns_id in namespaces:
        try:
            resource.restore(ns_id, context)
        except Exception as error:
            error.add_note(f"while restoring the {resource.name} namespace")
            raise


def _network(context: RestoreContext, new: list[str]) -> int:
    """Where sockets of the tree are made; -1 where that is our own namespace."""
    if "net" in new:
        return context.keep(os.open(f"/proc/{context.root.puppet.tid}/ns/net", os.O_RDONLY | os.O_CLOEXEC))
    return handed_over(context).get("net", -1)


def enter(context: RestoreContext, task: RestoreTask, home: RestoreTask) -> None:
    """Right after a task's birth by a puppet of `home`: leave its namespaces for those of its own.

    Namespaces that are there are joined first, since rights are lost on the way down through user namespaces.  New
    ones are made on the way, each in the user namespace that it belongs to.
    """
    if task.ids is None or home.ids is None:
        return
    known = nesting(context)
    missing = []
    for resource, ns_id in _differing(task, home, context):
        given = resource.prepared(ns_id, context)
        given = _given(resource.name, ns_id, context) if given is None else given
        if given is not None:
            _join(given, resource, task, context)
        elif context.is_made(resource.ids_field, ns_id):
            _join_other(resource, ns_id, task, context)
        else:
            missing.append((resource, ns_id))
    here = _born_in(task, home, context)
    _make(missing, here, task, context)
    for user in known.users_down(here, known.user_of(task)):
        user_namespaces.join(user, here, (task.puppet, task.leader.identity), task, context)
        here = user
        _make(missing, here, task, context)
    for resource, ns_id in missing:
        if not context.is_made(resource.ids_field, ns_id):
            raise CheckpointError(
                f"{task} is in a {resource.name} namespace that nobody with rights there has made yet"
            )


def _born_in(task: RestoreTask, home: RestoreTask, context: RestoreContext) -> int:
    """The user namespace of a task that was just born: that of who is the first in a pid namespace owns this."""
    known = nesting(context)
    (pids, space), user = place_of(task, context), known.user_of(home)
    if space != place_of(home, context)[1] and pids[-1] == FIRST and space != NOBODYS:
        return known.owner(space)
    return user


def _differing(
    task: RestoreTask, home: RestoreTask, context: RestoreContext
) -> Iterator[tuple[type[NamespaceResource], int]]:
    """Namespaces of a task's own, other than pid and user namespaces."""
    for resource in namespace_resources():
        ns_id = getattr(task.ids, resource.ids_field)
        if resource.name == "time" and ns_id == time_for_children(home, context):
            continue  # born into it
        if resource.name not in ("pid", "user") and ns_id and ns_id != getattr(home.ids, resource.ids_field):
            yield resource, ns_id


def _make(
    missing: list[tuple[type[NamespaceResource], int]], owner: int, task: RestoreTask, context: RestoreContext
) -> None:
    """Those that belong to this user namespace, which the task is in."""
    for resource, ns_id in missing:
        if nesting(context).owner(ns_id) != owner:
            continue
        context.has_made(task, resource.ids_field, ns_id)
        if resource.at_birth:
            program = Program()
            program.call("unshare", resource.clone_flag)
            context.run(task.leader, program)
        _fill([(resource, ns_id)], context)


def _join_other(resource: type[NamespaceResource], ns_id: int, task: RestoreTask, context: RestoreContext) -> None:
    holder = context.first_in(resource.ids_field, ns_id)
    fd = os.open(f"/proc/{holder.puppet.tid}/ns/{resource.name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _join(fd, resource, task, context)
    finally:
        os.close(fd)


def _join(fd: int, resource: type[NamespaceResource], task: RestoreTask, context: RestoreContext) -> None:
    program = Program()
    context.add_joins(program, [(fd, resource.clone_flag)])
    context.run(task.leader, program)
