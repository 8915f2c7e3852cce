"""`woodfrog-criu check`: whether this kernel has what the engine needs, each thing tried, not guessed.

A feature is one line of a table in the file of its subject; its probe raises OSError where the kernel lacks it.  The
names are those of criu, where it has one for the thing.
"""

from __future__ import annotations

import sys

from cr.check.feature import CATEGORIES, EXPERIMENTAL, EXTRA, NEEDED, Feature, problem
from cr.options import Options

ALIASES = {"mem_track": "mem_dirty_track", "lazy_pages": "uffd-noncoop", "network_lock_ipt": "network_lock_iptables"}
"""Names that callers use for features of the tables."""


def features() -> dict[str, Feature]:
    """All features, by name."""
    from cr.check import files, memory, namespaces, network, processes, sockets

    tables = (processes, memory, files, sockets, namespaces, network)
    return {feature.name: feature for table in tables for feature in table.FEATURES}


def lacks(name: str) -> str:
    """Why a feature cannot be used here; empty where it can.  KeyError for a name that is none."""
    return problem(features()[ALIASES.get(name, name)])


def run(options: Options) -> int:
    """The command: 0 where all that was asked for is there."""
    if options.feature:
        return max(_one(name) for name in options.feature)
    wanted = [NEEDED]
    wanted += [EXTRA] if options.extra or options.all else []
    wanted += [EXPERIMENTAL] if options.experimental or options.all else []
    return _report(wanted)


def _one(name: str) -> int:
    if name == "list":
        print("\n".join(sorted(features())))
        return 0
    try:
        why = lacks(name)
    except KeyError:
        why = "there is no feature of that name: --feature list shows them"
    if why:
        print(f"woodfrog-criu: {name}: {why}", file=sys.stderr)
        return 1
    print(f"{name} is supported")
    return 0


def _report(wanted: list[int]) -> int:
    """What is missing, category by category, and the verdict in the manual page's words."""
    missing: dict[int, dict[str, str]] = {}
    for category in wanted:
        known = [feature for feature in features().values() if feature.category == category]
        found = {feature.name: why for feature in known if (why := problem(feature))}
        if len(wanted) > 1 or found:
            print(f"{CATEGORIES[category]}: {len(known) - len(found)} of {len(known)} are there")
        for name, why in found.items():
            print(f"  {name}: {why}")
        if found:
            missing[category] = found
    print(_verdict(missing))
    return int(bool(missing))


def _verdict(missing: dict[int, dict[str, str]]) -> str:
    if NEEDED in missing:
        return "Does not look good."
    if missing:
        return (
            "Looks good but some kernel features are missing\n"
            "which, depending on your process tree, may cause\ndump or restore failure."
        )
    return "Looks good."
