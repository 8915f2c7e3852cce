"""A bundle of the host's own files for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.bundle import Bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Iterator[Bundle]:
    """It deletes its containers at the end, and holds that nothing is left."""
    with Bundle(tmp_path) as made:
        yield made
