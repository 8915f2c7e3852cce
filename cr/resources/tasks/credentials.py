"""Credentials of a thread: ids, groups, capabilities, securebits (credentials(7), capabilities(7))."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from cr.contract import idmaps
from cr.contract.nesting import nesting
from cr.contract.resource import Stage, ThreadResource
from cr.kernel import controls, proc
from cr.kernel.capabilities import as_names, has
from cr.model import CheckpointError
from cr.resources.tasks.own_settings import own_entry

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpThread
    from cr.contract.restoring import RestoreContext, RestoreThread
    from cr.remote.program import Program
    from images import messages as m

_NOBODY = (1 << 64) - 1
_SETS = {"cap_inh": "CapInh", "cap_prm": "CapPrm", "cap_eff": "CapEff", "cap_bnd": "CapBnd", "cap_amb": "CapAmb"}


class Credentials(ThreadResource):
    """Ids as the task's own user namespace counts them, five capability sets, securebits."""

    stage = Stage.IDENTITY

    def ask(self, program: Program, thread: DumpThread, context: DumpContext) -> None:
        self._uids, self._gids = program.buffer(12), program.buffer(12)
        for name, buffer in (("getresuid", self._uids), ("getresgid", self._gids)):
            program.call(name, buffer, buffer.at(4), buffer.at(8))
        self._fsuid = program.call("setfsuid", _NOBODY, note="an invalid id changes nothing")
        self._fsgid = program.call("setfsgid", _NOBODY, note="an invalid id changes nothing")
        count = len(thread.status["Groups"].split())
        self._groups = program.buffer(4 * count)
        self._count = program.call("getgroups", count, self._groups)
        self._securebits = program.call("prctl", controls.PR_GET_SECUREBITS, 0, 0, 0, 0)

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        entry = core.thread_core.creds
        entry.uid, entry.euid, entry.suid = struct.unpack("<3I", self._uids.bytes)
        entry.gid, entry.egid, entry.sgid = struct.unpack("<3I", self._gids.bytes)
        entry.fsuid, entry.fsgid = self._fsuid.value & 0xFFFFFFFF, self._fsgid.value & 0xFFFFFFFF
        entry.groups.extend(struct.unpack(f"<{self._count.value}I", self._groups.bytes))
        entry.secbits = self._securebits.value
        for name, line in _SETS.items():
            mask = int(thread.status[line], 16)
            getattr(entry, name).extend((mask & 0xFFFFFFFF, mask >> 32))
        if thread.status["NoNewPrivs"] != "0":
            entry.no_new_privs = 1
        if thread.task.ids["user_ns_id"] != context.root.ids["user_ns_id"]:
            _record_outer_ids(thread, context)

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        if not thread.core.thread_core.HasField("creds"):
            return
        entry = thread.core.thread_core.creds
        have = proc.status(thread.puppet.tid)
        _check(thread, entry, int(have["CapPrm"], 16))
        if context.options.unprivileged and not has("CAP_SETPCAP"):
            _check_user(thread, entry, have)
            _drop_capabilities(program, entry, have)
            return
        program.call("prctl", controls.PR_SET_SECUREBITS, controls.SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
        if nesting(context).user_of(thread.task) == nesting(context).root_user:
            _set_ids(program, entry, with_groups=_can_set_groups(entry, have, context))
        else:
            _set_known_ids(program, thread, context)
        _set_capabilities(program, entry, have)


class NoNewPrivileges(ThreadResource):
    """PR_SET_NO_NEW_PRIVS."""

    stage = Stage.SEALED

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        """With the credentials."""

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        if thread.core.thread_core.creds.no_new_privs:
            program.call("prctl", controls.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _mask(words: list[int]) -> int:
    low, high = (*words, 0, 0)[:2]
    return low | high << 32


def _check(thread: RestoreThread, entry: m.creds_entry, available: int) -> None:
    missing = _mask(list(entry.cap_prm)) & ~available
    if missing:
        raise CheckpointError(
            f"{thread.task} had {', '.join(as_names(missing))}, which this process cannot give: "
            "restore with these capabilities"
        )


def _check_user(thread: RestoreThread, entry: m.creds_entry, have: dict[str, str]) -> None:
    """Without the right to change ids, only tasks that are ours can come back."""
    wanted = {
        "Uid": [entry.uid, entry.euid, entry.suid, entry.fsuid],
        "Gid": [entry.gid, entry.egid, entry.sgid, entry.fsgid],
        "Groups": sorted(entry.groups),
    }
    for line, ids in wanted.items():
        now = [int(word) for word in have[line].split()]
        if now != ids:
            raise CheckpointError(
                f"{thread.task} had {line} {ids}, we have {now}: with --unprivileged only one's own tasks come back"
            )


def _drop_capabilities(program: Program, entry: m.creds_entry, have: dict[str, str]) -> None:
    """What needs no right: giving up capabilities that the task did not have."""
    permitted, inheritable = int(have["CapPrm"], 16), int(have["CapInh"], 16)
    program.call("prctl", controls.PR_CAP_AMBIENT, controls.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    for number in _bits(_mask(list(entry.cap_amb)) & permitted & inheritable):
        program.call("prctl", controls.PR_CAP_AMBIENT, controls.PR_CAP_AMBIENT_RAISE, number, 0, 0)
    _capset(program, _mask(list(entry.cap_eff)), _mask(list(entry.cap_prm)), _mask(list(entry.cap_inh)) & inheritable)


def _can_set_groups(entry: m.creds_entry, have: dict[str, str], context: RestoreContext) -> bool:
    """In the root task's user namespace; what cannot be set there was brought along (cr.restore.user_namespaces)."""
    if not entry.groups and not have["Groups"].split():
        return False  # nothing to do, and some user namespaces do not let groups be set
    gids = idmaps.gids(context)
    return not nesting(context).denies_groups() and all(map(gids.knows, entry.groups))


def _set_ids(program: Program, entry: m.creds_entry, *, with_groups: bool) -> None:
    if with_groups:
        groups = program.data(struct.pack(f"<{len(entry.groups)}I", *entry.groups))
        program.call("setgroups", len(entry.groups), groups)
    program.call("setresgid", entry.gid, entry.egid, entry.sgid)
    program.call("setfsgid", entry.fsgid)
    program.call("setresuid", entry.uid, entry.euid, entry.suid)
    program.call("setfsuid", entry.fsuid)


def _record_outer_ids(thread: DumpThread, context: DumpContext) -> None:
    """As the root task's user namespace counts: not all need have a number in the thread's own."""
    outer, uids, gids = own_entry(thread, context).outer, idmaps.uids(context), idmaps.gids(context)
    for line, ids, found in (("Uid", uids, outer.uid), ("Gid", gids, outer.gid), ("Groups", gids, outer.group)):
        found.extend(ids.inside(int(word)) for word in thread.status[line].split())


def _set_known_ids(program: Program, thread: RestoreThread, context: RestoreContext) -> None:
    """In a user namespace below the root task's: what has no number in it was taken on further out."""
    known, entry = nesting(context), thread.core.thread_core.creds
    user = known.user_of(thread.task)
    uids, gids = known.map(user, "uid_map"), known.map(user, "gid_map")
    groups = program.data(struct.pack(f"<{len(entry.groups)}I", *entry.groups))
    may_set = gids.extents and not known.entry(user).setgroups_denied
    if may_set and all(gids.knows(group) for group in entry.groups):
        program.call("setgroups", len(entry.groups), groups)
    real = (
        ("setresgid", gids, (entry.gid, entry.egid, entry.sgid)),
        ("setresuid", uids, (entry.uid, entry.euid, entry.suid)),
    )
    for name, ids, numbers in real:
        program.call(name, *(number if ids.knows(number) else -1 for number in numbers))
    program.call("setfsgid", entry.fsgid)
    program.call("setfsuid", entry.fsuid)


def _set_capabilities(program: Program, entry: m.creds_entry, have: dict[str, str]) -> None:
    """In the order in which each step still has the rights that it needs."""
    permitted, inheritable = int(have["CapPrm"], 16), _mask(list(entry.cap_inh))
    _capset(program, permitted, permitted, inheritable & int(have["CapBnd"], 16))
    program.call("prctl", controls.PR_CAP_AMBIENT, controls.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    for number in _bits(_mask(list(entry.cap_amb))):
        program.call("prctl", controls.PR_CAP_AMBIENT, controls.PR_CAP_AMBIENT_RAISE, number, 0, 0)
    for number in _bits(int(have["CapBnd"], 16) & ~_mask(list(entry.cap_bnd))):
        program.call("prctl", controls.PR_CAPBSET_DROP, number, 0, 0, 0)
    program.call("prctl", controls.PR_SET_SECUREBITS, entry.secbits, 0, 0, 0)
    _capset(program, _mask(list(entry.cap_eff)), _mask(list(entry.cap_prm)), inheritable & int(have["CapBnd"], 16))


def _bits(mask: int) -> list[int]:
    return [number for number in range(64) if mask >> number & 1]


def _capset(program: Program, effective: int, permitted: int, inheritable: int) -> None:
    low = (effective & 0xFFFFFFFF, permitted & 0xFFFFFFFF, inheritable & 0xFFFFFFFF)
    data = program.data(struct.pack("<6I", *low, effective >> 32, permitted >> 32, inheritable >> 32))
    header = program.data(struct.pack("<Ii", controls.LINUX_CAPABILITY_VERSION_3, 0))
    program.call("capset", header, data)
