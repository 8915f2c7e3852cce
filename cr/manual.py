"""woodfrog-criu(8), made from the tables of commands, options, external resources and notification points.

`python -m cr.manual` prints it; docs/woodfrog-criu.8 is what it printed last, which a test holds.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from cr.check.feature import CATEGORIES
from cr.commands import COMMANDS
from cr.configuration import PERSONAL, SYSTEM
from cr.contract.outside import FORMS
from cr.help import spelling
from cr.option_row import Row
from cr.options import EVERY, rows
from cr.scripts import EVENTS

_EXTERNAL = {
    "mnt": "a bind mount: at dump the mountpoint and the name that the images get for it, at restore that name and the "
    "path on the host; mnt[] finds them by itself, with the flags m also slaves of outer mounts, with s shared ones",
    "dev": "a file system on a block device: its numbers and a name at dump, that name and a device file at restore",
    "file": "an open file that the container cannot name: its mount id and inode in hexadecimal, as --inherit-fd "
    "takes them (decimal numbers are understood too)",
    "tty": "a terminal that stays outside: st_rdev and st_dev, in hexadecimal; --inherit-fd gives another one",
    "unix": "a unix socket whose other end is outside; it comes back connected where that end has a name, or as "
    "--inherit-fd says",
    "net": "a network namespace that exists already at restore: --inherit-fd fd[N]:NAME hands it over",
    "pid": "a pid namespace that exists already at restore: --inherit-fd fd[N]:NAME hands it over",
    "veth": "at restore: the name of the outer end of a veth device, and the bridge that it is put into",
    "macvlan": "at restore: the device outside that a macvlan device belongs to",
    "netdev": "a network device that is moved in from outside at restore",
}
_EXIT = {
    "0": "it was done; a restore that was not detached comes back when the root task has ended, however it did",
    "1": "it failed, or a feature is missing; each reason is a line of its own in the log, and on standard error",
}
_VARIABLES = {
    "CRTOOLS_SCRIPT_ACTION": "the notification point",
    "CRTOOLS_IMAGE_DIR": "the directory of the images",
    "CRTOOLS_INIT_PID": "the pid of the root task, as soon as there is one",
}
_EXAMPLES = {
    "Checkpoint the program with pid 1234, and bring it back:": (
        "woodfrog-criu dump -D checkpoint -t 1234",
        "woodfrog-criu restore -D checkpoint -d",
    ),
    "Let it run on, and keep its TCP connections and file locks:": (
        "woodfrog-criu dump -D checkpoint -t 1234 -R --tcp-established -l",
    ),
    "Ask what this kernel can do:": ("woodfrog-criu check --all",),
}
_ABOUT = (
    "woodfrog-criu saves a process tree as a directory of image files (dump) and makes the tree again from "
    "them (restore), later, elsewhere or many times. Images, options and messages are those of criu(8)."
)
_ORDER = (
    "Options and the command may stand in any order. Long options may be abbreviated. Those without a value "
    "are negated by --no- before their name. Of an option that may be given several times all are meant, of "
    "others the last."
)
_INHERIT = (
    "--inherit-fd fd[N]:RESOURCE gives our open descriptor N for pipe:[INODE], socket:[INODE], tty[RDEV:DEV], "
    "file[MNT_ID:INODE], /memfd:NAME, the path of a file, or the name of an external namespace."
)


def page() -> str:
    """The manual page, in the language of man(7)."""
    lines = ['.\\" Made by `python -m cr.manual`.  Do not edit.', '.TH WOODFROG\\-CRIU 8 "" Woodfrog', ".nh"]
    for title, body in _sections():
        lines += [f".SH {title}", *body]
    return "\n".join(lines) + "\n"


def _sections() -> Iterator[tuple[str, Iterable[str]]]:
    features = {f"Category {number}": f"{title.lower()}." for number, title in CATEGORIES.items()}
    yield "NAME", [r"woodfrog\-criu \- checkpoint and restore of process trees"]
    yield "SYNOPSIS", [r".B woodfrog\-criu", r".I command", r"[\fIoption\fR ...]"]
    yield "DESCRIPTION", _text(_ABOUT)
    yield "COMMANDS", _list({f"{c.name} {c.operands}".strip(): c.help for c in COMMANDS.values()})
    yield "OPTIONS", [*_text(_ORDER), *_options()]
    yield "EXTERNAL RESOURCES", _external()
    yield "ACTION SCRIPTS", _scripts()
    yield "CONFIGURATION FILES", _configuration()
    yield "FEATURES", [*_text("What check looks at is of one of these categories:"), *_list(features)]
    yield "EXIT STATUS", _list(_EXIT)
    yield "EXAMPLES", _examples()
    yield "SEE ALSO", [r".BR woodfrog (1),", r".BR criu (8)"]


def _external() -> list[str]:
    return [
        *_text("What --external says, by the kind of resource:"),
        *_list({form.written: _EXTERNAL[kind] for kind, form in FORMS.items()}),
        *_text(_INHERIT),
    ]


def _scripts() -> list[str]:
    return [
        *_text("A script is run at each of these points; where one fails, the dump or restore fails:"),
        *_list(EVENTS),
        *_text("It finds in its environment:"),
        *_list(_VARIABLES),
    ]


def _options() -> Iterator[str]:
    groups: dict[frozenset[str], list[Row]] = {}
    for row in rows():
        groups.setdefault(row.commands, []).append(row)
    for commands, members in groups.items():
        yield f".SS {_escape(_title(commands))}"
        yield from _list({spelling(row): _explained(row) for row in members})


def _title(commands: frozenset[str]) -> str:
    if commands == EVERY:
        return "Of every command"
    names = [name for name in COMMANDS if name in commands]
    return "Of " + (" and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0])


def _explained(row: Row) -> str:
    several = " (may be repeated)" if row.kind == "list" and "repeated" not in row.help else ""
    return f"{row.help}{several}."


def _configuration() -> list[str]:
    places = [*SYSTEM, *(f"$HOME/{name}" for name in PERSONAL), "$CRIU_CONFIG_FILE", "the file of --config"]
    return [
        *_text("Options are read from these files, in this order, and then from the command line; later ones win:"),
        *_list(dict.fromkeys(places, "")),
        *_text(
            "A line holds one option without its dashes, and its value behind a blank, in double quotes where it holds "
            "blanks. The rest of a line behind # is a comment."
        ),
    ]


def _examples() -> Iterator[str]:
    for title, commands in _EXAMPLES.items():
        yield from _text(title)
        yield from [".nf", *(f"    {_escape(command)}" for command in commands), ".fi"]


def _list(items: dict[str, str]) -> list[str]:
    lines: list[str] = []
    for head, text in items.items():
        lines += [".TP", rf"\fB{_escape(head)}\fR", *([_escape(text)] if text else [])]
    return lines


def _text(paragraph: str) -> list[str]:
    return [".PP", _escape(paragraph)]


def _escape(text: str) -> str:
    text = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{text}" if text.startswith((".", "'")) else text


if __name__ == "__main__":
    sys.stdout.write(page())
