"""A swap whose processes the test plays."""

from __future__ import annotations

import pytest

from helpers.fake_node import FakeNode
from helpers.swap_play import Play


@pytest.fixture
def play(runtime: FakeNode) -> Play:
    return Play(runtime)
