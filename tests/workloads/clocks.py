"""Monotonic and boot time: they go on, by no more than has passed; or to what the second argument says, at least."""

from __future__ import annotations

import sys
import time

from lib import workload

ALLOWED = 15.0  # seconds that a slow machine may take between two looks, besides the time it is frozen
CLOCKS = (time.CLOCK_MONOTONIC, time.CLOCK_BOOTTIME)

with workload() as check:
    before = [time.clock_gettime(clock) for clock in CLOCKS]
    check.wait()
    for clock, then in zip(CLOCKS, before, strict=True):
        now = time.clock_gettime(clock)
        start = float(sys.argv[2]) if len(sys.argv) > 2 else then
        check.that(start <= now < start + ALLOWED, f"clock {clock} jumped from {start} to {now}")
