"""Terminals made again: pseudoterminals with the numbers they had, their settings, what was queued in them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from cr.contract.outside_files import inherited_copy
from cr.contract.socket_options import restore_status
from cr.kernel import proc, terminals
from cr.model import BadImages, CheckpointError
from cr.resources.terminals.terminal_data import put_input, put_output
from cr.values import dataclass, field

if TYPE_CHECKING:
    from cr.contract.restoring import RestoreContext
    from images import messages as m

_ACCESS = os.O_RDWR | os.O_WRONLY
_PTMX = "/dev/ptmx"


@dataclass
class Pair:
    """A pseudoterminal: its master, held until the end, and whether a task had it."""

    index: int
    master: int
    exact: bool = True


@dataclass
class Terminals:
    """The terminals of the images."""

    context: RestoreContext
    infos: dict[int, m.tty_info_entry] = field(default_factory=dict)
    pairs: dict[int, Pair] = field(default_factory=dict)
    """by the slave's info id"""
    settled: set[int] = field(default_factory=set)

    def info(self, number: int) -> m.tty_info_entry:
        if number not in self.infos:
            raise BadImages(f"tty-info.img has no terminal {number}, which tty.img refers to")
        return self.infos[number]


def made_with_mounts(context: RestoreContext) -> dict[tuple[int, int], int]:
    """Masters that were made before any descriptor, by device of their devpts (major << 20 | minor) and number.

    Their slaves are mounted somewhere (/dev/console).
    """
    return context.once(made_with_mounts, dict)


def terminals_of(context: RestoreContext) -> Terminals:
    def read() -> Terminals:
        infos = context.images.read("tty-info") if context.images.exists("tty-info") else []
        return Terminals(context, {info.id: info for info in infos})

    return context.once(Terminals, read)


def build(entry: m.tty_file_entry, context: RestoreContext) -> int:
    """A descriptor of ours of the terminal; its settings are put right when all of it is open."""
    from images import messages as m

    known = terminals_of(context)
    info = known.info(entry.tty_info_id)
    fd = inherited_copy(f"tty[{info.rdev:x}:{info.dev:x}]", context, f"tty[{info.rdev}:{info.dev}]")
    if fd is not None:
        return fd
    if info.type == m.TtyType.EXT_TTY:
        raise CheckpointError(
            f"the terminal {_path(entry, context)} was left outside: give one with "
            f"--inherit-fd fd[N]:tty[{info.rdev:x}:{info.dev:x}]"
        )
    if info.type == m.TtyType.PTY:
        fd = _pseudoterminal(entry, info, known)
    elif info.type == m.TtyType.CTTY:
        fd = _controlling(entry, info, known)
    else:
        fd = _open(entry, context)
    restore_status(fd, entry.flags, entry.fown, context)
    return fd


def _path(entry: m.tty_file_entry, context: RestoreContext) -> str:
    record = context.file_entries.get(entry.regf_id)
    if record is None:
        raise BadImages(f"files.img has no path {entry.regf_id:#x} for terminal {entry.id:#x}")
    return record.reg.name


def _open(entry: m.tty_file_entry, context: RestoreContext) -> int:
    path = _path(entry, context)
    mount = context.file_entries[entry.regf_id].reg.mnt_id
    try:
        return context.open(path, entry.flags & _ACCESS | os.O_NOCTTY | os.O_NONBLOCK, mnt_id=mount)
    except OSError as error:
        raise CheckpointError(f"cannot open the terminal {path}: {error.strerror}") from error


def _is_master(info: m.tty_info_entry) -> bool:
    return bool(info.id % 2)


def _pseudoterminal(entry: m.tty_file_entry, info: m.tty_info_entry, known: Terminals) -> int:
    context = known.context
    if _is_master(info):
        return os.dup(_pair(info, known).master)
    if not info.HasField("termios"):
        return _hung_up(entry, info, known)
    if info.id + 1 not in known.infos and not context.options.orphan_pts_master:
        return _own_terminal(entry, info, context)
    pair = _pair(info, known)
    if _made_with_mounts(info, known) is not None:
        return _open(entry, context)  # the master is on a mount outside of the container, a slave of it would be too
    return terminals.open_slave(pair.master, entry.flags & _ACCESS | os.O_NONBLOCK)


def _pair(info: m.tty_info_entry, known: Terminals) -> Pair:
    """The pseudoterminal that a master or slave belongs to, made at its first use."""
    slave_id = info.id - info.id % 2
    if slave_id not in known.pairs:
        context = known.context
        master = _made_with_mounts(info, known)
        if master is None:
            master = context.keep(allocate(lambda: _open_master(slave_id, context), info.pty.index))
        known.pairs[slave_id] = Pair(info.pty.index, master)
        terminals.set_int(master, terminals.TIOCSPTLCK, 0)
        _give_away(master, slave_id, known)
        context.at_end.append(lambda: _settle(slave_id, known))
    return known.pairs[slave_id]


