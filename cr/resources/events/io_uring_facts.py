"""What /proc/PID/fdinfo tells of a ring of io_uring(7)."""

from __future__ import annotations

from collections.abc import Iterator

from cr.kernel.patterns import pattern
from cr.values import dataclass, field

LINK = "anon_inode:[io_uring]"
_WORD = pattern(r"^(\w+):[ \t]*(\S*)")
_ITEM = pattern(r"^ {0,4}(\d+): (.*)$")
_MASK = 0xFFFFFFFF


@dataclass
class Facts:
    """Counts of 32 bits; `files` are paths, `buffers` (address, length), both by index."""

    words: dict[str, str]
    files: dict[int, str] = field(default_factory=dict)
    buffers: dict[int, tuple[int, int]] = field(default_factory=dict)
    polls: int = 0
    overflow: int = 0
    personalities: int = 0

    def _number(self, name: str) -> int:
        return int(self.words.get(name, "0"), 0)

    @property
    def sq_entries(self) -> int:
        return self._number("SqMask") + 1

    @property
    def cq_entries(self) -> int:
        return self._number("CqMask") + 1

    @property
    def submitted(self) -> int:
        return self._number("CachedSqHead")

    @property
    def completed(self) -> int:
        return self._number("CachedCqTail")

    @property
    def files_room(self) -> int:
        return self._number("UserFiles")

    @property
    def buffers_room(self) -> int:
        return self._number("UserBufs")

    def obstacles(self) -> Iterator[str]:
        """What does not change from one moment to the next."""
        if self._number("SqThread") > 0:
            yield "is an io_uring with a polling thread of the kernel (IORING_SETUP_SQPOLL): use it without"
        if self.personalities:
            yield "is an io_uring with registered credentials (IORING_REGISTER_PERSONALITY): unregister them"
        if self.words.get("NAPI", "disabled") != "disabled":
            yield "is an io_uring that polls network devices (IORING_REGISTER_NAPI): unregister that"

    @property
    def waiting(self) -> int:
        """Requests without a completion."""
        return (self.submitted - self.completed) & _MASK

    def unfinished(self) -> Iterator[str]:
        """Requests that the kernel is still busy with."""
        waiting = self.waiting
        if waiting or self.polls or self.overflow:
            yield (
                f"is an io_uring with requests in flight ({waiting} of {self.submitted}, {self.polls} of them wait "
                f"for a file): let the program finish or cancel them"
            )


def parse(text: str) -> Facts | None:
    """None where the ring was in use just then: the kernel shows nothing of it."""
    facts, section = Facts({}), ""
    for line in text.splitlines():
        item = _ITEM.match(line)
        word = _WORD.match(line)
        if word:
            section = word[1]
            facts.words[section] = word[2]
        elif section == "UserFiles" and item:
            facts.files[int(item[1])] = item[2]
        elif section == "UserBufs" and item and item[2] != "<none>":
            address, _, length = item[2].partition("/")
            facts.buffers[int(item[1])] = int(address, 16), int(length)
        else:
            facts.polls += section == "PollList"
            facts.overflow += section == "CqOverflowList"
            facts.personalities += section == "Personalities"
    return facts if "SqMask" in facts.words else None
