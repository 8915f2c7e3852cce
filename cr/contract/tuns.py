"""What the files that are attached to tun and tap devices tell their network namespaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cr.values import dataclass

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext


@dataclass(frozen=True)
class Attached:
    """Sizes in bytes, which only a descriptor knows: of the header in front of packets, of the send buffer."""

    header: int
    send_buffer: int


def attached(context: DumpContext) -> dict[tuple[int, str], Attached]:
    """(number of the network namespace in the images, name) -> what is known of a device with a user in the tree."""
    return context.once(attached, dict)
