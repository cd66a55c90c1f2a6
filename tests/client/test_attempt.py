"""What may be sent again after its pipe was lost."""

from __future__ import annotations

import pytest

from dspex_runtime.client.attempt import RETRY_PAUSES_S, Lost, may_resend, retry_pause_s

MATRIX = [
    # sent  reset  begun  mux   | certainly not begun
    (False, False, None, False, True),
    (True, True, None, False, True),
    (True, False, None, False, False),
    (True, False, False, False, True),
    (True, True, False, False, True),
    (True, True, True, False, False),
    (True, False, True, False, False),
    (True, False, None, True, True),
    (True, True, None, True, True),
    (True, False, False, True, True),
    (True, True, True, True, False),
]


@pytest.mark.parametrize(("sent", "reset", "begun", "multiplexed", "not_begun"), MATRIX)
def test_only_what_certainly_did_not_begin_is_sent_again(
    sent: bool, reset: bool, begun: bool | None, multiplexed: bool, not_begun: bool
) -> None:
    lost = Lost(sent=sent, reset=reset, begun=begun, multiplexed=multiplexed)
    assert may_resend(lost, idempotent=False) is not_begun


@pytest.mark.parametrize("case", MATRIX, ids=str)
def test_an_idempotent_request_is_always_sent_again(case: tuple[bool, bool, bool | None, bool, bool]) -> None:
    assert may_resend(Lost(*case[:4]), idempotent=True)


def test_the_first_request_given_back_is_sent_again_at_once_and_later_ones_after_a_bounded_pause() -> None:
    assert retry_pause_s(0) == 0.0
    assert [retry_pause_s(n) for n in range(1, 50)] == sorted(retry_pause_s(n) for n in range(1, 50))
    assert retry_pause_s(1000) == RETRY_PAUSES_S[-1]
