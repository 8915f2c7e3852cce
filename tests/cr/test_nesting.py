"""What is told of nested namespaces, and which pids are chosen or foretold: pure planning."""

from __future__ import annotations

from pathlib import Path

import pytest

from cr.contract.nesting import nesting, pid_seen_by, pids_of
from cr.contract.restoring import RestoreContext, RestoreTask, RestoreThread
from cr.kernel.namespaces import CLONE_NEWNET, CLONE_NEWPID, CLONE_NEWUSER
from cr.model import TASK_ALIVE, TASK_DEAD, BadImages, RestoreReport
from cr.options import Options
from cr.restore.pids import NOBODYS, Numbers, numbers, place_of
from images import messages as m
from images.directory import ImageDirectory

ROOT_PID, ROOT_USER, OUTER, INNER, PIDS, DEEPER, NET = range(1, 8)
ENTRIES = [
    m.woodfrog_namespace_entry(id=OUTER, kind=CLONE_NEWUSER, parent=ROOT_USER),
    m.woodfrog_namespace_entry(id=INNER, kind=CLONE_NEWUSER, parent=OUTER),
    m.woodfrog_namespace_entry(id=PIDS, kind=CLONE_NEWPID, parent=ROOT_PID, owner=OUTER),
    m.woodfrog_namespace_entry(id=DEEPER, kind=CLONE_NEWPID, parent=PIDS, owner=INNER),
    m.woodfrog_namespace_entry(id=NET, kind=CLONE_NEWNET, owner=INNER),
]


def task(
    pids: tuple[int, ...], space: int, user: int, parent: RestoreTask | None = None, *, dead: bool = False
) -> RestoreTask:
    entry = m.pstree_entry(pid=pids[0], ppid=parent.vpid if parent else 0, pgid=1, sid=1)
    ids = m.task_kobj_ids_entry(vm_id=1, files_id=1, fs_id=1, sighand_id=1, pid_ns_id=space, user_ns_id=user)
    found = RestoreTask(entry, parent, [], None if dead else ids)
    core = m.core_entry()
    core.tc.task_state = TASK_DEAD if dead else TASK_ALIVE
    found.threads = [RestoreThread(pids[0], core, found, inner=pids[1:])]
    return found


@pytest.fixture
def context(tmp_path: Path) -> RestoreContext:
    images = ImageDirectory.create(str(tmp_path))
    images.write("woodfrog-namespaces", entries=ENTRIES)
    images.write("woodfrog-pids", entries=[m.woodfrog_pid_entry(pid=12, inner=[3, 1])])
    found = RestoreContext(Options(), images, RestoreReport())
    found.tasks = [task((1,), ROOT_PID, ROOT_USER)]
    return found


def test_who_is_below_whom(context: RestoreContext) -> None:
    known = nesting(context)
    assert known.users_down(ROOT_USER, INNER) == [OUTER, INNER]
    assert known.users_down(INNER, INNER) == []
    assert known.pids_down(DEEPER) == [ROOT_PID, PIDS, DEEPER]
    assert (known.owner(NET), known.owner(99)) == (INNER, ROOT_USER)
    assert known.is_within(INNER, OUTER) and not known.is_within(OUTER, INNER)


def test_rights_reach_from_the_innermost_outwards(context: RestoreContext) -> None:
    assert numbers((12, 3, 1), DEEPER, ROOT_USER, context).chosen == 3
    assert numbers((12, 3, 1), DEEPER, OUTER, context).chosen == 2
    assert numbers((12, 3, 1), DEEPER, INNER, context) == Numbers((12, 3, 1), (ROOT_PID, PIDS, DEEPER), 1)
    assert numbers((12,), ROOT_PID, INNER, context).chosen == 0


def test_a_zombie_that_was_the_first_of_its_namespace(context: RestoreContext) -> None:
    root = context.tasks[0]
    assert place_of(task((5, 1), 0, 0, root, dead=True), context) == ((5, 1), NOBODYS)
    assert place_of(task((5, 7), 0, 0, root, dead=True), context) == ((5,), ROOT_PID)
    assert numbers((5, 1), NOBODYS, ROOT_USER, context, above=ROOT_PID).spaces == (ROOT_PID, NOBODYS)


def test_pids_as_others_see_them(context: RestoreContext) -> None:
    assert pids_of(12, context) == (12, 3, 1) and pids_of(4, context) == (4,)
    inner = task((12, 3, 1), DEEPER, INNER)
    assert pid_seen_by(inner, 12, context) == 1
    assert pid_seen_by(inner, 4, context) == 0
    assert pid_seen_by(context.tasks[0], 12, context) == 12


def test_images_that_contradict_themselves(context: RestoreContext) -> None:
    with pytest.raises(BadImages, match="has 2 numbers for pid 12, which is in 3 namespaces"):
        numbers((12, 3), DEEPER, ROOT_USER, context)
    with pytest.raises(BadImages, match="does not tell where namespace 99 belongs"):
        nesting(context).users_down(ROOT_USER, 99)
    with pytest.raises(BadImages, match="user namespace 3 is not below 4"):
        nesting(context).users_down(INNER, OUTER)


def test_namespaces_in_a_circle(context: RestoreContext) -> None:
    circle = [m.woodfrog_namespace_entry(id=a, kind=CLONE_NEWUSER, parent=b) for a, b in ((50, 51), (51, 50))]
    context.images.write("woodfrog-namespaces", entries=circle)
    with pytest.raises(BadImages, match="is not below"):
        nesting(context).users_down(ROOT_USER, 50)
