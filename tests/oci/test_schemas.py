"""config.json against our schemas: what is refused, with which words, and the quick walker's honesty."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from oci.config import load_config, without_nulls
from oci.quickcheck import accepts
from oci.spec import default_config, rootless_config
from oci.validate import SCHEMAS, InvalidDocument, load_schema, read_json, validate

NAMES = sorted(path.name for path in Path(SCHEMAS).glob("*.json"))


def changed(path: str, value: object) -> dict[str, Any]:
    """The default configuration with one value put at a dotted path."""
    config: Any = copy.deepcopy(default_config())
    *parents, last = path.split(".")
    place = config
    for name in parents:
        place = place[int(name)] if isinstance(place, list) else place.setdefault(name, {})
    place[last] = value
    return config


@pytest.mark.parametrize("name", NAMES)
def test_schemas_are_schemas(name: str) -> None:
    Draft202012Validator.check_schema(load_schema(name))


@pytest.mark.parametrize("config", [default_config(), rootless_config()])
def test_our_own_configurations_are_valid(config: Any) -> None:
    assert accepts(config, load_schema("config.json"), load_schema)
    validate(config, "config.json", "x")


def test_unknown_fields_are_accepted() -> None:
    validate(changed("linux.newThing", {"a": 1}), "config.json", "x")
    validate(changed("brandNew", 1), "config.json", "x")


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        ("process.cwd", "relative", "$.process.cwd"),
        ("process.args", "sh", "$.process.args"),
        ("process.args", ["a\0b"], "$.process.args[0]"),
        ("process.user.uid", -1, "$.process.user.uid"),
        ("process.rlimits", [{"type": "NOFILE", "soft": 1, "hard": 1}], "$.process.rlimits[0].type"),
        ("process.oomScoreAdj", 2000, "$.process.oomScoreAdj"),
        ("mounts", [{"type": "tmpfs"}], "$.mounts[0]"),
        ("hooks.prestart", [{"path": "bin/true"}], "$.hooks.prestart[0].path"),
        ("hooks.poststop", [{"path": "/bin/true", "timeout": 0}], "$.hooks.poststop[0].timeout"),
        ("linux.namespaces", [{"type": "nope"}], "$.linux.namespaces[0].type"),
        ("linux.uidMappings", [{"containerID": 0, "hostID": 0}], "$.linux.uidMappings[0]"),
        ("linux.seccomp", {"defaultAction": "X"}, "$.linux.seccomp.defaultAction"),
        ("linux.resources.pids.limit", "5", "$.linux.resources.pids.limit"),
        ("linux.rootfsPropagation", "odd", "$.linux.rootfsPropagation"),
        ("linux.timeOffsets", {"uptime": {}}, "$.linux.timeOffsets"),
        ("root", {}, "$.root"),
        ("ociVersion", "2.0", "$.ociVersion"),
        ("annotations", {"a": 1}, "$.annotations"),
    ],
)
def test_errors_carry_the_path(path: str, value: object, where: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        validate(changed(path, value), "config.json", "b/config.json")
    assert str(caught.value).startswith(f"b/config.json: {where}")


def test_no_object_at_all() -> None:
    with pytest.raises(InvalidDocument, match=r"x: \$"):
        validate([1], "config.json", "x")


def _jsonschema_accepts(document: object) -> bool:
    retrieve: Any = lambda uri: Resource.from_contents(load_schema(uri))  # noqa: E731
    registry: Any = Registry(retrieve=retrieve)
    return Draft202012Validator(load_schema("config.json"), registry=registry).is_valid(document)


def _places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(place for key, item in below for place in _places(item, (*path, key)))]


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.just([]), st.just({}), st.just([None])
)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_the_quick_walker_never_accepts_what_jsonschema_refuses(data: st.DataObject) -> None:
    config: Any = copy.deepcopy(default_config())
    place = data.draw(st.sampled_from(_places(config)[1:]))
    parent = config
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = data.draw(JUNK)
    quick, real = accepts(config, load_schema("config.json"), load_schema), _jsonschema_accepts(config)
    assert real or not quick
    assert quick == real, "the walker refuses what is valid: such a configuration costs 60 ms"


def test_unknown_keywords_are_left_to_jsonschema() -> None:
    assert not accepts(1, {"multipleOf": 1}, load_schema)


def test_broken_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("{bad")
    with pytest.raises(InvalidDocument, match=r"config\.json is not valid JSON: .*line 1 column 2"):
        load_config(str(tmp_path))
    path.write_text('{"a": ["\\\\u0000"]}')
    assert read_json(str(path)) == {"a": ["\\u0000"]}
    path.write_text('{"a": ["\\u0000"]}')
    with pytest.raises(InvalidDocument, match=r"config\.json has a string with a null byte"):
        read_json(str(path))
    path.write_text("[" * 100_000)
    with pytest.raises(InvalidDocument, match="nested too deeply"):
        read_json(str(path))


def test_load_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(default_config()))
    assert load_config(str(tmp_path))["process"]["args"] == ["sh"]


def test_nulls_are_absent() -> None:
    assert without_nulls({"a": None, "b": [{"c": None, "d": 0}]}) == {"b": [{"d": 0}]}
