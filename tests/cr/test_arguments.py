"""The command line is read as getopt_long reads it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cr.arguments import parse
from cr.commands import COMMANDS
from cr.contract.outside import Outside
from cr.model import CheckpointError
from cr.options import Options, rows

MANUAL = """
--action-script --address --all --allow-uprobes --auto-dedup --cgroup-dump-controller --cgroup-props
--cgroup-props-file --cgroup-props-ignore-default --cgroup-root --cgroup-yard --close --config --cpu-cap
--daemon --display-stats --empty-ns --enable-external-masters --enable-external-sharing --enable-fs
--evasive-devices --exec-cmd --experimental --ext-mount-map --ext-unix-sk --external --extra --feature
--file-locks --file-validation --force-irmap --freeze-cgroup --ghost-fiemap --ghost-limit --help --images-dir
--inherit-fd --irmap-scan-path --join-ns --lazy-pages --leave-running --leave-stopped --libdir --link-remap
--log-file --log-pid --lsm-mount-context --lsm-profile --manage-cgroups --mntns-compat-mode --network-lock
--no-default-config --page-server --pidfile --port --pre-dump-mode --prev-images-dir --ps-socket
--restore-detached --restore-sibling --root --shell-job --skip-file-rwx-check --skip-in-flight --skip-mnt
--status-fd --stream --tcp-close --tcp-established --timeout --tls --tls-cacert --tls-cacrl --tls-cert
--tls-key --tls-no-cn-verify --track-mem --tree --unprivileged --verbosity --version --veth-pair
--weak-sysctls --work-dir
"""
"""Every long option of the manual pages of criu 2.x to 4.2."""


def test_every_option_of_the_manual_pages_is_known() -> None:
    known = {row.flag for row in rows()}
    assert not set(MANUAL.split()) - known
    letters = {row.short for row in rows()}
    assert {f"-{letter}" for letter in "dSsRthDovxVrjJlWLM"} <= letters


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


WORDS = st.one_of(
    st.sampled_from([row.flag for row in rows()] + [f"-{letter}" for letter in "dSsRthDovxVrjJlWLM"]),
    st.sampled_from([*COMMANDS, "--", "-", "--no-tcp-close", "-v4", "7", "full", "fd[3]:x"]),
    st.text(max_size=8),
)


@given(st.lists(WORDS, max_size=8))
def test_any_line_is_understood_or_refused_with_a_sentence(words: list[str]) -> None:
    try:
        _, found = parse(words)
    except CheckpointError as error:
        assert str(error) and "\n" not in repr(str(error))
    else:
        assert isinstance(found.tree, int) and isinstance(found.external, list)


@given(st.sampled_from(["external", "ext_mount_map", "veth_pair", "inherit_fd", "join_ns"]), st.text(max_size=20))
def test_any_resource_is_understood_or_refused_with_a_sentence(option: str, text: str) -> None:
    try:
        Outside.of(Options(**{option: [text]}))
    except CheckpointError as error:
        assert str(error).startswith("--")
