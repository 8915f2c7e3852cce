"""BPF maps (bpf(2)): hash tables and arrays, with what is in them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from cr.contract.resource import FdResource
from cr.kernel import bpf
from cr.resources.events.anonymous_inode import common, finish

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext
    from images import messages as m

IMAGE = "bpfmap-data"
_KINDS = (bpf.MAP_TYPE_HASH, bpf.MAP_TYPE_ARRAY)
BPF_F_RDONLY, BPF_F_WRONLY = 1 << 3, 1 << 4


class BpfMap(FdResource):
    """Descriptors with the same map_id are of the same map."""

    type = 19
    field = "bpf"

    @classmethod
    def recognises(cls, file: OpenFile) -> bool:
        return file.link == "anon_inode:bpf-map"

    @classmethod
    def obstacles(cls, file: OpenFile, context: DumpContext) -> Iterable[str]:
        kind, flags = _number(file, "map_type"), _number(file, "map_flags")
        if kind not in _KINDS:
            yield f"{file} is a BPF map of type {kind}; only hash tables and arrays can be dumped: close it"
        elif flags & (BPF_F_RDONLY | BPF_F_WRONLY):
            yield f"{file} is a BPF map that user space may not read and write: close it"

    @classmethod
    def dump(cls, file: OpenFile, context: DumpContext) -> m.bpfmap_file_entry | None:
        from images import messages as m

        for reason in cls.obstacles(file, context):
            context.refuse(reason)
            return None
        numbers = ("map_type", "key_size", "value_size", "map_id", "max_entries", "map_flags", "memlock")
        fields: dict[str, Any] = common(file) | {name: _number(file, name) for name in numbers}
        name, ifindex = bpf.map_name(file.local)
        entry = m.bpfmap_file_entry(
            pos=file.pos, frozen=bool(_number(file, "frozen")), map_name=name, ifindex=ifindex,
            map_extra=_number(file, "map_extra"), **fields,
        )  # fmt: skip
        context.once(("bpf map", entry.map_id), lambda: _note_content(entry, file, context))
        return entry

    @classmethod
    def finish_dump(cls, context: DumpContext) -> None:
        from images import messages as m

        noted: list[tuple[int, list[tuple[bytes, bytes]]]] = context.once("bpf maps", list)
        with context.images.writer(IMAGE) as image:
            for map_id, items in noted:
                keys, values = (b"".join(part) for part in (zip(*items, strict=True) if items else ((), ())))
                sizes = {"keys_bytes": len(keys), "values_bytes": len(values), "count": len(items)}
                image.add(m.bpfmap_data_entry(map_id=map_id, **sizes), keys + values)

    @classmethod
    def make(cls, entry: m.bpfmap_file_entry, context: RestoreContext) -> int:
        first = context.once(("bpf map", entry.map_id), lambda: context.keep(_make_map(entry, context)))
        return finish(bpf.map_open(first), entry, context)


def _number(file: OpenFile, name: str) -> int:
    return int(file.info.get(name, "0"), 0)


def _note_content(entry: m.bpfmap_file_entry, file: OpenFile, context: DumpContext) -> bool:
    noted: list[tuple[int, list[tuple[bytes, bytes]]]] = context.once("bpf maps", list)
    noted.append((entry.map_id, list(bpf.map_items(file.local, entry.key_size, entry.value_size))))
    return True


def _make_map(entry: m.bpfmap_file_entry, context: RestoreContext) -> int:
    fd = bpf.map_create(
        entry.map_type, entry.key_size, entry.value_size, entry.max_entries, entry.map_flags,
        entry.map_name, entry.ifindex, entry.map_extra,
    )  # fmt: skip
    for data, payload in context.images.reader(IMAGE):
        if data.map_id == entry.map_id:
            _fill(fd, entry, data, payload.bytes())
    if entry.frozen:
        bpf.map_freeze(fd)
    return fd


def _fill(fd: int, entry: m.bpfmap_file_entry, data: m.bpfmap_data_entry, content: bytes) -> None:
    keys, values = content[: data.keys_bytes], content[data.keys_bytes :]
    for index in range(data.count):
        key = keys[index * entry.key_size : (index + 1) * entry.key_size]
        bpf.map_update(fd, key, values[index * entry.value_size : (index + 1) * entry.value_size])
