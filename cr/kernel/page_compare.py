"""Which pages of two stretches of our own memory are not the same."""

from __future__ import annotations

from cr.kernel import own_code
from cr.kernel.batch import Room
from cr.kernel.libc import memcmp

_PAGE = 4096

# void compare(one, other, count, flags): a byte for each page, 1 where it differs (SSE2, which every x86-64 has)
_LISTING = (
    ("4885d2 7460", "page: test rdx, rdx; je done"),
    ("660fefd2 31c0", "pxor xmm2, xmm2; xor eax, eax"),
    ("f30f6f0407 f30f6f0c06", "loop: movdqu xmm0, [rdi+rax]; movdqu xmm1, [rsi+rax]"),
    ("660fefc1 660febd0", "pxor xmm0, xmm1; por xmm2, xmm0"),
    ("f30f6f440710 f30f6f4c0610", "movdqu xmm0, [rdi+rax+16]; movdqu xmm1, [rsi+rax+16]"),
    ("660fefc1 660febd0", "pxor xmm0, xmm1; por xmm2, xmm0"),
    ("83c020 3d00100000 75d0", "add eax, 32; cmp eax, 4096; jne loop"),
    ("660fefc0 660f74d0", "pxor xmm0, xmm0; pcmpeqb xmm2, xmm0"),
    ("660fd7c2 3dffff0000 0f9501", "pmovmskb eax, xmm2; cmp eax, 0xffff; setne [rcx]"),
    ("48ffc1 4881c700100000 4881c600100000", "inc rcx; add rdi, 4096; add rsi, 4096"),
    ("48ffca eb9b", "dec rdx; jmp page"),
    ("c3", "done: ret"),
)
_CODE = bytes.fromhex("".join(code for code, _ in _LISTING))


def differing(one: int, other: int, count: int) -> bytes:
    """A byte for each of `count` pages at two addresses: 1 where they differ, else 0."""
    if not own_code.possible():
        pages = range(0, count * _PAGE, _PAGE)
        return bytes(memcmp(one + offset, other + offset, _PAGE) != 0 for offset in pages)
    flags = Room(count)
    own_code.function(_CODE, 4)(one, other, count, flags.address)
    return flags.content
