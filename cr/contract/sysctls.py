"""Settings in /proc/sys that are lists of numbers.  Those of a namespace are seen by a thread that is in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cr.model import CheckpointError

_ROOT = Path("/proc/sys")


def read_numbers(files: Mapping[str, str]) -> dict[str, list[int]]:
    """Name -> numbers in the file below /proc/sys; names of settings that this kernel lacks are left out."""
    found = {}
    for name, path in files.items():
        if (_ROOT / path).exists():
            found[name] = [int(word) for word in (_ROOT / path).read_text().split()]
    return found


def write_numbers(files: Mapping[str, str], wanted: Mapping[str, Sequence[int]]) -> None:
    """Write those that differ from what is there.  Raises CheckpointError that names the file."""
    now = read_numbers({name: files[name] for name in wanted})
    for name, numbers in wanted.items():
        if now.get(name) == list(numbers):
            continue
        path = _ROOT / files[name]
        try:
            path.write_text(" ".join(str(number) for number in numbers))
        except OSError as error:
            raise CheckpointError(f"cannot set {path} to {numbers}: {error.strerror}") from error
