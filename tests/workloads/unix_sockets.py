"""Unix sockets of all kinds, with data in them, talk on as if nothing had happened."""

from __future__ import annotations

import array
import os
import socket
import stat
import struct
import sys

from lib import COMMON, DIRECTORY, workload

STREAM, DGRAM, SEQPACKET = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET
UNIX = socket.AF_UNIX


def connected(address: str, kind: int = STREAM) -> tuple[socket.socket, socket.socket, socket.socket]:
    listener, client = socket.socket(UNIX, kind), socket.socket(UNIX, kind)
    listener.bind(address)
    listener.listen(3)
    client.connect(address)
    return listener, client, listener.accept()[0]


with workload() as check:
    os.chdir(DIRECTORY)
    stream, seq, dgram = (socket.socketpair(UNIX, kind) for kind in (STREAM, SEQPACKET, DGRAM))
    stream[0].send(b"one")
    stream[0].send(b"two")
    stream[1].send(b"back" * 20000)
    for pair in (seq, dgram):
        pair[0].send(b"first")
        if "twice" not in sys.argv:
            pair[0].send(b"")  # which only the first look finds
        pair[0].send(b"third")

    relative = connected("relative")
    os.chmod("relative", 0o640)
    absolute = connected(str(DIRECTORY / "absolute"), SEQPACKET)
    abstract = connected(f"\0woodfrog-{os.getpid()}")
    deleted = connected("deleted")
    os.unlink("deleted")
    renamed = {} if COMMON else {"near": "near.new", str(DIRECTORY / "new" / "far"): str(DIRECTORY / "far.new")}
    (DIRECTORY / "new").mkdir()
    moved = {path: connected(name) for path, name in renamed.items()}
    for path, name in renamed.items():
        os.rename(name, path)
    if not COMMON:
        renamed["linked"] = "linked.new"
        moved["linked"] = connected("linked.new")
        os.link("linked.new", "linked")
        os.unlink("linked.new")
    orphan = connected("orphan")
    orphan[0].close()
    waiting = socket.socket(UNIX)
    waiting.connect("relative")

    busy = socket.socket(UNIX)
    busy.bind("busy")
    busy.listen(5)
    eager = [socket.socket(UNIX) for _ in range(4 if "busy" in sys.argv else 0)]
    for number, client in enumerate(eager):
        client.connect("busy")
        if number != 1:
            client.send(b"request %d" % number)
        if number == 2:
            client.close()

    half = socket.socketpair()
    half[0].send(b"rest")
    half[0].shutdown(socket.SHUT_WR)
    widow = socket.socketpair()
    widow[0].send(b"legacy")
    widow[0].close()

    server = socket.socket(UNIX, DGRAM)
    server.bind("server")
    clients = [socket.socket(UNIX, DGRAM) for _ in range(2)]
    clients[1].bind("client")
    for number, client in enumerate(clients):
        client.connect("server")
        client.send(b"%d" % number)
    for name in (f"\0gone-{os.getpid()}", "gone"):
        gone = socket.socket(UNIX, DGRAM)
        gone.bind(name)
        gone.sendto(b"from the past", "server")
        gone.close()
    os.unlink("gone")
    lonely = socket.socketpair(UNIX, DGRAM)
    lonely[0].send(b"will")
    lonely[0].close()

    carrier = socket.socketpair(UNIX, DGRAM)
    inside, outside = os.pipe(), os.open("/dev/null", os.O_WRONLY)
    os.close(outside)
    file = os.open("carried", os.O_RDWR | os.O_CREAT)
    os.write(file, b"carried")
    rights = array.array("i", [file, carrier[0].fileno()])
    carrier[0].sendmsg([b"look"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    os.close(file)
    os.close(inside[0])
    os.close(inside[1])

    witness = socket.socketpair(UNIX, DGRAM)
    witness[1].setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    witness[0].send(b"who")
    os.chdir("/")

    check.wait()

    check.equal(stream[1].recv(100), b"onetwo", "stream data")
    check.equal(len(stream[0].recv(80000, socket.MSG_WAITALL)), 80000, "length of the long stream data")
    for pair in (seq, dgram):
        packets = [b"first", b"third"] if "twice" in sys.argv else [b"first", b"", b"third"]
        check.equal([pair[1].recv(100) for _ in packets], packets, "packets")
        pair[1].send(b"pong")
        check.equal(pair[0].recv(100), b"pong", "packet after the restore")
    for what, (listener, client, accepted) in {
        "relative": relative,
        "absolute": absolute,
        "abstract": abstract,
        "deleted": deleted,
    }.items():
        check.equal(client.getpeername(), listener.getsockname(), f"peer name of {what}")
        check.equal(accepted.getsockname(), listener.getsockname(), f"name of accepted {what}")
        client.send(b"hello")
        check.equal(accepted.recv(100), b"hello", f"data over {what}")
    check.equal(relative[0].getsockname(), "relative", "relative name")
    check.equal(stat.S_IMODE((DIRECTORY / "relative").stat().st_mode), 0o640, "mode of the socket's file")
    check.that(not (DIRECTORY / "deleted").exists(), "the deleted name is back")
    for path, (listener, client, accepted) in moved.items():
        check.equal(listener.getsockname(), renamed[path], "the name of a socket whose file was renamed")
        check.that(not (DIRECTORY / renamed[path]).exists(), "the former name is back")
        client.send(b"hello")
        check.equal(accepted.recv(100), b"hello", "data over a connection to a renamed socket")
        late = socket.socket(UNIX)
        late.connect(str(DIRECTORY / path))
        late.send(b"late")
        listener.settimeout(5)
        check.equal(listener.accept()[0].recv(100), b"late", "data over a new connection by the new name")
    check.equal(orphan[1].getpeername(), "orphan", "name of a listener that is gone")
    orphan[2].send(b"still")
    check.equal(orphan[1].recv(100), b"still", "data from an accepted socket without listener")
    late = relative[0].accept()[0]
    waiting.send(b"finally")
    check.equal(late.recv(100), b"finally", "data over a connection that waited")
    newcomer = socket.socket(UNIX)
    newcomer.connect(str(DIRECTORY / "relative"))
    check.that(relative[0].accept(), "no new connection")

    for number, client in enumerate(eager):
        busy.settimeout(5)
        served = busy.accept()[0]
        served.settimeout(5)
        who = struct.unpack("3i", served.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        check.equal(who, (os.getpid(), os.getuid(), os.getgid()), f"peer of connection {number}")
        if number == 1:
            client.send(b"request 1")
        check.equal(served.recv(100), b"request %d" % number, "a request that waited")
        if number == 2:
            check.equal(served.recv(100), b"", "what comes from a client that is gone")
        else:
            served.send(b"answer")
            check.equal(client.recv(100), b"answer", "the answer to a request that waited")

    check.equal([half[1].recv(100), half[1].recv(100)], [b"rest", b""], "half-shut connection")
    half[1].send(b"other way")
    check.equal(half[0].recv(100), b"other way", "the open half")
    check.equal([widow[1].recv(100), widow[1].recv(100)], [b"legacy", b""], "what a dead peer sent")

    check.equal(server.recvfrom(100), (b"0", None), "datagram of an unnamed client")
    check.equal(server.recvfrom(100), (b"1", "client"), "datagram of a named client")
    past = [server.recvfrom(100) for _ in range(2)]
    names = [f"\0gone-{os.getpid()}".encode(), "gone"]
    check.equal(past, [(b"from the past", name) for name in names], "datagrams of named clients that are gone")
    server.sendto(b"re", str(DIRECTORY / "client"))
    check.equal(clients[1].recv(100), b"re", "answer by name")
    clients[0].send(b"again")
    check.equal(server.recv(100), b"again", "datagram after the restore")
    check.equal(lonely[1].recv(100), b"will", "datagram of a dead peer")

    data, control, _, _ = carrier[1].recvmsg(100, 1000)
    fds = array.array("i", control[0][2])
    check.equal((data, os.pread(fds[0], 100, 0)), (b"look", b"carried"), "carried file")
    socket.socket(fileno=fds[1]).send(b"myself")
    check.equal(carrier[1].recv(100), b"myself", "a socket that carried itself")

    data, control, _, _ = witness[1].recvmsg(100, 1000)
    who = struct.unpack("3i", control[0][2])
    check.equal((data, who), (b"who", (os.getpid(), os.getuid(), os.getgid())), "credentials")
