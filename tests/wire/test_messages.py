"""The protocol's numbers are fixed and a peer of another range is told apart."""

from __future__ import annotations

import pytest

from dspex_runtime.wire import messages as m


def test_every_kind_has_a_plain_int_of_its_own() -> None:
    assert {kind.name: getattr(m, kind.name) for kind in m.K} == {kind.name: kind.value for kind in m.K}
    assert all(type(getattr(m, kind.name)) is int for kind in m.K)


@pytest.mark.parametrize(
    ("protocol", "accepted"),
    [
        ([2, 2], True),
        ([1, 9], True),
        ([0, 2], True),
        ([3, 4], False),
        ([1, 1], False),
        ([0, 0], False),
        (1, False),
        (None, False),
        ([1], False),
    ],
    ids=str,
)
def test_a_peer_is_accepted_when_the_ranges_overlap(protocol: object, accepted: bool) -> None:
    assert m.accepts(protocol) is accepted
