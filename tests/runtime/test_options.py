"""Command lines in Go's manner."""

from __future__ import annotations

import importlib

import pytest

from runtime.main import VERBS, general_help, load_verb
from runtime.options import Option, UsageError, Verb, parse

ROWS = (
    Option("bundle", "b", short="b"),
    Option("detach", "d", "flag", short="d"),
    Option("env", "e", "list", short="e"),
    Option("preserve-fds", "p", "int"),
)


@pytest.mark.parametrize("words", [["--bundle", "x"], ["--bundle=x"], ["-bundle", "x"], ["-b", "x"], ["-b=x"]])
def test_spellings_of_a_value(words: list[str]) -> None:
    assert parse(words, ROWS, stop=True)[0]["bundle"] == "x"


def test_flags_lists_and_numbers() -> None:
    values, rest = parse(["-d", "-e", "A=1", "--env=B=2", "--preserve-fds", "3", "id"], ROWS, stop=False)
    assert (values["detach"], values["env"], values["preserve_fds"], rest) == (True, ["A=1", "B=2"], 3, ["id"])
    assert parse(["--detach=false"], ROWS, stop=True)[0]["detach"] is False


def test_where_options_end() -> None:
    assert parse(["id", "-d"], ROWS, stop=True) == (parse([], ROWS, stop=True)[0], ["id", "-d"])
    values, rest = parse(["id", "-d"], ROWS, stop=False)
    assert (values["detach"], rest) == (True, ["id"])
    assert parse(["--", "-d"], ROWS, stop=False)[1] == ["-d"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--foo"], "flag provided but not defined: -foo"),
        (["--bundle"], "flag needs an argument: -bundle"),
        (["--preserve-fds", "x"], 'invalid value "x" for flag -preserve-fds: parse error'),
        (["--detach=maybe"], 'invalid boolean value "maybe" for -detach: parse error'),
    ],
)
def test_errors(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=f"^{message}$"):
        parse(words, ROWS, stop=True)


def test_lists_are_not_shared_between_parses() -> None:
    parse(["-e", "A=1"], ROWS, stop=True)
    assert parse([], ROWS, stop=True)[0]["env"] == []


@pytest.mark.parametrize(
    ("verb", "words", "message"),
    [
        (Verb("v", "u"), [], 'woodfrog: "v" requires exactly 1 argument(s)'),
        (Verb("v", "u", minimum=1, maximum=2), ["a", "b", "c"], "requires a maximum of 2 argument(s)"),
        (Verb("v", "u", minimum=1, maximum=None), [], "requires a minimum of 1 argument(s)"),
    ],
)
def test_counts_of_arguments(verb: Verb, words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        verb.parse(words)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", sorted(VERBS))
def test_every_verb_declares_itself(name: str) -> None:
    verb, run = load_verb(name)
    assert verb.name == name
    assert callable(run)
    assert verb.usage in verb.help()
    assert f"   {name} " in general_help()
    module = importlib.import_module(f"runtime.verbs.{name.replace('-', '_')}")
    assert (module.__doc__ or "").startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("verb", "options"),
    [
        (
            "checkpoint",
            "image-path work-path parent-path leave-running tcp-established ext-unix-sk shell-job lazy-pages "
            "status-fd page-server file-locks pre-dump manage-cgroups-mode empty-ns own-network auto-dedup",
        ),
        (
            "restore",
            "console-socket image-path work-path tcp-established ext-unix-sk shell-job file-locks "
            "manage-cgroups-mode bundle detach pid-file no-subreaper no-pivot empty-ns own-network auto-dedup "
            "lazy-pages lsm-profile lsm-mount-context remap-ip remap-port hostname",
        ),
        ("create", "bundle console-socket pid-file no-pivot no-new-keyring preserve-fds pidfd-socket"),
        (
            "exec",
            "console-socket cwd env tty user additional-gids process detach pid-file process-label apparmor "
            "no-new-privs cap preserve-fds cgroup ignore-paused pidfd-socket",
        ),
    ],
)
def test_the_options_that_callers_use_are_there(verb: str, options: str) -> None:
    assert set(options.split()) == {option.name for option in load_verb(verb)[0].options}
