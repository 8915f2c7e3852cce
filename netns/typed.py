"""Saved addresses, routes, rules and neighbours as dataclasses, for people and for decisions."""

from __future__ import annotations

from collections.abc import Iterator

from netns.codec import decode
from netns.model import Address, Neighbour, Route, Rule
from netns.streams import ADDRESSES, ROUTES, RULES, parse
from netns.wire import Message


def addresses(data: bytes) -> list[Address]:
    """The addresses of a stream (see `netns.streams`)."""
    return list(_addresses(parse(ADDRESSES, data)))


def _addresses(messages: list[Message]) -> Iterator[Address]:
    for message in messages:
        seen = decode("address", message.raw)
        address, local = seen.get_attr("IFA_ADDRESS") or "", seen.get_attr("IFA_LOCAL")
        yield Address(
            family=seen["family"],
            local=local or address,
            prefix=seen["prefixlen"],
            index=seen["index"],
            scope=seen["scope"],
            flags=seen.get_attr("IFA_FLAGS") or seen["flags"],
            peer=address if local and local != address else "",
            label=seen.get_attr("IFA_LABEL") or "",
        )


def routes(data: bytes) -> list[Route]:
    """The routes of a stream."""
    found = []
    for message in parse(ROUTES, data):
        seen = decode("route", message.raw)
        found.append(
            Route(
                family=seen["family"],
                destination=seen.get_attr("RTA_DST") or "",
                prefix=seen["dst_len"],
                table=seen.get_attr("RTA_TABLE") or seen["table"],
                protocol=seen["proto"],
                scope=seen["scope"],
                type=seen["type"],
                gateway=seen.get_attr("RTA_GATEWAY") or "",
                out_index=seen.get_attr("RTA_OIF") or 0,
                priority=seen.get_attr("RTA_PRIORITY") or 0,
                source=seen.get_attr("RTA_PREFSRC") or "",
            )
        )
    return found


def rules(data: bytes) -> list[Rule]:
    """The policy rules of a stream; a source or destination as "address/length"."""
    found = []
    for message in parse(RULES, data):
        seen = decode("rule", message.raw)
        source, destination = seen.get_attr("FRA_SRC"), seen.get_attr("FRA_DST")
        found.append(
            Rule(
                family=seen["family"],
                priority=seen.get_attr("FRA_PRIORITY") or 0,
                table=seen.get_attr("FRA_TABLE") or seen["table"],
                action=seen["action"],
                source=f"{source}/{seen['src_len']}" if source else "",
                destination=f"{destination}/{seen['dst_len']}" if destination else "",
                mark=seen.get_attr("FRA_FWMARK") or 0,
            )
        )
    return found


def neighbour(message: Message) -> Neighbour:
    """One message of a dump of neighbours."""
    seen = decode("neighbour", message.raw)
    hardware = seen.get_attr("NDA_LLADDR") or ""
    return Neighbour(
        family=seen["family"],
        index=seen["ifindex"],
        address=seen.get_attr("NDA_DST") or "",
        link_address=bytes.fromhex(hardware.replace(":", "")),
        flags=seen["flags"],
    )
