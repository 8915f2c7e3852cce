"""Every kind of mapping is claimed by exactly one resource, or refused with a reason."""

from __future__ import annotations

import mmap
import os

import pytest

from cr.contract.vma import UNSUPPORTED_FLAGS, unsupported_flags, vma_resource, vma_resources, why_unclaimed
from cr.dump.copier import CHUNK, chunks_of
from cr.dump.memory import claim
from cr.dump.pages import clip, find
from cr.kernel import vm
from cr.kernel.proc import Mapping, parse_smaps
from cr.resources.memory import memory_names
from cr.resources.memory.aio_ring import requests
from images.kinds import VmaStatus

CLAIMED = {
    ("rw-p", 0, ""): "AnonymousMemory",
    ("rw-p", 0, "[heap]"): "AnonymousMemory",
    ("rw-p", 0, "[stack]"): "AnonymousMemory",
    ("rw-p", 0, "[anon:name]"): "AnonymousMemory",
    ("rw-p", 5, "/anon_hugepage (deleted)"): "AnonymousMemory",
    ("rw-s", 5, "/anon_hugepage (deleted)"): "SharedAnonymousMemory",
    ("rw-s", 5, "/dev/zero (deleted)"): "SharedAnonymousMemory",
    ("rw-s", 5, "[anon_shmem:name]"): "SharedAnonymousMemory",
    ("rw-p", 5, "/dev/zero (deleted)"): "PrivateMemfdMapping",
    ("r-xp", 5, "/usr/bin/program"): "PrivateFileMapping",
    ("rw-p", 5, "/dev/zero"): "PrivateFileMapping",
    ("rw-p", 5, "/gone (deleted)"): "PrivateFileMapping",
    ("rw-s", 5, "/var/data"): "SharedFileMapping",
    ("rw-s", 5, "/memfd:name (deleted)"): "SharedMemfdMapping",
    ("rw-p", 5, "/memfd:name (deleted)"): "PrivateMemfdMapping",
    ("rw-s", 0, "/SYSV00000000 (deleted)"): "SysvMapping",
    ("rw-s", 5, "socket:[123]"): "PacketRing",
    ("rw-s", 5, "/[aio] (deleted)"): "AioRing",
    ("rw-s", 5, "anon_inode:[io_uring]"): "IoUringMapping",
    ("r-xp", 0, "[vdso]"): "Vdso",
    ("r--p", 0, "[vvar]"): "Vvar",
    ("r--p", 0, "[vvar_vclock]"): "Vvar",
    ("--xp", 0, "[vsyscall]"): "Vsyscall",
}
REFUSED = {
    "anon_inode:[perf_event]": "perf_event_open",
    "anon_inode:bpf-map": "BPF",
    "anon_inode:kvm-vcpu:0": "device",
    "/secretmem (deleted)": "memfd_secret",
    "[uprobes]": "probed",
}


def mapping(perms: str, inode: int, path: str, *flags: str, key: int = 0) -> Mapping:
    return Mapping(0x1000, 0x3000, perms, 0, "00:01", inode, path, frozenset(flags), 4096, key)


@pytest.mark.parametrize(("line", "kind"), CLAIMED.items())
def test_claimed_by_exactly_one(line: tuple[str, int, str], kind: str) -> None:
    found = claim(mapping(*line))
    assert found is not None
    assert found.__name__ == kind


@pytest.mark.parametrize(("path", "reason"), REFUSED.items())
def test_refused_with_a_reason(path: str, reason: str) -> None:
    assert claim(mapping("rw-s", 5, path)) is None
    assert reason in why_unclaimed(mapping("rw-s", 5, path))


@pytest.mark.parametrize("flag", UNSUPPORTED_FLAGS)
def test_flags_that_stand_against_a_dump(flag: str) -> None:
    assert list(unsupported_flags(mapping("rw-p", 0, "", "rd", flag))) == [UNSUPPORTED_FLAGS[flag]]


def test_protection_keys_stand_against_a_dump() -> None:
    assert "protection key 3" in next(iter(unsupported_flags(mapping("rw-p", 0, "", key=3))))
    assert "protection key 1" in next(iter(unsupported_flags(mapping("rw-p", 0, "", key=1))))
    assert not list(unsupported_flags(mapping("--xp", 0, "", key=1)))


def test_every_kind_is_found_by_what_it_writes() -> None:
    for kind in vma_resources():
        assert vma_resource(kind.status | kind.also) is kind
    assert vma_resource(VmaStatus.FILE_SHARED | VmaStatus.REGULAR).__name__ == "SharedFileMapping"
    with pytest.raises(LookupError):
        vma_resource(VmaStatus.REGULAR)


SMAPS = """7f0000000000-7f0000200000 rw-p 00001000 00:0f 12                /some where
Size:               2048 kB
KernelPageSize:     2048 kB
ProtectionKey:         4
VmFlags: rd wr mr mw me ht
7ffe00000000-7ffe00021000 rw-p 00000000 00:00 0
KernelPageSize:        4 kB
VmFlags: rd wr mr mw me gd ac
"""


def test_smaps_is_read() -> None:
    huge, stack = parse_smaps(SMAPS)
    assert (huge.path, huge.offset, huge.inode, huge.page_size) == ("/some where", 0x1000, 12, 2 << 20)
    assert huge.protection_key == 4
    assert (stack.start, stack.end, stack.path) == (0x7FFE00000000, 0x7FFE00021000, "")
    assert "gd" in stack.flags


def test_runs_are_cut_into_batches() -> None:
    runs = [(0, 3 * CHUNK + 4096), (1 << 40, (1 << 40) + 8192)]
    batches = list(chunks_of(runs))
    assert [offset for offset, _ in batches] == [0, CHUNK, 2 * CHUNK, 3 * CHUNK]
    assert batches[-1][1] == [(3 * CHUNK, 4096), (1 << 40, 8192)]
    assert list(clip([(0, 10), (12, 20)], [(2, 4), (5, 15), (19, 30)])) == [(2, 4), (5, 10), (12, 15), (19, 20)]


def test_names_of_anonymous_memory() -> None:
    mappings = [
        mapping("rw-p", 0, "[anon:two words]"),
        mapping("rw-s", 5, "[anon_shmem:]]"),
        mapping("rw-p", 0, "[heap]"),
    ]
    assert [memory_names.name_of(each) for each in mappings] == [b"two words", b"]", b""]


@pytest.mark.parametrize("runs", [511, 512, 513, 800, 2048, 2049, 5000])
def test_a_scan_tells_every_run_once(runs: int) -> None:
    with mmap.mmap(-1, 2 * runs * 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_NOHUGEPAGE)
        for index in range(runs):
            memory[2 * index * 4096] = 1
        start = vm.address_of(memory)
        found = find(os.getpid(), [(start, start + 2 * runs * 4096)], []).runs
    assert found == [(start + 2 * index * 4096, start + (2 * index + 1) * 4096) for index in range(runs)]


def test_an_aio_ring_says_how_many_requests_it_was_made_for() -> None:
    for asked in (1, 64, 126, 127, 500):
        length = -(-(32 + 32 * (2 * asked + 2)) // 4096) * 4096
        assert requests(length) >= asked
        assert -(-(32 + 32 * (2 * requests(length) + 2)) // 4096) * 4096 == length
