"""The `woodfrog` command: global options, then one verb, whose file is imported only when it is asked for."""

from __future__ import annotations

import os
import sys

from cr.entry import run_command
from runtime.errors import ContainerError, reason
from runtime.options import Option, UsageError, Verb, option_lines, parse
from runtime.own_copy import VERBS as VERBS_FROM_COPY
from runtime.own_copy import run_from_copy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn

    from runtime.context import Context
    from runtime.report import Reporter

VERSION = "0.1.0"

VERBS: dict[str, str] = {
    "checkpoint": "checkpoint a running container",
    "create": "create a container",
    "criu-shim": "write a program named criu, which is woodfrog-criu, into a directory",
    "delete": "delete any resources held by the container",
    "events": "display container events such as OOM notifications, cpu, memory, and IO usage statistics",
    "exec": "execute new process inside the container",
    "features": "show the enabled features",
    "hook": "be an OCI hook that restores or keeps a checkpoint, or write its files for hooks.d",
    "kill": "send a signal (default: SIGTERM) to the container's init process",
    "list": "list containers started with the given root",
    "pause": "suspend all processes inside the container",
    "ps": "display the processes running inside a container",
    "restore": "restore a container from a previous checkpoint",
    "resume": "resume all processes that have been paused",
    "run": "create and run a container",
    "spec": "create a new specification file",
    "start": "execute the user defined process in a created container",
    "startup-snapshot": "write these programs once more, with a start of some milliseconds, into a directory",
    "state": "output the state of a container",
    "update": "update container resource constraints",
}

GLOBAL = (
    Option("debug", "enable debug logging", "flag"),
    Option("log", "set the log file (default: standard error)"),
    Option("log-format", "set the log format ('text' or 'json')", default="text"),
    Option("root", "directory for the state of containers (should be in a tmpfs)"),
    Option("criu", "a program to freeze and thaw with in place of our own engine: criu, or what speaks its RPC"),
    Option("checkpoints", "directory below which annotations may name checkpoints (default: /var/lib/woodfrog)"),
    Option("systemd-cgroup", "systemd cgroup support; cgroupsPath has the form slice:prefix:name", "flag"),
    Option("rootless", "ignore cgroup permission errors ('true', 'false', or 'auto')", default="auto"),
    Option("version", "print the version", "flag", short="v"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the result is its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        values, rest = parse(words, GLOBAL, stop=True)
    except UsageError as err:
        return _usage(str(err), general_help(), _reporter())
    if argv is None and rest and rest[0] in VERBS_FROM_COPY:
        run_from_copy()  # first of all: what is imported before it, is imported twice
    if values["version"]:
        return _say(f"woodfrog version {VERSION}\nspec: 1.0.2-dev\n")
    if values["help"] or not rest or rest[0] in ("help", "h"):
        return _say(general_help())
    try:
        reporter = _reporter(values["log"], values["log_format"], values["debug"])
    except OSError as err:
        _reporter().fatal(f"cannot open the log file {reason(err)}")
        return 1
    return _dispatch(rest[0], rest[1:], values, reporter)


def _reporter(*arguments: Any) -> Reporter:
    from runtime.report import Reporter

    return Reporter(*arguments)


def _dispatch(name: str, words: list[str], values: dict[str, Any], reporter: Reporter) -> int:
    from oci.validate import InvalidDocument
    from runtime.context import Context

    if name not in VERBS:
        reporter.fatal(f"No help topic for '{name}'")
        return 3
    verb, run = load_verb(name)
    try:
        options, arguments = verb.parse(words)
    except UsageError as err:
        return _usage(str(err), verb.help(), reporter)
    if options["help"]:
        return _say(verb.help())
    try:
        return run(Context.of(values, reporter), options, arguments)
    except UsageError as err:
        return _usage(str(err), verb.help(), reporter)
    except (ContainerError, InvalidDocument) as err:
        reporter.fatal(_prefix(name) + str(err))
    except OSError as err:
        reporter.fatal(_prefix(name) + reason(err))
    except KeyboardInterrupt:
        reporter.fatal(_prefix(name) + "interrupted")
        return 130
    except Exception as err:  # the last resort: a defect of ours, but nobody shall have to read a traceback
        reporter.trace(err)
        reporter.fatal(_prefix(name) + f"unexpected {type(err).__name__}: {err}; see it with --debug, and report it")
    return 255 if name == "exec" else 1


def load_verb(name: str) -> tuple[Verb, Callable[[Context, dict[str, Any], list[str]], int]]:
    """The declaration and the function of a verb."""
    from importlib import import_module

    module = import_module(f"runtime.verbs.{name.replace('-', '_')}")
    return module.VERB, module.run


def _prefix(name: str) -> str:
    if name in ("create", "run"):
        return f"woodfrog {name} failed: "
    return "exec failed: " if name == "exec" else ""


def _say(text: str) -> int:
    os.write(1, text.encode())
    return 0


def _usage(message: str, usage: str, reporter: Reporter) -> int:
    os.write(1, f"Incorrect Usage: {message}\n\n{usage}".encode())
    reporter.fatal(message)
    return 1


def general_help() -> str:
    """The text of `woodfrog --help`."""
    width = max(map(len, VERBS))
    lines = ["NAME:", "   woodfrog - run, freeze and thaw containers (OCI runtime)", "", "USAGE:"]
    lines += ["   woodfrog [global options] command [command options] [arguments...]", "", "COMMANDS:"]
    lines += [f"   {name:{width}}  {usage}" for name, usage in VERBS.items()]
    return "\n".join([*lines, "", *option_lines(GLOBAL, "GLOBAL OPTIONS:")]) + "\n"


def command() -> NoReturn:
    """The console script."""
    run_command(main)


if __name__ == "__main__":
    command()