def _made_with_mounts(info: m.tty_info_entry, known: Terminals) -> int | None:
    slave_id = info.id - info.id % 2
    infos = [known.infos[number] for number in (slave_id, slave_id + 1) if number in known.infos]
    devices = [os.major(info.dev) << 20 | os.minor(info.dev) for info in infos]
    made = made_with_mounts(known.context)
    return next((made[device, info.pty.index] for device in devices if (device, info.pty.index) in made), None)


def _open_master(slave_id: int, context: RestoreContext) -> int:
    """By the path that a master was opened by; else by that of the slave's devpts."""
    master, slave = (_records(number, context) for number in (slave_id + 1, slave_id))
    places = [(record.name, record.mnt_id) for record in master]
    places += [(os.path.join(os.path.dirname(r.name), "ptmx"), r.mnt_id) for r in slave if _is_in_devpts(r.name)]
    for path, mount in [*places, (_PTMX, -1)]:
        try:
            return context.open(path, os.O_RDWR | os.O_NOCTTY, mnt_id=mount)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise CheckpointError(f"cannot make a pseudoterminal with {path}: {error.strerror}") from error
    raise CheckpointError(f"cannot make a pseudoterminal: there is no {_PTMX}")


def _is_in_devpts(name: str) -> bool:
    return os.path.basename(name).isdecimal()


def _records(info_id: int, context: RestoreContext) -> list[m.reg_file_entry]:
    """Under which names a terminal was open."""
    found = (record.tty for record in context.file_entries.values() if record.HasField("tty"))
    regular = (context.file_entries.get(entry.regf_id) for entry in found if entry.tty_info_id == info_id)
    return [record.reg for record in regular if record is not None]


def allocate(open_master: Callable[[], int], index: int) -> int:
    """A master with that number: the kernel gives the lowest free one, so lower ones are taken for the moment."""
    spare: list[int] = []
    try:
        while (got := terminals.index_of(fd := open_master())) < index:
            spare.append(fd)
        if got != index:
            os.close(fd)
            raise CheckpointError(
                f"the pseudoterminal number {index} is in use: close it, or restore into a new devpts"
            )
        return fd
    finally:
        for other in spare:
            os.close(other)


def _give_away(master: int, slave_id: int, known: Terminals) -> None:
    """A master that no task had goes to whoever asked for it."""
    if slave_id + 1 not in known.infos:
        known.context.options.notification("orphan-pts-master", 0, master)


def _hung_up(entry: m.tty_file_entry, info: m.tty_info_entry, known: Terminals) -> int:
    """A slave whose master is gone; its number may belong to another pair by now."""
    master = _open_master(info.id, known.context)
    try:
        terminals.set_int(master, terminals.TIOCSPTLCK, 0)
        return terminals.open_slave(master, entry.flags & _ACCESS | os.O_NONBLOCK)
    finally:
        os.close(master)


def _own_terminal(entry: m.tty_file_entry, info: m.tty_info_entry, context: RestoreContext) -> int:
    """--shell-job: what was the terminal of a shell becomes ours."""
    if not context.options.shell_job:
        raise CheckpointError(
            f"the other end of the terminal {_path(entry, context)} was outside of the tree: "
            f"use --shell-job to give it yours, or --inherit-fd fd[N]:tty[{info.rdev:x}:{info.dev:x}]"
        )
    path = next((f"/proc/self/fd/{number}" for number in (0, 1, 2) if os.isatty(number)), _controlling_terminal())
    if path is None:
        raise CheckpointError(
            "--shell-job needs a terminal: as standard input, output or error, or as our controlling one"
        )
    fd = os.open(path, entry.flags & _ACCESS | os.O_NOCTTY | os.O_CLOEXEC)
    context.at_end.append(lambda: terminals.set_termios(context.file(entry.id), termios(info.termios)))
    return fd


def _controlling_terminal() -> str | None:
    """The path of ours, where it is a pseudo-terminal; None where we have none, or cannot reach it."""
    device = proc.stat("self").terminal
    path = f"/dev/pts/{os.minor(device)}"
    try:
        return path if os.stat(path).st_rdev == device else None
    except FileNotFoundError:
        return None


def _controlling(entry: m.tty_file_entry, info: m.tty_info_entry, known: Terminals) -> int:
    """A descriptor that was opened as /dev/tty: only somebody who has the terminal as his own can open it so."""
    context = known.context
    for other in known.infos.values():
        if other.HasField("pty") and other.sid == info.sid and other.HasField("termios"):
            slave = terminals.open_slave(_pair(other, known).master, os.O_RDWR)
            try:
                return _open_as_owner(slave, lambda: _open(entry, context))
            finally:
                os.close(slave)
    if context.options.shell_job:
        return _open(entry, context)
    raise CheckpointError(
        f"{_path(entry, context)} was open in session {info.sid}, whose terminal is outside of the tree: "
        "use --shell-job"
    )


