"""What of a network namespace only our own images hold: woodfrog-netns-<ns>.img."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from netns.model import Link, Neighbour
from values import replace

if TYPE_CHECKING:
    from images import messages as m


def extras_message(
    links: Iterable[Link], neighbours: Iterable[Neighbour], settings: Mapping[str, str]
) -> m.woodfrog_netns_entry:
    """One entry; settings by path below /proc/sys/net."""
    from images import messages as m

    entry = m.woodfrog_netns_entry()
    for link in links:
        added = entry.link.add(name=link.name, tx_queue_length=link.tx_queue_length)
        if link.alias:
            added.alias = link.alias
        if link.port:
            added.port = link.port
        for name, value in link.bridge.items():
            added.bridge.add(name=name, value=value)
    for neighbour in neighbours:
        packed = socket.inet_pton(neighbour.family, neighbour.address)
        entry.neighbour.add(
            family=neighbour.family,
            ifindex=neighbour.index,
            address=packed,
            link_address=neighbour.link_address,
            flags=neighbour.flags,
        )
    for path, text in sorted(settings.items()):
        entry.setting.add(path=path, value=text)
    return entry


def with_extras(link: Link, entry: m.woodfrog_netns_entry) -> Link:
    """A link with what is known of it besides."""
    found = next((known for known in entry.link if known.name == link.name), None)
    if found is None:
        return link
    return replace(
        link,
        tx_queue_length=found.tx_queue_length if found.HasField("tx_queue_length") else None,
        alias=found.alias,
        port=found.port,
        bridge={setting.name: setting.value for setting in found.bridge},
    )


def neighbours_of(entry: m.woodfrog_netns_entry) -> tuple[Neighbour, ...]:
    return tuple(
        Neighbour(each.family, each.ifindex, socket.inet_ntop(each.family, each.address), each.link_address, each.flags)
        for each in entry.neighbour
    )


def settings_of(entry: m.woodfrog_netns_entry) -> dict[str, str]:
    """Path below /proc/sys/net -> text."""
    return {each.path: each.value for each in entry.setting}
