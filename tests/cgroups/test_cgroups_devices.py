"""Device rules: the emulated v1 controller and the BPF program must give the same answers."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgroups import CgroupError, bpf
from cgroups.controllers.devices import ANY, Emulated, Rule, emulate, parse_rules

BITS = {"m": 1, "r": 2, "w": 4}


def run(program: bytes, kind: str, major: int, minor: int, access: str) -> bool:
    """A very small BPF machine: just the instructions that `device_program` uses."""
    context = ({"b": 1, "c": 2}[kind] | sum(BITS[a] for a in access) << 16, major, minor)
    registers, at = [0] * 11, 0
    while True:
        code, names, off, imm = struct.unpack_from("<BBhi", program, at * 8)
        dst, src, at = names & 15, names >> 4, at + 1
        if code == 0x61:
            registers[dst] = context[off // 4]
        elif code == 0xBC:
            registers[dst] = registers[src]
        elif code == 0xB4:
            registers[dst] = imm
        elif code == 0x54:
            registers[dst] &= imm
        elif code == 0x74:
            registers[dst] >>= imm
        elif code == 0x56:
            at += off if registers[dst] != imm else 0
        elif code == 0x16:
            at += off if registers[dst] == imm else 0
        elif code == 0x95:
            return bool(registers[0])
        else:
            raise AssertionError(f"opcode {code:#x}")


def answer(state: Emulated, kind: str, major: int, minor: int, access: str) -> bool:
    """What Documentation/admin-guide/cgroup-v1/devices.rst says."""
    for (e_kind, e_major, e_minor), letters in state.exceptions.items():
        if e_kind == kind and e_major in (ANY, major) and e_minor in (ANY, minor):
            if state.allow and letters & set(access):
                return False
            if not state.allow and letters >= set(access):
                return True
    return state.allow


letters = st.sets(st.sampled_from("rwm"), min_size=1).map(lambda s: "".join(sorted(s)))
numbers = st.sampled_from([ANY, 1, 2, 300])
rules = st.builds(Rule, st.booleans(), st.sampled_from("abc"), numbers, numbers, letters)


@given(
    st.lists(rules, max_size=8),
    st.sampled_from("bc"),
    st.sampled_from([1, 2, 300]),
    st.sampled_from([1, 2]),
    letters,
)
def test_the_program_answers_as_v1_would(todo: list[Rule], kind: str, major: int, minor: int, access: str) -> None:
    state = emulate(todo)
    program = bpf.device_program(state.allow, state.exceptions)
    assert run(program, kind, major, minor, access) == answer(state, kind, major, minor, access)


def test_two_rules_for_a_device_add_up() -> None:
    state = emulate([Rule(False), Rule(True, "c", 1, 3, "r"), Rule(True, "c", 1, 3, "w")])
    assert run(bpf.device_program(state.allow, state.exceptions), "c", 1, 3, "rw")


def test_rules_are_read_as_the_spec_says() -> None:
    parsed = parse_rules([{"allow": False}, {"allow": True, "type": "c", "major": 5, "access": "wr"}])
    assert [rule.text() for rule in parsed] == ["a", "c 5:* rw"]


def test_letters_that_no_kernel_knows_are_left_out() -> None:
    assert parse_rules([{"allow": True, "type": "c", "access": "rwa"}])[0].access == "rw"


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ({"type": "q"}, "type is 'q'"),
        ({"access": "x"}, "access is 'x'"),
        ({"major": "1"}, "major must be an integer"),
    ],
)
def test_a_bad_rule_is_named(rule: dict[str, object], text: str) -> None:
    with pytest.raises(CgroupError, match=rf"linux\.resources\.devices\[0\]\.{text}"):
        parse_rules([rule])
