"""The talk between a command and the init process that it makes: one JSON object a message, in lock step.

The child's writing end is close-on-exec: end of file tells the parent that exec has happened.
"""

from __future__ import annotations

import json
import os

from runtime.errors import ContainerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LIMIT = 4000  # below PIPE_BUF, so that a message is written and read as one


class Channel:
    """Two pipes; each side closes what is not its own."""

    def __init__(self) -> None:
        self._from_child, self._to_parent = os.pipe2(os.O_CLOEXEC)
        self._from_parent, self._to_child = os.pipe2(os.O_CLOEXEC)

    @classmethod
    def ended(cls) -> Channel:
        """The parent's side of a talk that is over: there is nothing to be received."""
        channel = cls()
        channel.become_parent()
        return channel

    def become_child(self) -> None:
        """After the fork, in the child."""
        os.close(self._from_child)
        os.close(self._to_child)
        self._receive, self._send = self._from_parent, self._to_parent

    def become_parent(self) -> None:
        """After the fork, in the parent."""
        os.close(self._from_parent)
        os.close(self._to_parent)
        self._receive, self._send = self._from_child, self._to_child

    def close(self) -> None:
        """Close our ends."""
        os.close(self._receive)
        os.close(self._send)

    def send(self, **message: Any) -> None:
        """Send one message.  Raises ContainerError if there is nobody any more."""
        raw = json.dumps(message).encode()
        if len(raw) > _LIMIT:
            raw = json.dumps({"error": raw.decode()[: _LIMIT // 4]}).encode()
        try:
            os.write(self._send, raw + b"\n")
        except BrokenPipeError as err:
            raise ContainerError(f"the other side ended before {message.get('kind', 'an error')!r} was sent") from err

    def receive(self) -> dict[str, Any] | None:
        """The next message; None when the other side has ended or exec'd.

        Raises ContainerError with the child's words if it failed.
        """
        line = bytearray()
        while not line.endswith(b"\n"):
            byte = os.read(self._receive, 1)
            if not byte:
                return None
            line += byte
        message: dict[str, Any] = json.loads(line)
        if "error" in message:
            raise ContainerError(message["error"])
        return message

    def expect(self, kind: str) -> dict[str, Any]:
        """The next message, which must be of this kind."""
        message = self.receive()
        if message is None:
            raise ContainerError(f"the other side ended while {kind!r} was awaited")
        if message.get("kind") != kind:
            raise ContainerError(f"got {message.get('kind')!r} while {kind!r} was awaited")
        return message

    def ask(self, kind: str, **more: Any) -> None:
        """Send a message and wait for the other side's go."""
        self.send(kind=kind, **more)
        self.expect("go")

    def go(self) -> None:
        """Let the other side go on."""
        self.send(kind="go")
