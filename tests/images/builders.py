"""Random messages and images of every kind, for hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from images import messages as m
from images.kinds import KINDS, ImageKind, PayloadRule
from images.payload import encode_queue

Entry = tuple[Any, bytes | None]
_DEPTH = 3

_RANGES = {
    "uint32": (0, 2**32 - 1),
    "uint64": (0, 2**64 - 1),
    "fixed64": (0, 2**64 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "sint32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "sint64": (-(2**63), 2**63 - 1),
}
_TYPES = {4: "uint64", 13: "uint32", 6: "fixed64", 5: "int32", 3: "int64", 17: "sint32", 18: "sint64"}


def _value(field: Any, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return messages(field.message_type.name, depth + 1)
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    if field.type == 8:
        return st.booleans()
    if field.type == 9:
        return st.text(max_size=12)
    if field.type == 12:
        return st.binary(max_size=90)
    return st.integers(*_RANGES[_TYPES[field.type]])


@st.composite
def messages(draw: st.DrawFn, name: str, depth: int = 0) -> Any:
    """A message of that name with every required field and some of the others."""
    message = getattr(m, name)()
    for field in message.DESCRIPTOR.fields:
        if not field.is_required and (depth > _DEPTH or draw(st.booleans())):
            continue
        values = st.lists(_value(field, depth), min_size=1, max_size=2)
        for value in draw(values) if field.is_repeated else [draw(_value(field, depth))]:
            _put(message, field, value)
    return message


def _put(message: Any, field: Any, value: Any) -> None:
    target = getattr(message, field.name)
    if field.is_repeated:
        target.append(value)
    elif field.message_type is not None:
        target.CopyFrom(value)
        target.SetInParent()
    else:
        setattr(message, field.name, value)


@st.composite
def entries(draw: st.DrawFn, kind: ImageKind) -> list[Entry]:
    """What an image of that kind may have in it: entries with data that fits what they say."""
    if kind.payload is PayloadRule.GHOST:
        return draw(_ghost())
    body = draw(st.lists(messages(kind.message), max_size=3))
    found: list[Entry] = [(message, draw(_data(kind.payload, message))) for message in body]
    if kind.head:
        found.insert(0, (draw(messages(kind.head)), None))
    return found


@st.composite
def _ghost(draw: st.DrawFn) -> list[Entry]:
    head = draw(messages("ghost_file_entry"))
    data = draw(st.lists(st.binary(max_size=200), min_size=1, max_size=3))
    if not head.chunks:
        return [(head, data[0])]
    return [(head, None), *((m.ghost_chunk_entry(len=len(part), off=0), part) for part in data)]


@st.composite
def _data(draw: st.DrawFn, rule: PayloadRule, entry: Any) -> bytes | None:
    """Data for an entry; the fields that say how much there is are set to fit."""
    if rule is PayloadRule.NONE:
        return None
    if rule is PayloadRule.MSG:
        return draw(_queue(entry))
    if rule is PayloadRule.SEM:
        entry.nsems = draw(st.integers(0, 9))
        return draw(st.binary(min_size=2 * entry.nsems, max_size=2 * entry.nsems))
    data = draw(st.binary(max_size=200))
    if rule is PayloadRule.SHM and entry.in_pagemaps:
        return b""
    first, second = _SIZES[rule]
    cut = draw(st.integers(0, len(data))) if second else len(data)
    setattr(entry, first, cut)
    if second:
        setattr(entry, second, len(data) - cut)
    return data


_SIZES = {
    PayloadRule.PIPE: ("bytes", ""),
    PayloadRule.PACKET: ("length", ""),
    PayloadRule.SHM: ("size", ""),
    PayloadRule.TCP: ("inq_len", "outq_len"),
    PayloadRule.BPF: ("keys_bytes", "values_bytes"),
}


@st.composite
def _queue(draw: st.DrawFn, entry: Any) -> bytes:
    texts = draw(st.lists(st.binary(max_size=40), max_size=3))
    entry.qnum = len(texts)
    return encode_queue((m.ipc_msg(mtype=draw(st.integers(1, 9)), msize=len(text)), text) for text in texts)


ENTRY_KINDS = [name for name, kind in KINDS.items() if not kind.raw]
