import pytest

from dspex_runtime.core.window import RestartWindow

EDGES = [
    # max_restarts, max_seconds, times, within
    (0, 5, [0], [False]),
    (1, 5, [0, 5], [True, False]),
    (1, 5, [0, 5.000001], [True, True]),
    (3, 5, [0, 1, 2, 3], [True, True, True, False]),
    (3, 5, [0, 2, 4, 6, 8], [True, True, True, True, True]),
    (2, 1, [0, 0, 0], [True, True, False]),
]


@pytest.mark.parametrize(("max_restarts", "max_seconds", "times", "within"), EDGES, ids=str)
def test_a_restart_exactly_max_seconds_ago_still_counts(
    max_restarts: int, max_seconds: float, times: list[float], within: list[bool]
) -> None:
    window = RestartWindow(max_restarts, max_seconds)
    assert [window.record(time) for time in times] == within


@pytest.mark.parametrize(("now", "within"), [(3, 3), (5, 3), (5.1, 2), (8, 1), (9, 0)])
def test_what_counts_is_said_without_being_counted(now: float, within: int) -> None:
    window = RestartWindow(3, 5.0)
    for time in (0, 1, 3):
        window.record(time)
    assert [window.within(now) for _ in range(3)] == [within] * 3


def test_restarts_outside_the_window_are_forgotten() -> None:
    window = RestartWindow(1, 1.0)
    for time in range(0, 1000, 2):
        assert window.record(time)
    assert len(window) == 1
