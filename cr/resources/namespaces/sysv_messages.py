"""System V message queues (msgget(2)) with the messages in them."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from cr.contract import idmaps, sysv
from cr.kernel import proc, sysvipc
from cr.kernel.ids import acting_as
from cr.kernel.namespaces import inside_of
from images.payload import decode_queue, encode_queue

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext
    from cr.contract.restoring import RestoreContext
    from images import messages as m

MSGMAX = "/proc/sys/kernel/msgmax"


def dump(ns_id: int, pid: int, context: DumpContext) -> None:
    """All queues of the ipc namespace of task `pid`, where this thread is; the messages stay where they are."""
    from images import messages as m

    with context.images.writer("ipcns-msg", ns_id) as image:
        for row in sysvipc.rows("msg"):
            desc = sysv.describe(row, "msqid", context)
            entry = m.ipc_msg_entry(desc=desc, qbytes=sysvipc.msg_limit(row["msqid"]), qnum=row["qnum"])
            image.add(entry, encode_queue(_messages(row, pid, context)))


def _messages(row: sysvipc.Row, pid: int, context: DumpContext) -> list[tuple[m.ipc_msg, bytes]]:
    from images import messages as m

    try:
        found = _peek(row)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        with _longer_messages(row["cbytes"], pid, context):
            found = _peek(row)
    return [(m.ipc_msg(mtype=kind, msize=len(text)), text) for kind, text in found]


def _peek(row: sysvipc.Row) -> list[tuple[int, bytes]]:
    return [sysvipc.peek_message(row["msqid"], index, row["cbytes"]) for index in range(row["qnum"])]


@contextmanager
def _longer_messages(size: int, pid: int, context: DumpContext) -> Iterator[None]:
    """A message longer than kernel.msgmax, which was lowered since it came, can only be seen with a higher one."""
    root = idmaps.uids(context).outside(0), idmaps.gids(context).outside(0)
    lowered = proc.read_file(MSGMAX)
    context.undo.append(partial(put_back, pid, root, lowered))
    _set(root, str(size))
    try:
        yield
    finally:
        _set(root, lowered)


def _set(root: tuple[int, int], value: str) -> None:
    with acting_as(*root):
        proc.write_file(MSGMAX, value)


def put_back(pid: int, root: tuple[int, int], value: str) -> None:
    """Set kernel.msgmax of the ipc namespace of task `pid` again."""
    with inside_of(pid, "ipc"):
        _set(root, value)


def needs(ns_id: int, context: RestoreContext) -> dict[str, int]:
    """The limits that these queues take to be made, by field of ipc_var_entry."""
    largest, room = 0, 0
    for entry, payload in sysv.entries("ipcns-msg", ns_id, context):
        sizes = [header.msize for header, _ in decode_queue(payload)]
        largest, room = max([largest, *sizes]), max(room, entry.qbytes, sum(sizes))
    return {"msg_ctlmax": largest, "msg_ctlmnb": room}


def restore(ns_id: int, context: RestoreContext) -> None:
    """The limits are those of `needs` at least."""
    for entry, payload in sysv.entries("ipcns-msg", ns_id, context):
        desc = entry.desc
        sysv.make("msg", desc, partial(sysvipc.msgget, desc.key), context)
        for header, text in decode_queue(payload):
            sysvipc.send_message(desc.id, header.mtype, text)
        sysvipc.msg_own(desc.id, sysv.owner(desc, context), entry.qbytes)
