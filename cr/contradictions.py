"""Options that make no sense together, or with the command: one sentence each, before anything is touched."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from cr.model import CheckpointError
from cr.options import Options, rows
from cr.values import dataclass

_DUMP = ("dump", "pre-dump")


@dataclass(frozen=True)
class Rule:
    """For these commands, options for which `clash` is true are refused with the sentence."""

    commands: tuple[str, ...]
    clash: Callable[[Options], bool]
    sentence: str


RULES = (
    Rule(_DUMP, lambda o: not o.tree, "needs the pid of the tree's root: use -t PID"),
    Rule(
        ("dump",),
        lambda o: o.leave_running and o.leave_stopped,
        "--leave-running and --leave-stopped contradict each other: the tasks run on, or they are stopped",
    ),
    Rule(
        ("dump",),
        lambda o: o.lazy_pages and o.leave_running,
        "--lazy-pages and --leave-running contradict each other: the pages stay with the tasks for another tree",
    ),
    Rule(
        ("dump",),
        lambda o: o.tcp_established and o.tcp_close,
        "--tcp-established and --tcp-close contradict each other: connections are kept, or they come back closed",
    ),
    Rule(
        ("dump", "restore"),
        lambda o: bool(o.enable_fs) and any(text.startswith("dev[") for text in o.external),
        "--enable-fs and --external dev[] contradict each other: a device is mounted anew, or it is handed over",
    ),
    Rule(
        ("restore",),
        lambda o: o.exec_cmd and not o.operands,
        "--exec-cmd needs a command: write it behind --, as in `restore --exec-cmd -- sh -c 'wait'`",
    ),
    Rule(
        ("restore",),
        lambda o: o.exec_cmd and o.restore_sibling,
        "--exec-cmd and --restore-sibling contradict each other: the command becomes the parent of the root task, "
        "or our parent does",
    ),
    Rule(
        (*_DUMP, "restore"),
        lambda o: o.stream,
        "--stream: images are not streamed; write them into a directory",
    ),
)


def check(command: str, options: Options) -> None:
    """CheckpointError with the first thing that is wrong."""
    if options.status_fd >= 0:
        try:
            os.fstat(options.status_fd)
        except OSError as error:
            raise CheckpointError(f"--status-fd {options.status_fd}: that is no open descriptor") from error
    for sentence in _found(command, options):
        raise CheckpointError(sentence)


def _found(command: str, options: Options) -> Iterator[str]:
    for row in rows():
        value = getattr(options, row.name)
        if row.choices and value and value not in row.choices:
            yield f"{row.flag} {value}: it is one of {', '.join(row.choices)}"
    for rule in RULES:
        if command in rule.commands and rule.clash(options):
            yield rule.sentence if rule.sentence.startswith("-") else f"{command}: {rule.sentence}"
