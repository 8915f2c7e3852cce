"""Settings in /proc/sys that are lists of numbers.  Those of a namespace are seen by a thread that is in it."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence

from cr.model import CheckpointError

_ROOT = "/proc/sys"
_LACKING = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS)


def read_numbers(files: Mapping[str, str]) -> dict[str, list[int]]:
    """Name -> numbers in the file below /proc/sys; names of settings that this kernel lacks are left out."""
    found = {}
    for name, path in files.items():
        try:
            with open(f"{_ROOT}/{path}") as file:
                found[name] = [int(word) for word in file.read().split()]
        except FileNotFoundError:
            continue
    return found


def write_numbers(files: Mapping[str, str], wanted: Mapping[str, Sequence[int]], *, weak: bool = False) -> None:
    """Write those that differ from what is there; `weak` (--weak-sysctls) leaves out those that cannot be written.

    Raises CheckpointError that names the file.
    """
    now = read_numbers({name: files[name] for name in wanted})
    for name, numbers in wanted.items():
        if now.get(name) == list(numbers):
            continue
        path = f"{_ROOT}/{files[name]}"
        try:
            with open(path, "w") as file:
                file.write(" ".join(str(number) for number in numbers))
        except OSError as error:
            if weak and error.errno in _LACKING:
                continue
            raise CheckpointError(
                f"cannot set {path} to {numbers}: {error.strerror}; --weak-sysctls leaves it out"
            ) from error
