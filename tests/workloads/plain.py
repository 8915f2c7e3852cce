"""Nothing special: it is there, and then it is there again."""

from __future__ import annotations

from lib import workload

with workload() as check:
    check.wait()
