"""UTS namespaces: host name and NIS domain name (uts_namespaces(7))."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cr.contract.resource import NamespaceResource
from cr.kernel import proc
from cr.kernel.namespaces import CLONE_NEWUTS, inside_of
from cr.remote.program import Program

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask
    from cr.contract.restoring import RestoreContext

_SYSCTLS = "/proc/sys/kernel"


class UtsNamespace(NamespaceResource):
    """sethostname(2) and setdomainname(2)."""

    name = "uts"
    clone_flag = CLONE_NEWUTS
    ids_field = "uts_ns_id"

    @classmethod
    def dump(cls, task: DumpTask, ns_id: int, context: DumpContext) -> None:
        from images import messages as m

        with inside_of(task.pid, cls.name):
            nodename, domainname = (_read(name) for name in ("hostname", "domainname"))
        entry = m.utsns_entry(nodename=nodename, domainname=domainname)
        context.images.write("utsns", ns_id, entries=[entry])

    @classmethod
    def restore(cls, ns_id: int, context: RestoreContext) -> None:
        entry = context.images.read_one("utsns", ns_id)
        program = Program()
        hostname = context.options.hostname if ns_id == _root_id(context) else ""
        for call, text in (("sethostname", hostname or entry.nodename), ("setdomainname", entry.domainname)):
            content = text.encode()
            program.call(call, program.cstr(content), len(content))
        context.run(context.first_in(cls.ids_field, ns_id).leader, program)


def _root_id(context: RestoreContext) -> int:
    return context.root.ids.uts_ns_id if context.root.ids is not None else 0


def _read(name: str) -> str:
    return proc.read_file(f"{_SYSCTLS}/{name}").removesuffix("\n")
