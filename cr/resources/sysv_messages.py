"""System V message queues (msgget(2)) with the messages in them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from cr.contract import sysv
from cr.kernel import sysvipc
from images.payload import decode_queue, encode_queue

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext
    from cr.contract.restoring import RestoreContext
    from images import messages as m


def dump(ns_id: int, context: DumpContext) -> None:
    """All queues of the ipc namespace that this thread is in; the messages stay where they are."""
    from images import messages as m

    with context.images.writer("ipcns-msg", ns_id) as image:
        for row in sysvipc.rows("msg"):
            desc = sysv.describe(row, "msqid", context)
            entry = m.ipc_msg_entry(desc=desc, qbytes=sysvipc.msg_limit(row["msqid"]), qnum=row["qnum"])
            image.add(entry, encode_queue(_messages(row)))


def _messages(row: sysvipc.Row) -> list[tuple[m.ipc_msg, bytes]]:
    from images import messages as m

    found = []
    for index in range(row["qnum"]):
        kind, text = sysvipc.peek_message(row["msqid"], index, row["cbytes"])
        found.append((m.ipc_msg(mtype=kind, msize=len(text)), text))
    return found


def needs(ns_id: int, context: RestoreContext) -> dict[str, int]:
    """The limits that these queues take to be made, by field of ipc_var_entry."""
    largest, room = 0, 0
    for entry, payload in context.images.reader("ipcns-msg", ns_id):
        sizes = [header.msize for header, _ in decode_queue(payload)]
        largest, room = max([largest, *sizes]), max(room, entry.qbytes, sum(sizes))
    return {"msg_ctlmax": largest, "msg_ctlmnb": room}


def restore(ns_id: int, context: RestoreContext) -> None:
    """The limits are those of `needs` at least."""
    for entry, payload in context.images.reader("ipcns-msg", ns_id):
        desc = entry.desc
        sysv.make("msg", desc, partial(sysvipc.msgget, desc.key), context)
        for header, text in decode_queue(payload):
            sysvipc.send_message(desc.id, header.mtype, text)
        sysvipc.msg_own(desc.id, sysv.owner(desc, context), entry.qbytes)
