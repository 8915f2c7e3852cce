"""The runtime's program as a sealed copy in memory."""

from __future__ import annotations

import errno
import fcntl
import os

import pytest

from runtime import own_copy


def test_a_page_that_the_kernel_still_holds_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a busy machine; another error, and one that stays, is raised."""
    real, answers = fcntl.fcntl, [errno.EBUSY] * 3

    def busy(fd: int, command: int, argument: int = 0) -> int:
        if command == fcntl.F_ADD_SEALS and answers:
            raise OSError(number := answers.pop(), os.strerror(number))
        return real(fd, command, argument)

    monkeypatch.setattr(fcntl, "fcntl", busy)
    copy = own_copy.sealed_copy()
    with pytest.raises(PermissionError):
        os.write(copy, b"x")
    assert os.fstat(copy).st_size == os.stat("/proc/self/exe").st_size
    os.close(copy)
    for wrong in ([errno.EINVAL], [errno.EBUSY] * 1000):
        answers[:] = wrong
        with pytest.raises(OSError, match=os.strerror(wrong[0])):
            own_copy.sealed_copy()
