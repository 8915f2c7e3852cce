"""Filesystems that show a namespace which comes into being after the mounts: a stand-in keeps their place until then.

What shows a pid, ipc or network namespace (proc, mqueue, sysfs) can only be mounted by who is in it; but its tasks are
born into finished mount namespaces.  So the root puppet mounts its own, which is replaced, mount by mount, when all
are born.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cr import log
from cr.contract.mounts import PlacedMount, placed
from cr.contract.nesting import nesting
from cr.kernel import mounts as sys
from cr.kernel.namespaces import CLONE_NEWNS, CLONE_NEWPID, FLAGS
from cr.kernel.visits import fetch, fetch_all
from cr.model import CheckpointError
from cr.resources.mounts.machinery.assembly import CHANGEABLE, attributes
from cr.resources.mounts.machinery.hands import BOTH_EMPTY, INSIDE
from cr.resources.mounts.machinery.nodes import MountPlan, Node, walk

if TYPE_CHECKING:
    from cr.contract.restoring import RestoreContext

_ASIDE = {"proc": "1", "sysfs": "kernel"}
"""a directory of every such filesystem; in a mqueue there is none"""
_LOOK = os.O_PATH | os.O_NOFOLLOW
_FLAGS = frozenset({"ro", "rw"})
"""of the superblock, which mount_setattr(2) and mount(2) see to"""


def replace_later(plan: MountPlan, context: RestoreContext) -> None:
    """See to it that every mount of such a filesystem is replaced, where there are any."""
    shown = nesting(context).shown_devices()
    for ns_id, root in plan.roots.items():
        nodes = [node for node in walk(root) if node.source.device in shown and _can_be_replaced(node)]
        if nodes:
            context.when_grown.append(lambda ns_id=ns_id, nodes=nodes: _replace(ns_id, nodes, context))  # type: ignore[misc]


def _can_be_replaced(node: Node) -> bool:
    if _name(node) in _ASIDE or all(child.where for child in node.children):
        return True
    log.warning(f"the {_name(node)} at {node.entry.mountpoint} is mounted over: it will show the root task's namespace")
    return False


def _name(node: Node) -> str:
    assert node.source.resource is not None
    return node.source.resource.names[0]


def _replace(ns_id: int, nodes: list[Node], context: RestoreContext) -> None:
    """From inside of the mount namespace."""
    fresh = {node.source.device: _mount(node, context) for node in nodes}
    holder = context.first_in("mnt_ns_id", ns_id)
    namespace = os.open(f"/proc/{holder.puppet.tid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    old = {node: placed(context)[node.entry.mnt_id].fd for each in nodes for node in (each, *each.children)}
    try:
        new = fetch_all([(namespace, CLONE_NEWNS)], lambda: [_swap(node, fresh, old) for node in nodes])
    except OSError as error:
        raise CheckpointError(
            f"the {_name(nodes[0])} of an inner namespace cannot be mounted at {nodes[0].entry.mountpoint}: "
            f"{error.strerror} (this needs MOVE_MOUNT_BENEATH of Linux 6.5)"
        ) from error
    finally:
        os.close(namespace)
        for fd in fresh.values():
            os.close(fd)
    for node, fd in zip(nodes, new, strict=True):
        context.drop(old[node])
        context.keep(fd)
        placed(context)[node.entry.mnt_id] = PlacedMount(node.entry.mountpoint, fd, fd, "")


def _mount(node: Node, context: RestoreContext) -> int:
    """The filesystem as it is to be, mounted by a process of ours in that namespace; detached."""
    shown = nesting(context).shown_devices()[node.source.device]

    def make() -> int:
        config = sys.fsopen(_name(node))
        sys.fsconfig(config, sys.FSCONFIG_SET_STRING, "source", node.source.device_file)
        for option in filter(None, node.source.options.split(",")):
            key, given, value = option.partition("=")
            if key not in _FLAGS:
                sys.fsconfig(config, sys.FSCONFIG_SET_STRING if given else sys.FSCONFIG_SET_FLAG, key, value or None)
        sys.fsconfig(config, sys.FSCONFIG_CMD_CREATE)
        return sys.fsmount(config)

    flag = nesting(context).entry(shown).kind
    return fetch([(_descriptor(shown, flag, context), flag)], make)


def _descriptor(ns_id: int, flag: int, context: RestoreContext) -> int:
    """Ours, of a namespace in which there is a task by now."""
    if flag == CLONE_NEWPID:
        from cr.resources.namespaces.pid_namespace import descriptor

        return descriptor(ns_id, context)
    kind = next(name for name, number in FLAGS.items() if number == flag)
    holder = context.first_in(f"{kind}_ns_id", ns_id)
    return context.keep(os.open(f"/proc/{holder.puppet.tid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC))


def _swap(node: Node, fresh: dict[int, int], old: dict[Node, int]) -> int:
    """Slide the new mount under the old one, move over what stands on that, and take it away.

    What covers the old one as a whole stands aside meanwhile, since nothing slides under a mount that is not on top.
    """
    whole = fresh[node.source.device]
    tree = sys.open_tree(whole, node.part, sys.OPEN_TREE_CLONE | sys.AT_EMPTY_PATH | sys.OPEN_TREE_CLOEXEC)
    sys.mount_setattr(tree, "", sys.AT_EMPTY_PATH, attributes(node.entry.flags), CHANGEABLE)
    covers = [old[child] for child in node.children if not child.where]
    for cover in covers:
        sys.attach(cover, _inside(old[node], _ASIDE[_name(node)]))
    sys.move_mount(tree, "", old[node], "", BOTH_EMPTY | sys.MOVE_MOUNT_BENEATH)
    for child in node.children:
        sys.attach(old[child], _inside(tree, child.where or _ASIDE[_name(node)]))
    os.fchdir(old[node])
    sys.umount2(".", sys.MNT_DETACH)
    for cover in covers:
        sys.attach(cover, tree)
    return tree


def _inside(tree: int, path: str) -> int:
    return sys.openat2(tree, path, _LOOK, resolve=INSIDE)
