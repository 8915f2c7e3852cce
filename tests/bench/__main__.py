"""Measure, and print a table of medians; with a criu binary in WOODFROG_TEST_CRIU side by side with it."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path

from tests.bench import drop_in, lifecycle
from tests.bench.cases import CASES, Case
from tests.bench.engines import Engine, engines
from tests.bench.machine import describe
from tests.bench.measure import Figures, median, once
from tests.bench.table import rows, show


def main() -> int:
    options = _options()
    if os.geteuid():
        print("not root: dumps and restores need it", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # on the way out the programs measured are ended
    place = Path(options.directory or tempfile.gettempdir())
    chosen = [case for case in CASES if not options.case or case.name in options.case]
    print(describe(place))
    print(f"medians of {options.runs} runs, one more before them to warm up\n")
    table: list[list[str]] = []
    try:
        for case in chosen:
            table += rows(case.title, _measure(case, engines(options.criu), options.runs, place))
    finally:
        if table:
            show(table)  # what there is, should a case fail or be interrupted
    if not options.case or lifecycle.NAME in options.case:
        print()
        show(lifecycle.measured_apart(options.runs * 2), lifecycle.HEAD)
    if drop_in.runc() and (not options.case or drop_in.NAME in options.case):
        print()
        show(drop_in.measure(options.runs, options.criu), drop_in.HEAD)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    names = [*(case.name for case in CASES), lifecycle.NAME, drop_in.NAME]
    parser.add_argument("case", nargs="*", help=f"cases to measure (default: all): {', '.join(names)}")
    parser.add_argument("--runs", type=int, default=5, help="runs of each case (default: %(default)s)")
    parser.add_argument("--directory", help="where images are written (default: the directory for temporary files)")
    parser.add_argument("--criu", default=os.environ.get("WOODFROG_TEST_CRIU", ""), help="criu binary to compare with")
    options = parser.parse_args()
    if unknown := set(options.case) - set(names):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    return options


def _measure(case: Case, candidates: list[Engine], runs: int, place: Path) -> dict[str, Figures]:
    """The engines take turns, each first as often as last: memory that was just freed is faster to get."""
    samples: dict[str, list[Figures]] = {engine.name: [] for engine in candidates}
    for number in range(runs + 1):
        for engine in candidates[:: -1 if number % 2 else 1]:
            print(f"\r{case.title}: {engine.name} {number}/{runs}  ", end="", file=sys.stderr, flush=True)
            figures = once(case, engine, place)
            if number:
                samples[engine.name].append(figures)
    print("\r" + " " * 60 + "\r", end="", file=sys.stderr)
    return {name: median(found) for name, found in samples.items()}


if __name__ == "__main__":
    sys.exit(main())
