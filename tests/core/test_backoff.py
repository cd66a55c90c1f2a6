import pytest

from dspex_runtime.core.backoff import delay_s, is_stable
from dspex_runtime.core.child_spec import Backoff

BACKOFF = Backoff(initial_s=0.1, factor=2.0, max_s=1.0, jitter=0.25, stable_after_s=10.0)
MIDDLE = 0.5  # of the jitter: none


@pytest.mark.parametrize(
    ("attempt", "delay"), [(1, 0.0), (2, 0.1), (3, 0.2), (4, 0.4), (5, 0.8), (6, 1.0), (7, 1.0), (5000, 1.0)], ids=str
)
def test_the_first_restart_is_at_once_and_the_others_wait_exponentially_up_to_the_cap(attempt: int, delay: float) -> None:
    assert delay_s(BACKOFF, attempt, lambda: MIDDLE) == pytest.approx(delay)


@pytest.mark.parametrize(("random", "delay"), [(0.0, 0.075), (0.5, 0.1), (1.0, 0.125)])
def test_jitter_spreads_the_delay_to_both_sides(random: float, delay: float) -> None:
    assert delay_s(BACKOFF, 2, lambda: random) == pytest.approx(delay)


def test_without_back_off_there_is_never_a_delay_and_no_randomness_is_used() -> None:
    def unused() -> float:
        raise AssertionError

    assert delay_s(None, 100, unused) == 0.0
    assert delay_s(BACKOFF, 1, unused) == 0.0


@pytest.mark.parametrize(("backoff", "ready_for_s", "stable"), [(BACKOFF, 9.99, False), (BACKOFF, 10.0, True), (None, 99.0, False)])
def test_a_child_is_stable_after_its_time(backoff: Backoff | None, ready_for_s: float, stable: bool) -> None:
    assert is_stable(backoff, ready_for_s) is stable
