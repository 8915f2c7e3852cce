"""What the processor can do: cpuinfo.img, `cpuinfo dump`, `cpuinfo check` and --cpu-cap (criu(8)).

A program finds out once what its processor can do and goes on using that; where it is restored on a lesser one, it
ends with SIGILL some day.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cr.model import CheckpointError
from images.directory import ImageDirectory

if TYPE_CHECKING:
    from cr.options import Options
    from images import messages as m

NAMES = ("fpu", "cpu", "ins")
USUAL = frozenset({"fpu", "ins"})
"""what is checked where --cpu-cap is not given"""
IMAGE = frozenset({"cpu", "ins"})
"""what needs cpuinfo.img"""
_VERSION = 2
_SSE = 1 << 1
# word of cpuinfo_x86_entry.capability: (leaf, subleaf, register)
_WORDS = {
    0: (1, 0, "edx"), 1: (0x80000001, 0, "edx"), 4: (1, 0, "ecx"), 6: (0x80000001, 0, "ecx"), 9: (7, 0, "ebx"),
    10: (0xD, 1, "eax"), 11: (7, 0, "ecx"), 13: (0x80000008, 0, "ebx"), 14: (6, 0, "eax"), 15: (0x8000000A, 0, "edx"),
    17: (0x80000007, 0, "ebx"), 18: (7, 0, "edx"),
}  # fmt: skip
_KERNELS_OWN = 3  # a word of features that Linux itself defines
_ALWAYS = 1 << 16 | 1 << 20 | 1 << 25  # rep_good, nopl, cpuid: of all 64-bit processors
_NR_WORDS = 19
_FEATURES = {
    (0, 23): "mmx", (0, 25): "sse", (0, 26): "sse2", (1, 27): "rdtscp", (4, 0): "sse3", (4, 1): "pclmulqdq",
    (4, 9): "ssse3", (4, 12): "fma", (4, 13): "cx16", (4, 19): "sse4_1", (4, 20): "sse4_2", (4, 22): "movbe",
    (4, 23): "popcnt", (4, 25): "aes", (4, 26): "xsave", (4, 28): "avx", (4, 29): "f16c", (4, 30): "rdrand",
    (6, 5): "abm", (6, 6): "sse4a", (6, 11): "xop", (6, 16): "fma4", (6, 21): "tbm", (9, 0): "fsgsbase",
    (9, 3): "bmi1", (9, 5): "avx2", (9, 8): "bmi2", (9, 9): "erms", (9, 11): "rtm", (9, 16): "avx512f",
    (9, 17): "avx512dq", (9, 18): "rdseed", (9, 19): "adx", (9, 21): "avx512ifma", (9, 23): "clflushopt",
    (9, 24): "clwb", (9, 28): "avx512cd", (9, 29): "sha_ni", (9, 30): "avx512bw", (9, 31): "avx512vl",
    (10, 0): "xsaveopt", (10, 1): "xsavec", (10, 3): "xsaves", (11, 1): "avx512vbmi", (11, 2): "umip", (11, 3): "pku",
    (11, 8): "gfni", (11, 9): "vaes", (11, 10): "vpclmulqdq", (11, 22): "rdpid", (18, 4): "fsrm",
}  # fmt: skip


def capabilities(text: str | None) -> frozenset[str]:
    """What --cpu-cap names: fpu, cpu, ins, all, none, each with ^ before it for the contrary; "" means all.

    CheckpointError for other names.
    """
    if text is None:
        return USUAL
    found = frozenset(NAMES) if not text.strip(" ,") or text.lstrip().startswith("^") else frozenset[str]()
    for word in text.replace(" ", "").split(","):
        name = word.removeprefix("^")
        if name not in (*NAMES, "all", "none", ""):
            raise CheckpointError(f"--cpu-cap {word}: it is one of fpu, cpu, ins, all and none, with ^ for all but it")
        meant = frozenset(NAMES if name == "all" else ()) if name in ("all", "none", "") else frozenset({name})
        if word.startswith("^"):
            found -= meant
        else:
            found = found | meant if name != "none" else frozenset()
    return found


def describe() -> m.cpuinfo_x86_entry:
    """This processor."""
    from cr.kernel.cpuid import cpuid, enabled_state
    from images import messages as m

    words = [0] * _NR_WORDS
    words[_KERNELS_OWN] = _ALWAYS
    for number, (leaf, subleaf, register) in _WORDS.items():
        words[number] = getattr(cpuid(leaf, subleaf), register)
    family, model, stepping = _signature(cpuid(1).eax)
    state = cpuid(0xD)
    return m.cpuinfo_x86_entry(
        vendor_id=_vendor(), cpu_family=family, model=model, stepping=stepping, capability_ver=_VERSION,
        capability=words, model_id=_brand(), xfeatures_mask=enabled_state() & ~_SSE, xsave_size=state.ebx,
        xsave_size_max=state.ecx,
    )  # fmt: skip


def _signature(eax: int) -> tuple[int, int, int]:
    """(family, model, stepping) of CPUID leaf 1."""
    family, model = eax >> 8 & 0xF, eax >> 4 & 0xF
    if family in (6, 15):
        model |= eax >> 12 & 0xF0
    if family == 15:
        family += eax >> 20 & 0xFF
    return family, model, eax & 0xF


def _vendor() -> m.cpuinfo_x86_entry.vendor:
    from cr.kernel.cpuid import cpuid
    from images import messages as m

    leaf = cpuid(0)
    name = b"".join(word.to_bytes(4, "little") for word in (leaf.ebx, leaf.edx, leaf.ecx))
    known = {b"GenuineIntel": m.cpuinfo_x86_entry.INTEL, b"AuthenticAMD": m.cpuinfo_x86_entry.AMD}
    return known.get(name, m.cpuinfo_x86_entry.UNKNOWN)


def _brand() -> str:
    from cr.kernel.cpuid import cpuid

    text = b"".join(word.to_bytes(4, "little") for leaf in range(0x80000002, 0x80000005) for word in cpuid(leaf))
    return text.rstrip(b"\0 ").decode("ascii", "replace").strip()


def mismatches(there: m.cpuinfo_x86_entry, here: m.cpuinfo_x86_entry, wanted: frozenset[str]) -> list[str]:
    """Why programs that ran `there` may not run `here`."""
    found = []
    known = [n for n in (*_WORDS, _KERNELS_OWN) if n < min(len(there.capability), len(here.capability))]
    lacking = [(n, there.capability[n] & ~here.capability[n]) for n in known]
    if "ins" in wanted and any(bits for _, bits in lacking):
        found.append(f"this processor lacks what that of the images has: {_names(lacking)}")
    others = [(n, there.capability[n] ^ here.capability[n]) for n in known]
    if "cpu" in wanted and any(bits for _, bits in others):
        found.append(f"this processor is not the same as that of the images: {_names(others)}")
    if "fpu" in wanted:
        if bits := there.xfeatures_mask & ~here.xfeatures_mask:
            found.append(f"this processor does not keep all the state that that of the images did (XCR0 {bits:#x})")
        if there.xsave_size > here.xsave_size:
            found.append(f"the state of that processor takes {there.xsave_size} bytes, of this {here.xsave_size}")
    return found


def _names(words: list[tuple[int, int]]) -> str:
    return ", ".join(
        _FEATURES.get((number, bit), f"word {number} bit {bit}")
        for number, bits in sorted(words)
        for bit in range(32)
        if bits >> bit & 1
    )


def write(images: ImageDirectory) -> None:
    """cpuinfo.img."""
    from images import messages as m

    images.write("cpuinfo", entries=[m.cpuinfo_entry(x86_entry=[describe()])])


def write_if_asked(images: ImageDirectory, options: Options) -> None:
    """cpuinfo.img, where --cpu-cap names something that needs it."""
    if capabilities(options.cpu_cap) & IMAGE:
        write(images)


def check(images: ImageDirectory, options: Options) -> None:
    """CheckpointError where the processor of the images is not like this one, in what --cpu-cap asks for."""
    wanted = capabilities(options.cpu_cap)
    if not images.exists("cpuinfo"):
        if options.cpu_cap is not None and wanted & IMAGE:
            raise CheckpointError(
                f"{images.path} has no cpuinfo.img: dump with --cpu-cap, or restore with --cpu-cap=none"
            )
        return
    entry: m.cpuinfo_entry = images.read_one("cpuinfo")
    if len(entry.x86_entry) != 1:
        raise CheckpointError(
            f"cpuinfo.img in {images.path} is not of an x86 processor; --cpu-cap=none does without it"
        )
    if reasons := mismatches(entry.x86_entry[0], describe(), wanted):
        raise CheckpointError(f"{'; '.join(reasons)}; --cpu-cap=none restores nevertheless")


def run(options: Options) -> int:
    """The command `cpuinfo dump` or `cpuinfo check`: 0, or CheckpointError where the processors do not match."""
    if options.operands not in (["dump"], ["check"]):
        raise CheckpointError("cpuinfo is followed by dump or check")
    with ImageDirectory.open(options.images_dir) as images:
        if options.operands == ["dump"]:
            write(images)
        elif not images.exists("cpuinfo"):
            raise CheckpointError(f"{images.path} has no cpuinfo.img: write it with cpuinfo dump there")
        else:
            check(images, options)
    return 0
