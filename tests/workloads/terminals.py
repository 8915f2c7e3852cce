"""A pseudoterminal with a session on it: settings, queues and the controlling terminal are kept."""

from __future__ import annotations

import fcntl
import os
import pty
import stat
import struct
import termios
import tty

from lib import COMMON, somebody, workload

TIOCGPTN, TIOCGSID, TIOCGPTPEER = 0x80045430, 0x5429, 0x5441


def number(fd: int, request: int) -> int:
    return struct.unpack("i", fcntl.ioctl(fd, request, bytes(4)))[0]


with workload() as check:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 33, 77, 0, 0))
    index = number(master, TIOCGPTN)

    raw_master, raw_slave = pty.openpty()
    tty.setraw(raw_slave)
    settings = termios.tcgetattr(raw_slave)
    os.write(raw_master, b"typed")
    os.write(raw_slave, b"printed")

    settings_of_lines = termios.tcgetattr(slave)
    os.write(master, b"a line\nhalf a l")
    check.equal(os.read(master, 100), b"a line\r\nhalf a l", "echo before the dump")

    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        own = os.open("/dev/tty", os.O_RDWR)
        os.read(told, 1)
        good = os.tcgetpgrp(own) == os.getpid() and number(slave, TIOCGSID) == os.getpid()
        os._exit(0 if good else 1)

    lost_master, lost_slave = pty.openpty()
    os.close(lost_master)

    unopened, once = pty.openpty()
    unopened_name = os.ttyname(once)
    if not COMMON:
        os.chown(once, *somebody(1234, 4321))
        os.chmod(once, 0o604)
    os.close(once)

    def unopened_file() -> tuple[int, int, int]:
        found = os.stat(unopened_name)
        return stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid

    of_unopened = unopened_file()

    closed = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    kept = os.dup(closed)
    os.set_inheritable(kept, True)

    check.wait()

    check.equal(unopened_file(), of_unopened, "mode and owner of a slave that nobody has open")
    check.equal((os.get_inheritable(closed), os.get_inheritable(kept)), (False, True), "what execve leaves open")
    check.equal(number(master, TIOCGPTN), index, "number of the pseudoterminal")
    size = struct.unpack("4H", fcntl.ioctl(slave, termios.TIOCGWINSZ, bytes(8)))
    check.equal(size[:2], (33, 77), "window size")
    check.equal(termios.tcgetattr(raw_slave), settings, "raw settings")
    check.equal(termios.tcgetattr(slave), settings_of_lines, "settings of a terminal with lines")
    check.equal((os.read(raw_slave, 100), os.read(raw_master, 100)), (b"typed", b"printed"), "queued data")
    check.equal(os.read(slave, 100), b"a line\n", "a line that was typed")
    os.write(master, b"ine\n")
    check.equal(os.read(slave, 100), b"half a line\n", "a line of which half was typed")
    os.write(tell, b".")
    check.equal(os.waitpid(child, 0)[1], 0, "state of the session on the terminal")
    try:
        check.equal(os.read(lost_slave, 1), b"", "reading a terminal whose master is gone")
    except OSError as error:
        check.equal(error.errno, 5, "error of a terminal whose master is gone")
