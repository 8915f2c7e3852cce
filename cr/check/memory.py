"""Memory: looking at it, tracking its changes, mapping what cannot be mapped by others."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import struct
from collections.abc import Callable

from cr.check.feature import NEEDED, Feature, apart, calls, lacking
from cr.kernel import pagemap
from cr.kernel.libc import syscall
from cr.kernel.mman import ARCH_MAP_VDSO_64
from cr.kernel.numbers import NUMBERS

_UFFDIO_API = 0xC018AA3F  # _IOWR(0xAA, 0x3F, struct uffdio_api)
_UFFD_API = 0xAA
_EVENTS = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 6  # fork, remap, remove, unmap
_WP_UNPOPULATED, _WP_ASYNC = 1 << 13, 1 << 15
_SOFT_DIRTY = 1 << 55


def _pagemap(report: int) -> Callable[[], None]:
    def probe() -> None:
        fd = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
        try:
            pagemap.scan(fd, 0, 0x10000, any_of=pagemap.PAGE_IS_PRESENT, report=report)
        finally:
            os.close(fd)

    return probe


def _userfaultfd(features: int) -> None:
    """A userfaultfd that grants the features."""
    fd = syscall("userfaultfd", NUMBERS["userfaultfd"], os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _UFFDIO_API, bytearray(struct.pack("<QQQ", _UFFD_API, features, 0)))
    except OSError as error:
        raise lacking(f"userfaultfd(2) lacks features ({features:#x}): {error.strerror}") from error
    finally:
        os.close(fd)


def _dirty_track() -> None:
    """Written pages are told by an asynchronous write protection, or by soft-dirty bits."""
    try:
        _userfaultfd(_WP_ASYNC | _WP_UNPOPULATED)
        _pagemap(pagemap.PAGE_IS_WRITTEN)()
    except OSError as error:
        if not _soft_dirty():
            raise lacking(f"the kernel has neither soft-dirty bits nor UFFD_FEATURE_WP_ASYNC ({error})") from error


def _soft_dirty() -> bool:
    """Whether a page that was just written has the bit in /proc/self/pagemap."""
    with mmap.mmap(-1, mmap.PAGESIZE) as page:
        page[0] = 1
        with open("/proc/self/clear_refs", "w") as file:
            file.write("4")
        page[0] = 2
        with open("/proc/self/pagemap", "rb") as file:
            file.seek(_address(page) // mmap.PAGESIZE * 8)
            return bool(struct.unpack("<Q", file.read(8))[0] & _SOFT_DIRTY)


def _address(page: mmap.mmap) -> int:
    import ctypes

    window = ctypes.c_char.from_buffer(page)
    address = ctypes.addressof(window)
    del window
    return address


def _aio_remap() -> None:
    """Move an AIO ring; the context must be known by its new address."""
    import ctypes

    handle = ctypes.c_ulong(0)
    syscall("io_setup", NUMBERS["io_setup"], 16, ctypes.byref(handle))
    length = _length(handle.value)
    place = syscall("mmap", NUMBERS["mmap"], 0, length, 3, 0x22, -1, 0)
    syscall("mremap", NUMBERS["mremap"], handle.value, length, length, 3, place)  # MAYMOVE | FIXED
    syscall("io_getevents", NUMBERS["io_getevents"], place, 0, 1, None, None)


def _length(start: int) -> int:
    from cr.kernel import proc

    return next(found.end - found.start for found in proc.mappings(os.getpid()) if found.start == start)


def _map_vdso() -> None:
    """We have a vDSO already, so EEXIST is the answer of a kernel that knows the call."""
    try:
        syscall("arch_prctl", NUMBERS["arch_prctl"], ARCH_MAP_VDSO_64, 0)
    except FileExistsError:
        return


def _memfd_hugetlb() -> None:
    os.close(os.memfd_create("woodfrog-check", os.MFD_CLOEXEC | os.MFD_HUGETLB))


def _overlayfs_maps() -> None:
    """/proc/PID/map_files must name the file of the overlay, not of the layer below."""
    from cr.kernel.mounts import MS_PRIVATE, MS_REC, mount
    from cr.kernel.namespaces import CLONE_NEWNS, unshare

    unshare(CLONE_NEWNS)
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    base = "/dev"
    mount("none", base, "tmpfs")
    for name in ("lower", "upper", "work", "merged"):
        os.mkdir(f"{base}/{name}")
    with open(f"{base}/lower/file", "wb") as file:
        file.write(b"x" * mmap.PAGESIZE)
    layers = f"lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work"
    mount("overlay", f"{base}/merged", "overlay", 0, layers)
    fd = os.open(f"{base}/merged/file", os.O_RDONLY)
    with mmap.mmap(fd, mmap.PAGESIZE, prot=mmap.PROT_READ, flags=mmap.MAP_PRIVATE) as mapped:
        _same_file(mapped, os.fstat(fd))


def _same_file(mapped: mmap.mmap, wanted: os.stat_result) -> None:
    from cr.kernel import proc

    found = next(each for each in proc.mappings(os.getpid()) if each.path.endswith("/merged/file"))
    name = f"/proc/self/map_files/{found.start:x}-{found.end:x}"
    there = os.stat(name)
    if (there.st_dev, there.st_ino) != (wanted.st_dev, wanted.st_ino) or mapped.closed:
        raise lacking("mappings of files on overlayfs are shown as those of the layer below")


FEATURES = (
    Feature("map_files", lambda: _list_map_files(), NEEDED),
    Feature("pagemap_scan", _pagemap(0), NEEDED),
    Feature("process_vm_readv", calls("process_vm_readv", -1, None, 0, None, 0, 0, expected=(errno.ESRCH,)), NEEDED),
    Feature("pagemap_scan_guard_pages", _pagemap(pagemap.PAGE_IS_GUARD)),
    Feature("mem_dirty_track", _dirty_track),
    Feature("uffd", lambda: _userfaultfd(0)),
    Feature("uffd-noncoop", lambda: _userfaultfd(_EVENTS)),
    Feature("aio_remap", apart(_aio_remap)),
    Feature("can_map_vdso", _map_vdso),
    Feature("memfd_hugetlb", _memfd_hugetlb),
    Feature("overlayfs_maps", apart(_overlayfs_maps)),
)


def _list_map_files() -> None:
    os.listdir("/proc/self/map_files")
