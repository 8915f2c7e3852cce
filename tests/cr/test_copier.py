"""Memory that is copied while its task runs on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cr.dump.copier import Copier
from cr.kernel import batch

PAGE = 4096
PLACE = 0x10000


class Plain:
    """A file that takes what is copied."""

    def __init__(self, path: Path, *, in_one_go: bool) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT)
        self.file = self._file if in_one_go else None

    def store_at(self, content: memoryview, offset: int) -> None:
        os.pwrite(self._file, content, offset)

    def abandon(self) -> None:
        raise AssertionError("it was given up")

    def close(self) -> bytes:
        size = os.fstat(self._file).st_size
        try:
            return os.pread(self._file, size, 0)
        finally:
            os.close(self._file)


@pytest.mark.parametrize("in_one_go", [True, False])
def test_of_a_task_that_has_ended_there_are_zeros(in_one_go: bool, tmp_path: Path) -> None:
    """In a batch of system calls, too, where there is no descriptor to read from."""
    assert batch.possible()
    gone = os.fork()
    if gone == 0:
        os._exit(0)
    os.waitpid(gone, 0)
    output, done = Plain(tmp_path / "pages", in_one_go=in_one_go), list[str]()
    copier = Copier(living=True)
    copier.submit(gone, [(PLACE, PLACE + 3 * PAGE)], output, lambda: done.append("done"))
    copier.finish()
    assert done == ["done"]
    assert output.close() == bytes(3 * PAGE)
