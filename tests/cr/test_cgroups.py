"""Tasks in cgroups: they come back into them, in each mode of --manage-cgroups."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgroups.delegation import enable_controllers
from cgroups.errors import CgroupError
from cgroups.hierarchies import Hierarchy, layout, membership
from cgroups.model import CgroupController, CgroupDir, CgroupMember, CgroupProperty, CgroupSet, CgroupTree, Perms
from cgroups.removal import remove_tree
from cr.contract.cgroup_images import from_message, to_message
from cr.contract.cgroup_layout import layout_here
from cr.model import CheckpointError
from images.directory import ImageDirectory
from tests.cr.harness import Workload, alive, wait_for

LIMIT = "pids.max"


def pids_hierarchy() -> Hierarchy:
    found = layout().holding("pids")
    if found is None:
        pytest.skip("this kernel lacks the pids controller, or nobody has mounted it")
    return found


@pytest.fixture
def top() -> Iterator[Path]:
    """A cgroup with a limit, and one below it."""
    hierarchy = pids_hierarchy()
    path = Path(hierarchy.directory(f"/woodfrog-test-{os.urandom(4).hex()}"))
    (path / "inner").mkdir(parents=True)
    (path / LIMIT).write_text("17")
    yield path
    if path.exists():
        remove_tree(str(path))


def put(pid: int, path: Path) -> None:
    (path / "cgroup.procs").write_text(str(pid))


def where(pid: int) -> str:
    return membership(pid)[pids_hierarchy().name]


@pytest.mark.root
def test_missing_cgroups_are_made_with_their_limits(tmp_path: Path, top: Path) -> None:
    with Workload("plain", tmp_path) as workload:
        put(workload.pid, top)
        workload.dump(manage_cgroups="")
        remove_tree(str(top))
        pid = workload.restore(manage_cgroups="")
        assert where(pid) == f"/{top.name}"
        assert (top / LIMIT).read_text() == "17\n"
        assert (top / "inner").is_dir()
        workload.check()


@pytest.mark.root
@pytest.mark.parametrize(("mode", "limit"), [("soft", "20"), ("full", "17"), ("props", "17"), ("none", "20")])
def test_modes_differ_in_what_happens_to_cgroups_that_are_there(
    tmp_path: Path, top: Path, mode: str, limit: str
) -> None:
    with Workload("plain", tmp_path) as workload:
        put(workload.pid, top)
        workload.dump()
        (top / LIMIT).write_text("20")
        pid = workload.restore(manage_cgroups=mode)
        assert where(pid) == f"/{top.name}"
        assert (top / LIMIT).read_text() == f"{limit}\n"
        workload.check()


@pytest.mark.root
def test_ignore_leaves_the_tasks_where_the_engine_is(tmp_path: Path, top: Path) -> None:
    with Workload("plain", tmp_path) as workload:
        put(workload.pid, top)
        workload.dump()
        pid = workload.restore(manage_cgroups="ignore")
        assert where(pid) == membership("self")[pids_hierarchy().name]
        workload.check()


@pytest.mark.root
def test_another_root(tmp_path: Path, top: Path) -> None:
    with Workload("plain", tmp_path) as workload:
        put(workload.pid, top / "inner")
        workload.dump()
        pid = workload.restore(cgroup_root=[f"pids:/{top.name}/moved"])
        assert where(pid) == f"/{top.name}/moved"
        workload.check()


@pytest.mark.root
def test_a_restore_that_fails_removes_what_it_made(tmp_path: Path, top: Path) -> None:
    with Workload("plain", tmp_path) as workload:
        put(workload.pid, top)
        workload.dump()
        remove_tree(str(top))
        with pytest.raises(CgroupError, match="--manage-cgroups=soft"):
            workload.restore(manage_cgroups="none")

        def refuse(event: str, pid: int, fd: int | None) -> None:
            if event == "pre-resume":
                assert top.is_dir()
                raise RuntimeError("no")

        with pytest.raises(RuntimeError, match="no"):
            workload.restore(notify=refuse)
        assert not top.exists()
        workload.restore()
        workload.check()


@pytest.mark.root
def test_a_tree_in_a_cgroup_namespace(tmp_path: Path, top: Path) -> None:
    script = f'echo $$ > {top}/cgroup.procs && exec unshare --cgroup "$@"'
    with Workload("plain", tmp_path, prefix=["/bin/sh", "-c", script, "sh"]) as workload:
        put(workload.pid, top / "inner")
        workload.dump()
        remove_tree(str(top))
        pid = workload.restore()
        assert where(pid) == f"/{top.name}/inner"
        assert Path(f"/proc/{pid}/ns/cgroup").readlink() != Path("/proc/self/ns/cgroup").readlink()
        assert _seen_from_inside(pid) == "/inner"
        workload.check()
        wait_for(lambda: not alive(pid), "it to be gone")


@pytest.fixture
def delegated() -> Iterator[Path]:
    """A cgroup of version 2, which is going to be the root of a namespace, without processes of its own."""
    hierarchy = layout().named("")
    if hierarchy is None:
        pytest.skip("nobody has mounted cgroup v2")
    enable_controllers(hierarchy.mountpoint)
    path = Path(hierarchy.directory(f"/woodfrog-test-{os.urandom(4).hex()}"))
    path.mkdir()
    yield path
    if path.exists():
        remove_tree(str(path))


@pytest.mark.root
@pytest.mark.parametrize("there", [False, True], ids=["gone", "there"])
def test_a_namespace_whose_root_hands_its_controllers_down(tmp_path: Path, delegated: Path, there: bool) -> None:
    """As an init system inside of a container leaves it: processes in the leaves only, and empty cgroups."""
    script = f'echo $$ > {delegated}/cgroup.procs && exec unshare --cgroup "$@"'
    with Workload("plain", tmp_path, prefix=["/bin/sh", "-c", script, "sh"]) as workload:
        for name in ("leaf", "slice/inner", "empty"):
            (delegated / name).mkdir(parents=True)
        put(workload.pid, delegated / "leaf")
        for place in (delegated, delegated / "slice"):
            enable_controllers(str(place))
        controllers = (delegated / "cgroup.subtree_control").read_text()
        assert controllers.strip(), "this kernel has no controller left for cgroup v2"
        (delegated / "empty/cgroup.max.depth").write_text("7")
        workload.dump()
        remove_tree(str(delegated))
        if there:
            delegated.mkdir()  # as runtimes do, who give it the limits of their own
        pid = workload.restore(cgroup_root=[f":/{delegated.name}"])
        assert membership(pid)[""] == f"/{delegated.name}/leaf"
        assert _seen_from_inside(pid, "") == "/leaf"
        assert (delegated / "cgroup.subtree_control").read_text() == controllers
        assert (delegated / "slice/inner/cgroup.controllers").read_text() == controllers
        assert (delegated / "empty/cgroup.max.depth").read_text() == "7\n"
        workload.check()
        wait_for(lambda: not alive(pid), "it to be gone")


def _seen_from_inside(pid: int, hierarchy: str | None = None) -> str:
    from cr.kernel.namespaces import inside_of

    with inside_of(pid, "cgroup"):
        return membership(pid)[pids_hierarchy().name if hierarchy is None else hierarchy]


def test_images_hold_what_was_saved() -> None:
    member = CgroupMember("pids", "/a/b", 2)
    prop = CgroupProperty("pids.max", "17", Perms(0o100644, 0, 5))
    directory = CgroupDir("a", (CgroupDir("b"),), (prop,), Perms(0o40755, 1, 2))
    tree = CgroupTree(
        (CgroupSet(1, (CgroupMember("pids", "/"),)), CgroupSet(2, (member,))),
        (CgroupController(("pids",), (directory,), True),),
        own_set=1,
    )
    back = from_message(to_message(tree), 1)
    assert back.sets == (tree.sets[1],)
    assert back.controllers == tree.controllers
    assert back.own_set == 1


def saved(workload: Workload) -> dict[str, set[str]]:
    """Controller -> names of the properties that the images hold of it, wherever."""
    with ImageDirectory.open(str(workload.images)) as images:
        tree = from_message(images.read_one("cgroup"), None)
    found: dict[str, set[str]] = {}
    for controller in tree.controllers:
        names = found.setdefault(",".join(controller.names), set())
        waiting = list(controller.dirs)
        while waiting:
            place = waiting.pop()
            names |= {each.name for each in place.properties}
            waiting += place.children
    return found


PROPS = '"pids":\n - "strategy": "replace"\n - "properties": ["pids.current"]'


@pytest.mark.root
def test_which_cgroups_and_properties_are_saved(tmp_path: Path, top: Path) -> None:
    (tmp_path / "props").write_text(PROPS)
    with Workload("plain", tmp_path) as workload:
        put(workload.pid, top)
        workload.dump(leave_running=True, cgroup_dump_controller=["pids"])
        assert LIMIT in saved(workload)["pids"] and set(saved(workload)) == {"pids"}
        for options in ({"cgroup_props": PROPS}, {"cgroup_props_file": str(tmp_path / "props")}):
            workload.dump(leave_running=True, cgroup_dump_controller=["pids"], **options)
            assert "pids.current" in saved(workload)["pids"] and LIMIT not in saved(workload)["pids"]
        workload.dump(
            leave_running=True, cgroup_dump_controller=["pids"], cgroup_props=PROPS.replace("replace", "merge")
        )
        assert {LIMIT, "pids.current"} <= saved(workload)["pids"]
        workload.dump(
            leave_running=True,
            cgroup_props=PROPS.replace("pids", "other"),
            cgroup_props_ignore_default=True,
            cgroup_dump_controller=["pids"],
        )
        assert not {LIMIT, "pids.current"} & saved(workload)["pids"]
        (workload.images / "cgroup.img").unlink()
        workload.dump(leave_running=True, manage_cgroups="ignore")
        assert not (workload.images / "cgroup.img").exists()
        with pytest.raises(CheckpointError, match="--cgroup-props"):
            workload.dump(cgroup_props="[")
        workload.check()


@pytest.mark.root
def test_a_yard(tmp_path: Path, top: Path) -> None:
    yard = tmp_path / "yard"
    yard.mkdir()
    (yard / pids_hierarchy().name).symlink_to(top.parent)
    here = layout_here(str(yard)).named(pids_hierarchy().name)
    assert here is not None and here.mountpoint == str(yard / "pids")
    with Workload("plain", tmp_path) as workload:
        put(workload.pid, top)
        workload.dump(cgroup_yard=str(yard))
        remove_tree(str(top))
        pid = workload.restore(cgroup_yard=str(yard))
        assert where(pid) == f"/{top.name}"
        assert (top / LIMIT).read_text() == "17\n"
        workload.check()
