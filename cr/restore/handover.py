"""Open files go from us to the puppets: over one socket with SCM_RIGHTS, then to their numbers."""

from __future__ import annotations

import array
import os
import socket

from cr.contract.restoring import RestoreContext, RestoreThread
from cr.remote.foothold import PROGRAM_OFFSET
from cr.remote.program import Program
from cr.restore.chain import Chain
from cr.values import dataclass

MAX_PER_MESSAGE = 250  # the kernel's SCM_MAX_FD is 253
O_CLOEXEC = os.O_CLOEXEC


@dataclass(frozen=True)
class Placement:
    """A descriptor of ours and the number that it gets in the puppet."""

    ours: int
    target: int
    cloexec: bool


class Channel:
    """A socket pair: our end, and the end that every puppet inherits as descriptor `NUMBER`."""

    NUMBER = 0

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()

    def send(self, descriptors: list[int]) -> None:
        rights = array.array("i", descriptors)
        self.ours.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])

    def give(self, program: Program, descriptors: list[int]) -> list[int]:
        """Send descriptors to the one puppet that will run `program`; its call that takes them, their numbers there."""
        self.send(descriptors)
        receive(program, len(descriptors))
        return lowest_free(len(descriptors))


def lowest_free(count: int) -> list[int]:
    """The numbers that a table holding nothing but the channel gives to `count` new descriptors."""
    return list(range(Channel.NUMBER + 1, Channel.NUMBER + 1 + count))


def receive(program: Program, count: int) -> None:
    """Calls that take `count` descriptors out of one message; they get the lowest free numbers."""
    control = program.buffer(16 + (4 * count + 7) // 8 * 8)
    byte = program.buffer(1)
    vector = program.words(byte, 1)
    header = program.words(0, 0, vector, 1, control, control.size, 0)
    program.call("recvmsg", Channel.NUMBER, header, 0, note=f"{count} descriptors")


def place(thread: RestoreThread, placements: list[Placement], context: RestoreContext, channel: Channel) -> None:
    """Give the puppet exactly these descriptors; the channel is closed in it."""
    placements = sorted(placements, key=lambda placement: placement.target)
    for start in range(0, len(placements), MAX_PER_MESSAGE):
        batch = placements[start : start + MAX_PER_MESSAGE]
        channel.send([placement.ours for placement in batch])
        program = Program()
        receive(program, len(batch))
        context.run(thread, program)
    chain = Chain(context.foothold.size - PROGRAM_OFFSET)
    chain.call("close", Channel.NUMBER)
    slots = lowest_free(len(placements))
    for slot, placement in reversed(list(zip(slots, placements, strict=True))):
        if slot < placement.target:
            _move(chain, slot, placement)
    for slot, placement in zip(slots, placements, strict=True):
        if slot > placement.target:
            _move(chain, slot, placement)
        elif slot == placement.target and placement.cloexec:
            chain.call("fcntl", slot, 2, 1, note="F_SETFD, FD_CLOEXEC")
    for program in chain.programs:
        context.run(thread, program)


def _move(chain: Chain, slot: int, placement: Placement) -> None:
    chain.call("dup3", slot, placement.target, O_CLOEXEC if placement.cloexec else 0)
    chain.call("close", slot)
