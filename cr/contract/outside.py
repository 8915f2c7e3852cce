"""What the user says about things that stay outside of the images, in one place.

    --external KIND[KEY]:VALUE    left out at dump, given at restore; `FORMS` lists every kind
    --ext-mount-map KEY:VALUE     the older spelling of --external mnt[KEY]:VALUE
    --veth-pair INNER=OUTER       the older spelling of --external veth[INNER]:OUTER
    --inherit-fd fd[N]:RESOURCE   the open descriptor that stands for a resource at restore
    --join-ns KIND:PID|FILE       the namespace into which the tree is restored
    --empty-ns KIND               the namespace whose content is somebody else's business

External namespaces: `--external net[INODE]:NAME` at dump writes NAME into the image, `--inherit-fd fd[N]:NAME` at
restore says which open descriptor of ours it is (criu(8)).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cr import log
from cr.kernel.namespaces import FLAGS
from cr.kernel.patterns import pattern
from cr.model import CheckpointError
from cr.values import dataclass, field

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext
    from cr.contract.restoring import RestoreContext
    from cr.options import Options

_EXTERNAL = pattern(r"([a-z]+)\[(.*?)\](?::(.*))?", re.DOTALL)
_INHERIT = pattern(r"fd\[(\d+)\]:(.+)", re.DOTALL)
_OLD_NAME = pattern(r"(pipe|socket)\[(\d+)\]")
_JOIN = pattern(r"([a-z]+):([^,]+)(?:,(\d+),(\d+))?")
_PAIR = r"[0-9a-fA-F]+:[0-9a-fA-F]+"
JOINABLE = ("net", "uts", "ipc", "time", "user", "mnt", "cgroup")


@dataclass(frozen=True)
class Form:
    """What a kind of --external looks like: the pattern of its key, whether a value must follow, and how it is told."""

    key: str
    value: bool
    written: str


FORMS = {
    "mnt": Form(r".*", False, "mnt[MOUNTPOINT]:NAME, mnt[NAME]:PATH, or mnt[]:FLAGS"),
    "dev": Form(r".+", True, "dev[MAJOR/MINOR]:NAME, or dev[NAME]:FILE"),
    "file": Form(_PAIR, False, "file[MNT_ID:INODE]"),
    "tty": Form(_PAIR, False, "tty[RDEV:DEV]"),
    "unix": Form(r"\d+", False, "unix[INODE]"),
    "net": Form(r"\d+", True, "net[INODE]:NAME"),
    "pid": Form(r"\d+", True, "pid[INODE]:NAME"),
    "veth": Form(r".+", False, "veth[INNER]:OUTER or veth[INNER]:OUTER@BRIDGE"),
    "macvlan": Form(r".+", True, "macvlan[INNER]:OUTER"),
    "netdev": Form(r".+", True, "netdev[INNER]:OUTER"),
}


@dataclass(frozen=True)
class Joined:
    """One --join-ns: the kind, the file that names the namespace, for a user namespace the ids to take there."""

    kind: str
    path: str
    uid: int | None = None
    gid: int | None = None


@dataclass
class Outside:
    """The options of one dump or restore, sorted out; values are "" where none was given."""

    external: dict[str, dict[str, str]]
    """kind -> key -> value"""
    inherited: dict[str, int]
    """resource, as the images call it -> descriptor of ours"""
    joined: list[Joined]
    empty: frozenset[str]
    links: list[str] = field(default_factory=list)
    """what concerns links of a network, as netns.externals reads it"""

    @classmethod
    def of(cls, options: Options) -> Outside:
        """Read the options; CheckpointError with how to write the one that is wrong."""
        found: dict[str, dict[str, str]] = {kind: {} for kind in FORMS}
        for kind, key, value in map(parse_external, filter(_is_resource, options.external)):
            found[kind][key] = value
        for key, value in map(_mapping, options.ext_mount_map):
            found["mnt"][key] = value
        links = [text for text in options.external if text.startswith(("veth[", "macvlan["))]
        links += map(_veth_pair, options.veth_pair)
        return cls(found, inherited(options.inherit_fd), joined(options.join_ns), _empty(options.empty_ns), links)

    def name(self, kind: str, *keys: str) -> str | None:
        """KIND[KEY] as the user wrote it, if one of the spellings of its key was given."""
        return next((f"{kind}[{key}]" for key in keys if key in self.external[kind]), None)

    def namespace(self, kind: str, inode: int) -> str | None:
        """The name that --external KIND[INODE]:NAME gives to a namespace of the tree."""
        return self.external[kind].get(str(inode))


def outside(context: DumpContext | RestoreContext) -> Outside:
    """What the options of this dump or restore say."""
    return context.once(Outside, lambda: Outside.of(context.options))


def _is_resource(text: str) -> bool:
    """LXC passes the label of --lsm-profile a second time, as an external resource, which is none."""
    found = "[" in text or text.partition(":")[0] in FORMS
    if not found:
        log.info(f"--external {text} names no resource, and is left out")
    return found


def parse_external(text: str) -> tuple[str, str, str]:
    """("mnt", "/dev", "NAME") of "mnt[/dev]:NAME"."""
    match = _EXTERNAL.fullmatch(text)
    form = FORMS.get(text.partition("[")[0])
    if form is None:
        raise CheckpointError(f"--external {text}: the kinds are {', '.join(f'{kind}[]' for kind in FORMS)}")
    if match is None or not re.fullmatch(form.key, match[2], re.DOTALL) or (form.value and not match[3]):
        raise CheckpointError(f"--external {text}: write it as {form.written}")
    return match[1], match[2], match[3] or ""


def _mapping(text: str) -> tuple[str, str]:
    """--ext-mount-map KEY:VALUE, or auto."""
    if text == "auto":
        return "", ""
    key, colon, value = text.partition(":")
    if not colon or not key:
        raise CheckpointError(f"--ext-mount-map {text}: write it as KEY:VALUE, or auto")
    return key, value


def _veth_pair(text: str) -> str:
    inner, equals, outer = text.partition("=")
    if not equals or not inner:
        raise CheckpointError(f"--veth-pair {text}: write it as INNER=OUTER, or INNER=OUTER@BRIDGE")
    return f"veth[{inner}]:{outer}"


def inherited(options: Iterable[str]) -> dict[str, int]:
    """--inherit-fd fd[N]:RESOURCE as resource -> descriptor of ours; pipe[7] and pipe:[7] are the same."""
    found: dict[str, int] = {}
    for text in options:
        match = _INHERIT.fullmatch(text)
        if match is None:
            raise CheckpointError(f"--inherit-fd {text}: write it as fd[NUMBER]:RESOURCE")
        old = _OLD_NAME.fullmatch(match[2])
        found[f"{old[1]}:[{old[2]}]" if old else match[2]] = int(match[1])
    return found


def demand_open(name: str, number: int) -> None:
    """CheckpointError where --inherit-fd names a descriptor that is none."""
    try:
        os.fstat(number)
    except OSError as error:
        raise CheckpointError(f"--inherit-fd fd[{number}]:{name}: that descriptor is not open") from error


def joined(options: Iterable[str]) -> list[Joined]:
    """--join-ns KIND:PID or KIND:FILE, for a user namespace user:FILE,UID,GID."""
    found: list[Joined] = []
    for text in options:
        match = _JOIN.fullmatch(text)
        if match is not None and match[1] == "pid":
            raise CheckpointError(
                f"--join-ns {text}: a pid namespace is handed over with --external pid[INODE]:NAME at dump and "
                "--inherit-fd fd[N]:NAME at restore"
            )
        if match is None or match[1] not in JOINABLE or (match[3] and match[1] != "user"):
            raise CheckpointError(
                f"--join-ns {text}: write it as KIND:PID or KIND:FILE, KIND one of {', '.join(JOINABLE)}; "
                "user:FILE,UID,GID says the ids to take there"
            )
        kind, place, uid, gid = match.groups()
        path = f"/proc/{place}/ns/{kind}" if place.isdigit() else place
        found.append(Joined(kind, path, None if uid is None else int(uid), None if gid is None else int(gid)))
    return found


def _empty(options: Iterable[str]) -> frozenset[str]:
    for kind in options:
        if kind != "net":
            raise CheckpointError(f"--empty-ns {kind}: only the net namespace can be restored empty")
    return frozenset(options)


def open_joined(join: Joined) -> int:
    """A descriptor of the namespace; close-on-exec."""
    from cr.kernel.namespaces import namespace_type

    try:
        fd = os.open(join.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise CheckpointError(f"--join-ns {join.kind}: cannot open {join.path}: {error.strerror}") from error
    try:
        if namespace_type(fd) == FLAGS[join.kind]:
            return fd
    except OSError:
        pass  # no namespace at all: said below
    os.close(fd)
    raise CheckpointError(f"--join-ns {join.kind}: {join.path} is no {join.kind} namespace")
