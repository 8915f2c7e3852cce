"""One kind of memory (argument 2): prepared, then looked at again, with its flags in smaps."""

from __future__ import annotations

import sys

import memory_mapped
import memory_odd
import memory_private
from lib import workload

KINDS = memory_private.KINDS | memory_mapped.KINDS | memory_odd.KINDS

with workload() as check:
    steps = KINDS[sys.argv[2]](check)
    next(steps)
    check.wait()
    next(steps, None)
