"""Files of /proc of a dead process whose pid has been given again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cr.harness import Workload
from tests.cr.test_task_state import ALONE, NEW_PID_NAMESPACE, QUIETLY, inner_root

pytestmark = pytest.mark.root


@pytest.mark.parametrize("who", ["process", "thread"])
def test_they_stay_those_of_the_dead(who: str, tmp_path: Path) -> None:
    with Workload("reused_pid", tmp_path, [who]) as workload:
        workload.cycle()


@pytest.mark.parametrize("who", ["process", "thread"])
def test_in_a_container(who: str, tmp_path: Path) -> None:
    prefix = [*NEW_PID_NAMESPACE, "--mount", "--mount-proc", "sh", "-c", ALONE + QUIETLY[2], "sh"]
    with Workload("reused_pid", tmp_path, [who], prefix=prefix) as workload:
        workload.pid = inner_root(workload)
        workload.dump(root="/")
        workload.restore(root="/")
        workload.check()
