"""What a failure is said to be."""

from __future__ import annotations

import errno

from cr.model import CheckpointError, Refused
from cr.reporting import report


def test_each_reason_is_a_sentence() -> None:
    assert report("Dumping", Refused(["one", "two"])) == ["one", "two"]
    assert report("Dumping", CheckpointError("no such process")) == ["no such process"]
    assert "report it" in report("Dumping", KeyError(7))[0]


def test_too_many_files_are_told_with_a_way_out() -> None:
    error = CheckpointError("fd 7 cannot be had")
    error.__cause__ = OSError(errno.EMFILE, "pidfd_getfd: Too many open files")
    for each in (error, error.__cause__):
        assert "raise the hard limit of open files" in report("Dumping", each)[0]
