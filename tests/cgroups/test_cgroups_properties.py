"""--cgroup-props, --cgroup-root, and the choice of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from cgroups import CgroupError, node
from cgroups import properties as props
from cgroups.collect import namespace_prefix, topmost
from cgroups.hierarchies import Hierarchy, Layout
from cgroups.model import CgroupController, CgroupDir, CgroupMember, CgroupProperty, CgroupSet, CgroupTree
from cgroups.restore import Mode, at_namespace_root, parse_mode, relocate, restore
from cgroups.roots import Roots, common_root, parse_roots, replant
from cgroups.undo import UndoStep, undo
from cgroups.writing import write_property

MANUAL = """\
"c1":
 - "strategy": "merge"
 - "properties": ["a", "b"]
"cpu":
 - "strategy": "replace"
 - "properties": ["c", "d"]
"""


def test_the_manuals_example_is_understood() -> None:
    assert props.parse_spec(MANUAL) == [
        props.ControllerSpec("c1", "merge", ("a", "b")),
        props.ControllerSpec("cpu", "replace", ("c", "d")),
    ]


def test_merge_adds_and_replace_replaces() -> None:
    chosen = props.choose(
        [
            props.ControllerSpec("cpu", "replace", ("c",)),
            props.ControllerSpec("pids", "merge", ("pids.max", "pids.new")),
            props.ControllerSpec("c1", "merge", ("a",)),
        ]
    )
    assert chosen["cpu"] == ("c",)
    assert chosen["pids"] == ("pids.max", "pids.new")
    assert chosen["c1"] == ("a",)
    assert chosen["memory"] == props.DEFAULTS["memory"]


def test_defaults_can_be_left_out() -> None:
    assert props.choose([props.ControllerSpec("pids", "merge", ("x",))], ignore_default=True) == {"pids": ("x",)}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[", "is not YAML"),
        ("- a", "must hold controllers"),
        ('"c": x', 'controller c must hold "strategy"'),
        ('"c":\n - "strategy": "mix"\n - "properties": []', "strategy of controller c is 'mix'"),
        ('"c":\n - "strategy": "merge"', '"properties" of controller c must be a list'),
        ('"c":\n - "strategy": "merge"\n - "properties": ["../x"]', "not a file of a cgroup"),
        ('"c":\n - "size": 1', "unknown members: size"),
    ],
)
def test_a_bad_spec_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(CgroupError, match=complaint):
        props.parse_spec(text)


def test_limits_that_depend_on_each_other_are_in_order() -> None:
    memory, cpu = props.DEFAULTS["memory"], props.DEFAULTS["cpu"]
    assert memory.index("memory.limit_in_bytes") < memory.index("memory.memsw.limit_in_bytes")
    assert cpu.index("cpu.cfs_period_us") < cpu.index("cpu.cfs_quota_us")
    assert props.rank("hugetlb.2MB.max", props.DEFAULTS["hugetlb"]) == 2
    assert props.rank("hugetlb.2MB.rsvd.max", props.DEFAULTS["hugetlb"]) == 2
    assert props.rank("hugetlb.2MB.current", props.DEFAULTS["hugetlb"]) is None


def test_nested_paths_are_kept_once() -> None:
    assert topmost(["/a/b", "/a", "/ab", "/", "/a/b/c", "/ab/c"]) == ["/a", "/ab"]


@pytest.mark.parametrize(("outside", "inside", "length"), [("/a/b", "/", 4), ("/a/b/c", "/c", 4), ("/", "/", 0)])
def test_a_namespaces_root_is_a_prefix(outside: str, inside: str, length: int) -> None:
    assert namespace_prefix(outside, inside) == length


def test_a_task_outside_of_its_namespace_is_refused() -> None:
    with pytest.raises(CgroupError, match="outside of its task's cgroup namespace"):
        namespace_prefix("/a", "/../a")


def test_roots_are_found_by_controller() -> None:
    roots = parse_roots(["cpu:/c", "name=systemd:/s", "/all"])
    assert roots.of("cpu,cpuacct") == "/c"
    assert roots.of("name=systemd") == "/s"
    assert roots.of("memory") == "/all"
    assert Roots({"": "/two"}).of("memory") is None
    with pytest.raises(CgroupError, match="--cgroup-root memory:x must be"):
        parse_roots(["memory:x"])


def test_paths_are_put_below_a_new_root() -> None:
    assert replant("/old/x", "/old", "/new") == "/new/x"
    assert replant("/old", "/old", "/") == "/"
    assert replant("/older", "/old", "/new") == "/older"
    assert replant("/x", "/", "/new") == "/new/x"
    assert common_root(["/a/b", "/a/c"]) == "/a"
    assert common_root([]) == "/"


def test_a_tree_moves_with_its_sets_and_prefixes() -> None:
    top = CgroupDir("box/a", (CgroupDir("sub"),))
    tree = CgroupTree(
        (
            CgroupSet(1, (CgroupMember("memory", "/engine"), CgroupMember("pids", "/"))),
            CgroupSet(2, (CgroupMember("memory", "/box/a/sub", len("/box/a")), CgroupMember("pids", "/p"))),
        ),
        (CgroupController(("memory",), (top,)),),
        {7: 2},
        1,
    )
    moved = relocate(tree, Roots({"memory": "/new"}, "/rest"))
    assert moved.controllers[0].dirs[0] == CgroupDir("new", (CgroupDir("sub"),))
    assert moved.sets[1].members == (CgroupMember("memory", "/new/sub", 4), CgroupMember("pids", "/rest"))
    assert at_namespace_root(moved.sets[1]).members[0].path == "/new"
    assert moved.sets[0].members[0].path == "/engine"


def test_modes_are_named() -> None:
    assert parse_mode("") is Mode.SOFT
    assert parse_mode("strict") is Mode.STRICT
    with pytest.raises(CgroupError, match="hard is not a mode; take one of ignore, none, props"):
        parse_mode("hard")


def test_a_hierarchys_root_is_left_to_the_host(tmp_path: Path) -> None:
    (tmp_path / "cpu.shares").write_text("1024\n")
    layout = Layout("v1", (Hierarchy("cpu", 1, ("cpu",), str(tmp_path)),))
    root = CgroupDir("", (), (CgroupProperty("cpu.shares", "7"),))
    tree = CgroupTree((), (CgroupController(("cpu",), (root,)),))
    for mode in (Mode.FULL, Mode.STRICT, Mode.PROPS, Mode.SOFT, Mode.NONE):
        assert restore(tree, mode, layout=layout).steps == []
    assert (tmp_path / "cpu.shares").read_text() == "1024\n"


def test_cgroups_of_a_missing_hierarchy_are_refused(tmp_path: Path) -> None:
    layout = Layout("v1", (Hierarchy("cpu", 1, ("cpu",), str(tmp_path)),))
    used = CgroupTree((), (CgroupController(("memory",), (CgroupDir("box"),)),))
    with pytest.raises(CgroupError, match="hierarchy memory, which this host does not mount"):
        restore(used, layout=layout)
    assert restore(used, Mode.IGNORE, layout=layout).steps == []
    unused = CgroupTree((), (CgroupController(("memory",), (CgroupDir(""),)),))
    assert restore(unused, layout=layout).steps == []


@pytest.fixture
def steps() -> list[UndoStep]:
    return []


@pytest.mark.parametrize(
    ("name", "before", "value", "after"),
    [
        ("cpu.shares", "1024\n", "512", "512"),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n", "1", "1"),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n", "oom_kill_disable 1\nunder_oom 0", "1"),
        ("cgroup.subtree_control", "cpu\n", "cpu memory", "+memory"),
        ("freezer.state", "THAWED\n", "FREEZING", "FROZEN"),
        ("cgroup.type", "domain\n", "threaded", "threaded"),
        ("cgroup.type", "domain\n", "domain threaded", "domain\n"),
        ("memory.use_hierarchy", "0\n", "1", "0\n"),
        ("tasks", "\n", "", "\n"),
    ],
)
def test_each_file_is_written_in_its_own_way(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    steps: list[UndoStep],
    name: str,
    before: str,
    value: str,
    after: str,
) -> None:
    monkeypatch.setattr(node, "write_file", lambda path, text: Path(path).write_text(text))
    (tmp_path / name).write_text(before)
    write_property(node.Node(str(tmp_path), 1), CgroupProperty(name, value), steps)
    assert (tmp_path / name).read_text() == after


def test_a_limit_without_a_file_is_not_lost_in_silence(tmp_path: Path, steps: list[UndoStep]) -> None:
    here = node.Node(str(tmp_path), 1)
    with pytest.raises(CgroupError, match=r"cgroup property pids\.max = '7' cannot be restored"):
        write_property(here, CgroupProperty("pids.max", "7"), steps)
    write_property(here, CgroupProperty("pids.max", "max"), steps)
    write_property(here, CgroupProperty("memory.limit_in_bytes", "9223372036854771712"), steps)
    assert steps == []


def test_undo_goes_on_after_a_failure(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    (tmp_path / "full/x").mkdir(parents=True)
    (tmp_path / "full/x/file").write_text("")
    todo = [UndoStep("write", str(tmp_path / "f"), "old"), UndoStep("rmdir", str(tmp_path / "full"))]
    failures = undo([*todo, UndoStep("write", str(tmp_path / "gone"), "x"), UndoStep("rmdir", str(tmp_path / "no"))])
    assert [str(failure).split(":")[0] for failure in failures] == [f"cannot remove cgroup {tmp_path}/full/x"]
    assert (tmp_path / "f").read_text() == "old"
