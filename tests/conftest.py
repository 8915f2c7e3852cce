"""Options and rules of all tests."""

from __future__ import annotations

import os

import pytest

from tests.machine import leaves_nothing

__all__ = ["leaves_nothing"]

EXPECTED_SKIPS = ("needs WOODFROG_TEST_", "this kernel lacks ")
"""How the reason of a skip begins that is no defect: an oracle that was not given, a kernel without a feature."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--strict-skips", action="store_true", help="a skip that is not expected fails the run")
    parser.addoption("--alone", action="store_true", help="nobody else works here: nothing may be left on the machine")
    parser.addoption("--rounds", type=int, default=10, help="how often test_mixed.py freezes and thaws")
    parser.addoption("--soak", action="store_true", help="test_storm.py with 50 containers, 10 rounds")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="not root: run the tests as root"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    report = yield
    if item.config.getoption("--strict-skips") and report.skipped and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not reason.removeprefix("Skipped: ").startswith(EXPECTED_SKIPS):
            report.outcome = "failed"
            report.longrepr = f"unexpected skip: {reason}"
    return report