def _open_as_owner(slave: int, open_terminal: Callable[[], int]) -> int:
    """Let a passing session own the terminal, open it there, and give it up again."""
    import fcntl
    import signal

    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = os.fork()
        if child == 0:
            try:
                os.setsid()
                signal.signal(signal.SIGHUP, signal.SIG_IGN)
                fcntl.ioctl(slave, terminals.TIOCSCTTY, 1)
                socket.send_fds(theirs, [b"."], [open_terminal()])
                fcntl.ioctl(slave, terminals.TIOCNOTTY)
            finally:
                os._exit(0)
        theirs.close()
        _, fds, _, _ = socket.recv_fds(ours, 1, 1)
        os.waitpid(child, 0)
    if not fds:
        raise CheckpointError("a terminal cannot be opened as /dev/tty: that device is missing")
    return fds[0]


def termios(entry: m.termios_entry) -> terminals.Termios:
    cc = b"".join(word.to_bytes(4, "little") for word in entry.c_cc)
    flags = (entry.c_iflag, entry.c_oflag, entry.c_cflag, entry.c_lflag, entry.c_line)
    return terminals.Termios(*flags, cc[: terminals.CONTROL_CHARACTERS].ljust(terminals.CONTROL_CHARACTERS, b"\0"))


def _settle(slave_id: int, known: Terminals) -> None:
    """Queued data and settings, once everything that had it open has it again."""
    master = known.pairs[slave_id].master
    slave_info, master_info = known.infos.get(slave_id), known.infos.get(slave_id + 1)
    info = slave_info or master_info
    assert info is not None  # the pair was made for one of them
    slave = _some_slave(slave_info, known)
    _put_data(slave_id, master, slave, known.context)
    if info.HasField("termios"):
        terminals.set_termios(master, termios(info.termios))
        terminals.set_termios(master, termios(info.termios_locked), locked=True)
        size = info.winsize
        terminals.set_window(master, (size.ws_row, size.ws_col, size.ws_xpixel, size.ws_ypixel))
    if master_info is not None:
        terminals.set_int(master, terminals.TIOCPKT, int(master_info.packet_mode))
        terminals.set_int(master, terminals.TIOCSPTLCK, int(master_info.locked))
    if slave is not None and slave_info is not None:
        _restore_device(slave, slave_info, known.context)
    elif master_info is not None:
        _restore_unopened(master, master_info, known.context)


def _some_slave(info: m.tty_info_entry | None, known: Terminals) -> int | None:
    """A descriptor of ours of the slave, where a task has it open."""
    if info is None:
        return None
    for file_id, record in known.context.file_entries.items():
        if record.HasField("tty") and record.tty.tty_info_id == info.id:
            return known.context.file(file_id)
    return None


def _put_data(slave_id: int, master: int, slave: int | None, context: RestoreContext) -> None:
    if not context.images.exists("tty-data"):
        return
    data = {entry.tty_id: entry.data for entry in context.images.read("tty-data")}
    info = terminals_of(context).infos.get(slave_id)
    if slave is not None and info is not None and data.get(slave_id):
        terminals.set_termios(slave, termios(info.termios))
        put_input(slave, master, data[slave_id])
    put_output(master, slave, data.get(slave_id + 1, b""))


def _restore_unopened(master: int, info: m.tty_info_entry, context: RestoreContext) -> None:
    """Owner and permissions of the file of a slave that nobody has open; only our own images have them."""
    for file_id, record in context.file_entries.items():
        extra = context.extra(file_id)
        if (
            record.HasField("tty")
            and record.tty.tty_info_id == info.id
            and extra is not None
            and extra.HasField("slave")
        ):
            with terminals.slave_file(master) as fd:
                os.chown(f"/proc/self/fd/{fd}", extra.slave.uid, extra.slave.gid)
                os.chmod(f"/proc/self/fd/{fd}", extra.slave.mode)


def _restore_device(slave: int, info: m.tty_info_entry, context: RestoreContext) -> None:
    """Owner and permissions of the device file; exclusive use comes last, it locks others out."""
    os.fchown(slave, info.uid, info.gid)
    for record in context.file_entries.values():
        if record.HasField("tty") and record.tty.tty_info_id == info.id:
            mode = context.file_entries[record.tty.regf_id].reg.mode
            if mode:
                os.fchmod(slave, mode & 0o7777)
    if info.exclusive:
        import fcntl

        fcntl.ioctl(slave, terminals.TIOCEXCL)
