"""Names that `woodfrog-crit` prints for numbers, and reads back.

The options `flags` and `dict` of the schema (images/schema/options.proto) refer to these tables. The names
are those that tools of this format print; scripts match on them.
"""

from __future__ import annotations

from collections.abc import Mapping

_FILE_STATUS = {
    "O_WRONLY": 0o1,
    "O_RDWR": 0o2,
    "O_CREAT": 0o100,
    "O_EXCL": 0o200,
    "O_NOCTTY": 0o400,
    "O_TRUNC": 0o1000,
    "O_APPEND": 0o2000,
    "O_NONBLOCK": 0o4000,
    "O_DSYNC": 0o10000,
    "FASYNC": 0o20000,
    "O_DIRECT": 0o40000,
    "O_LARGEFILE": 0o100000,
    "O_DIRECTORY": 0o200000,
    "O_NOFOLLOW": 0o400000,
    "O_NOATIME": 0o1000000,
    "O_CLOEXEC": 0o2000000,
}

_VMA_STATUS = {
    "VMA_AREA_NONE": 0,
    "VMA_AREA_REGULAR": 1 << 0,
    "VMA_AREA_STACK": 1 << 1,
    "VMA_AREA_VSYSCALL": 1 << 2,
    "VMA_AREA_VDSO": 1 << 3,
    "VMA_AREA_HEAP": 1 << 5,
    "VMA_FILE_PRIVATE": 1 << 6,
    "VMA_FILE_SHARED": 1 << 7,
    "VMA_ANON_SHARED": 1 << 8,
    "VMA_ANON_PRIVATE": 1 << 9,
    "VMA_AREA_SYSVIPC": 1 << 10,
    "VMA_AREA_SOCKET": 1 << 11,
    "VMA_AREA_VVAR": 1 << 12,
    "VMA_AREA_AIORING": 1 << 13,
    "VMA_AREA_MEMFD": 1 << 14,
    "VMA_AREA_SHSTK": 1 << 15,
    # 1 << 16 (guard pages) is printed as a number, as other tools do.
    "VMA_AREA_UPROBES": 1 << 17,
    "VMA_UNSUPP": 1 << 31,
}

FLAGS: Mapping[str, Mapping[str, int]] = {
    "mmap.prot": {"PROT_READ": 1, "PROT_WRITE": 2, "PROT_EXEC": 4},
    "mmap.flags": {
        "MAP_SHARED": 0x1,
        "MAP_PRIVATE": 0x2,
        "MAP_DROPPABLE": 0x8,
        "MAP_ANON": 0x20,
        "MAP_GROWSDOWN": 0x100,
    },
    "mmap.status": _VMA_STATUS,
    "rfile.flags": _FILE_STATUS,
    "pmap.flags": {"PE_PARENT": 1, "PE_LAZY": 2, "PE_PRESENT": 4},
    "seals.flags": {
        "F_SEAL_SEAL": 0x1,
        "F_SEAL_SHRINK": 0x2,
        "F_SEAL_GROW": 0x4,
        "F_SEAL_WRITE": 0x8,
        "F_SEAL_FUTURE_WRITE": 0x10,
    },
}
"""Bits by name, for each set of names that a `flags` option can ask for."""

VALUES: Mapping[tuple[str, str], Mapping[int, str]] = {
    ("gen", "task_state"): {1: "Alive", 3: "Zombie", 6: "Stopped"},
    ("sk", "family"): {1: "UNIX", 2: "INET", 10: "INET6", 16: "NETLINK", 17: "PACKET"},
    ("sk", "type"): {1: "STREAM", 2: "DGRAM", 3: "RAW", 5: "SEQPACKET", 10: "PACKET"},
    ("sk", "proto"): {0: "IP", 6: "TCP", 17: "UDP", 136: "UDPLITE"},
    ("sk", "state"): {
        1: "ESTABLISHED",
        2: "SYN_SENT",
        3: "SYN_RECV",
        4: "FIN_WAIT1",
        5: "FIN_WAIT2",
        6: "TIME_WAIT",
        7: "CLOSE",
        8: "CLOSE_WAIT",
        9: "LAST_ACK",
        10: "LISTEN",
    },
}
"""Names of values, for each table of a `dict` option and the field that carries it."""


def name_bits(value: int, table: str) -> str:
    """`value` as names joined by |, what has no name in hexadecimal; the empty string for 0."""
    names = FLAGS[table]
    words = [name for name, bit in names.items() if value & bit]
    rest = value & ~sum(names.values())
    return " | ".join([*words, f"0x{rest:x}"] if rest else words)


def bits_of_names(text: str, table: str) -> int:
    """The number that `name_bits` printed. Raises ValueError for a word that is no name and no number."""
    words = [word.strip() for word in text.split("|") if word.strip()]
    value = 0
    for word in words:
        value |= FLAGS[table][word] if word in FLAGS[table] else int(word, 0)
    return value


def name_value(value: int, table: str, field: str) -> str | int:
    """The name of `value`, or the number itself where it has none."""
    return VALUES[table, field].get(value, value)


def value_of_name(text: str, table: str, field: str) -> int:
    """The number that `name_value` printed a name for. Raises ValueError for other words."""
    numbers = {name: value for value, name in VALUES[table, field].items()}
    return numbers[text] if text in numbers else int(text, 0)
