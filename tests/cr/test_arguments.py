"""The command line is read as getopt_long reads it."""

from __future__ import annotations

import pytest

from cr.arguments import parse
from cr.commands import COMMANDS
from cr.model import CheckpointError
from cr.options import Options


def options(*words: str) -> Options:
    return parse(words)[1]


@pytest.mark.parametrize(
    ("words", "level"),
    [
        ([], 2),
        (["-v"], 3),
        (["-vv"], 4),
        (["-v0"], 0),
        (["-v", "4"], 4),
        (["-verbosity=0"], 0),
        (["--verbosity"], 3),
        (["--verbosity=4"], 4),
        (["--verbosity", "3"], 3),
        (["-v1", "-v"], 2),
        (["-Rv4"], 4),
    ],
)
def test_verbosity(words: list[str], level: int) -> None:
    assert options("dump", *words).verbosity == level


def test_words_in_any_order() -> None:
    command, found = parse(["-D", "here", "dump", "-t7", "--work-dir=there", "-Rj", "--file-locks"])
    assert command is COMMANDS["dump"]
    assert (found.images_dir, found.tree, found.work_dir) == ("here", 7, "there")
    assert (found.leave_running, found.shell_job, found.file_locks) == (True, True, True)


def test_negation_and_abbreviation() -> None:
    found = options("dump", "--tcp-est", "--file-locks", "--no-file-locks", "--external", "a", "--external", "b")
    assert (found.tcp_established, found.file_locks, found.external) == (True, False, ["a", "b"])


def test_optional_values() -> None:
    assert options("dump", "--manage-cgroups", "-t", "1").manage_cgroups == ""
    assert options("dump", "--manage-cgroups=full").manage_cgroups == "full"
    assert options("dump", "--manage-cgroups", "full").manage_cgroups == "full"
    assert options("--manage-cgroups", "dump").manage_cgroups == ""
    assert options("dump", "-x42,43").ext_unix_sk == "42,43"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["dump", "--nonsense"], "there is no option --nonsense"),
        (["dump", "--file-lock"], None),
        (["dump", "--tcp-estblished"], "is --tcp-established meant"),
        (["dump", "--ext"], "--ext can mean --ext-mount-map, --ext-unix-sk, --external"),
        (["dump", "-q"], "there is no option -q"),
        (["dump", "-Rq"], "no option -q in -Rq"),
        (["dump", "-t"], "-t needs a value: PID"),
        (["dump", "-t", "x"], "-t: 'x' is not a number"),
        (["dump", "--ghost-limit", "1X"], "--ghost-limit: '1X' is not a size"),
        (["dump", "--file-locks=1"], "--file-locks takes no value"),
        (["dump", "-vq"], "not a log level"),
        (["jump"], "there is no command 'jump'"),
        (["dump", "stray"], "dump does not know what to do with 'stray'"),
    ],
)
def test_sentences(words: list[str], sentence: str | None) -> None:
    if sentence is None:
        assert options(*words).file_locks
        return
    with pytest.raises(CheckpointError, match=sentence):
        parse(words)
