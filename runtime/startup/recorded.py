"""What runs in the interpreter that is recorded: import everything, wait, and go on as another process.

python -m runtime.startup.recorded      (by recorder.py, which stops it in `_sleep`)
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import pkgutil

import images
import values
from runtime.startup import freshness, wake
from runtime.startup.layout import SOCKET

PACKAGES = ("runtime", "cr", "oci", "cgroups", "netns", "images")
LIBRARIES = (
    *(
        "pyroute2",
        "jsonschema",
        "referencing",
        "yaml",
        "zstandard",
        "lz4.frame",
        "elftools.elf.elffile",
        "rich.progress",
    ),
    *(
        "argparse",
        "base64",
        "dataclasses",
        "datetime",
        "glob",
        "importlib.metadata",
        "json",
        "pathlib",
        "random",
        "shutil",
    ),
    *("subprocess", "tarfile", "tempfile", "threading", "traceback", "uuid"),
)
"""What commands import where they need it.  No cryptography: its random numbers must not be recorded."""
_NOT_MODULES = ("runtime.startup.plain", "images.schema.", "images.regenerate")
_PR_GET_TID_ADDRESS = 40


def main() -> None:
    """Never returns."""
    images.lean = True
    import_all()
    addresses = _addresses()
    stamps = freshness.stamps()
    gc.collect()
    gc.freeze()  # the collector leaves what is here alone: looking at it would copy every page
    _sleep(json.dumps(addresses).encode())
    wake.wake(stamps)


def import_all() -> None:
    """All modules of the project, the libraries, and what these make at their first use."""
    for name in LIBRARIES:
        importlib.import_module(name)
    for package in PACKAGES:
        path = importlib.import_module(package).__path__
        for module in pkgutil.walk_packages(path, f"{package}."):
            if not module.name.startswith(_NOT_MODULES) and not module.name.endswith(".__main__"):
                importlib.import_module(module.name)
    _warm_up()


def _warm_up() -> None:
    """What commands work out at its first use, and what does not depend on the machine's state."""
    from cr.contract import filesystem, plugins, resource, vma
    from cr.kernel import patterns
    from images import messages
    from images.schema.index import MODULES

    for name in MODULES:
        getattr(messages, name)
    resource.fd_resources()
    resource.namespace_resources()
    for leader in (True, False):
        resource.task_resources(leader=leader)
    vma.vma_resources()
    filesystem.filesystems()
    plugins.any_installed()  # new ones make the snapshot stale
    for thing in gc.get_objects():
        if isinstance(thing, patterns.Pattern):
            thing.compiled()
        elif isinstance(thing, type) and "__values__" in vars(thing):
            values.specialise(thing)


def _addresses() -> dict[str, int]:
    """Addresses that only the process itself knows, and the number of its threads."""
    libc = ctypes.CDLL(None)
    tid, head, size = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_size_t()
    libc.prctl(_PR_GET_TID_ADDRESS, ctypes.byref(tid), 0, 0, 0)
    libc.syscall(274, 0, ctypes.byref(head), ctypes.byref(size))  # get_robust_list
    return {
        "clear_child_tid": tid.value or 0,
        "robust_list": head.value or 0,
        "curbrk": ctypes.addressof(ctypes.c_void_p.in_dll(libc, "__curbrk")),
        "threads": len(os.listdir("/proc/self/task")),
    }


def _sleep(message: bytes) -> None:
    """Say that all is ready, and wait in read(2), which returns in another process."""
    libc = ctypes.CDLL(None)
    answer = ctypes.create_string_buffer(1)
    os.write(SOCKET, message)
    libc.read(SOCKET, answer, 1)


if __name__ == "__main__":
    main()
