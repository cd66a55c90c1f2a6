"""Fixtures of the tests of composites."""

from __future__ import annotations

import pytest

from helpers.fake_family import Family
from helpers.fake_node import FakeNode


@pytest.fixture
def family(runtime: FakeNode) -> Family:
    return Family(runtime)
