"""`woodfrog-criu`: the engine's command line."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # nothing is imported before `greet` had its chance
if TYPE_CHECKING:
    from typing import NoReturn

    from cr.commands import Command
    from cr.options import Options

FAILED = 1


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit status says how it went, the log (or standard error) why."""
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["swrk"]:
        from cr.rpc.greeting import greet

        if greet(words[1:]):
            return 0
    return _main(words)


def _main(words: list[str]) -> int:
    from cr.model import CheckpointError

    try:
        command, options = understand(words)
        if options.version:
            return _version()
        if options.help or command is None:
            return _help(command, wanted=options.help)
    except CheckpointError as error:
        print(f"woodfrog-criu: {error}", file=sys.stderr)
        return FAILED
    return perform(command, options)


def understand(words: list[str]) -> tuple[Command | None, Options]:
    """Command and options of a command line and of the configuration files that apply; the command line wins."""
    from cr.arguments import apply, read
    from cr.configuration import gather
    from cr.model import CheckpointError
    from cr.options import Options

    line = read(words)
    alone = apply(line.settings, Options())
    options, wanted = Options(), not (alone.help or alone.version)
    if wanted:
        found = gather(alone.config, defaults=not alone.no_default_config, environment=os.environ)
        apply(read(found, line.command).settings, options)
    apply(line.settings, options)
    if line.operands and line.command is not None and not line.command.operands:
        raise CheckpointError(f"{line.command.name} does not know what to do with {line.operands[0]!r}")
    options.operands = line.operands
    return line.command, options


def _version() -> int:
    """First what criu it can stand for, in the words by which callers know one; then what it is."""
    from importlib.metadata import PackageNotFoundError, version

    from cr.rpc.greeting import MAJOR, MINOR

    print(f"Version: {MAJOR}.{MINOR}")
    try:
        print(f"Woodfrog: {version('woodfrog')}")
    except PackageNotFoundError:
        print("Woodfrog: a working copy, not installed")
    return 0


def _help(command: Command | None, *, wanted: bool) -> int:
    from cr.help import of_command, overview

    print(of_command(command) if command else overview(), end="", file=sys.stdout if wanted else sys.stderr)
    return 0 if wanted else FAILED


def perform(command: Command, options: Options) -> int:
    """Run a command with the log open; every failure ends in one sentence a reason and status 1."""
    from cr import log
    from cr.contradictions import check
    from cr.reporting import open_log

    try:
        _close(options)
        check(command.name, options)
        _look_at_inherited(options)
        if command.logs:
            open_log(options)
        return command.load()(options)
    except Exception as error:
        _report(command, error)
        return FAILED
    finally:
        log.close_log()


def _close(options: Options) -> None:
    """--close: descriptors that whoever started us left open."""
    from cr.model import CheckpointError

    for text in options.close:
        try:
            os.close(int(text))
        except (ValueError, OSError) as error:
            raise CheckpointError(f"--close {text}: that is no open descriptor") from error


def _look_at_inherited(options: Options) -> None:
    """--inherit-fd: what is not open now is going to be a file of ours, which nobody meant."""
    if not options.inherit_fd:
        return
    from cr.contract.outside import demand_open, inherited

    for name, number in inherited(options.inherit_fd).items():
        demand_open(name, number)


def _report(command: Command, error: BaseException) -> None:
    """In the log; and on standard error, where the log is a file."""
    from cr import log
    from cr.reporting import report

    reasons = report(command.doing, error)
    if not log.to_standard_error():
        for reason in reasons:
            print(f"woodfrog-criu: {reason}", file=sys.stderr)


def command() -> NoReturn:
    """The console script."""
    from cr.entry import run_command

    run_command(main)


if __name__ == "__main__":
    command()
