"""`woodfrog-criu`: the engine's command line."""

from __future__ import annotations

import argparse
import os
import sys
from typing import NoReturn

from cr import log
from cr.arguments import options as options_of
from cr.arguments import parse
from cr.command import run
from cr.model import CheckpointError
from cr.options import Options

FAILED = 1


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit status says how it went, the log (or standard error) why."""
    words = sys.argv[1:] if arguments is None else arguments
    if words and words[0] in ("-V", "--version"):
        return _version()
    try:
        namespace = _with_configuration(words)
    except CheckpointError as error:
        print(f"woodfrog-criu: {error}", file=sys.stderr)
        return FAILED
    options = options_of(namespace)
    if namespace.command == "check":
        from cr.check import check

        return check(namespace.feature)
    return _run(namespace.command, options)


def _with_configuration(words: list[str]) -> argparse.Namespace:
    """The command line, behind the options of the configuration files."""
    from cr.configuration import gather

    namespace = parse(words)
    found = gather(namespace.config, defaults=not namespace.no_default_config, environment=os.environ)
    if not found:
        return namespace
    place = 1 if words[0] == namespace.command else 0
    return parse([*words[:place], *found, *words[place:]])


def _version() -> int:
    from importlib.metadata import version

    print(f"Version: {version('woodfrog')}")
    return 0


def _run(command: str, options: Options) -> int:
    from images.errors import ImageError

    try:
        _open_log(options)
        return _COMMANDS[command](options)
    except (CheckpointError, ImageError, OSError) as error:
        _report(command, error)
        return FAILED
    except Exception as error:  # the last resort: a defect of ours, but nobody shall have to read a traceback
        log.trace(error)
        text = f"unexpected {type(error).__name__}: {error}; see where with -v4, and report it"
        _report(command, CheckpointError(text))
        return FAILED
    finally:
        log.close_log()


def _open_log(options: Options) -> None:
    directory = options.work_dir or options.images_dir
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise CheckpointError(f"the directory {directory} cannot be used: {error.strerror}; make it first") from error
    try:
        log.open_log(options.log_file, fd, options.verbosity)
    finally:
        os.close(fd)


def _report(command: str, error: BaseException) -> None:
    """One sentence a reason, in the log; and on standard error, where the log is a file."""
    from cr.model import Refused

    reasons = error.reasons if isinstance(error, Refused) else [str(error)]
    for reason in reasons:
        log.error(reason)
        for text in getattr(error, "__notes__", []):
            log.error(f"  {text}")
    verb = {"dump": "Dumping", "restore": "Restoring"}[command]
    log.error(f"{verb} FAILED.")
    if not log.to_standard_error():
        for reason in reasons:
            print(f"woodfrog-criu: {reason}", file=sys.stderr)


def _dump(options: Options) -> int:
    from cr.api import dump_tree
    from cr.stats import show_dump

    if not options.tree:
        raise CheckpointError("dump needs the pid of the tree's root: use -t PID")
    report = dump_tree(options)
    if options.display_stats:
        show_dump(report)
    return 0


def _restore(options: Options) -> int:
    from cr.api import restore_tree
    from cr.guard import interruptible
    from cr.stats import show_restore

    with interruptible():
        report = restore_tree(options)
    for step in report.steps:
        print(step)
    if options.dry_run:
        return 0
    if options.display_stats:
        show_restore(report)
    if options.restore_detached:
        return 0
    _, status = os.waitpid(report.pid, 0)
    return os.waitstatus_to_exitcode(status) & 0xFF


_COMMANDS = {"dump": _dump, "restore": _restore}


def command() -> NoReturn:
    """The console script."""
    run(main)


if __name__ == "__main__":
    command()
