import pytest

from dspex_runtime.core.restart_policy import Verdict, is_clean_stop, is_reported, verdict
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.types import RestartType

CLEAN: list[ExitReason] = ["normal", "shutdown", ("shutdown", "done")]
ABNORMAL: list[ExitReason] = [
    "killed",
    "noproc",
    ("signal", "SEGV"),
    ("exit_status", 1),
    ("error", "ValueError", "no", ""),
    ("limit", "memory", "2 GiB"),
]
MATRIX = [
    *[("permanent", reason, Verdict.RESTART, True) for reason in CLEAN + ABNORMAL],
    *[("transient", reason, Verdict.KEEP, False) for reason in CLEAN],
    *[("transient", reason, Verdict.RESTART, True) for reason in ABNORMAL],
    *[("temporary", reason, Verdict.DELETE, False) for reason in CLEAN],
    *[("temporary", reason, Verdict.DELETE, True) for reason in ABNORMAL],
]


@pytest.mark.parametrize(("restart", "reason", "expected", "reported"), MATRIX, ids=str)
def test_restart_matrix(restart: str, reason: ExitReason, expected: Verdict, reported: bool) -> None:
    assert verdict(RestartType(restart), reason) is expected
    assert is_reported(RestartType(restart), reason) is reported


STOPS = [
    # restart, brutal, reason, clean
    ("permanent", False, "shutdown", True),
    ("permanent", False, "normal", False),
    ("permanent", False, ("shutdown", "x"), False),
    ("permanent", False, "killed", False),
    ("permanent", True, "killed", True),
    ("permanent", True, "shutdown", False),
    ("transient", False, "normal", True),
    ("transient", False, ("shutdown", "x"), True),
    ("transient", False, "killed", False),
    ("temporary", True, "killed", True),
    ("temporary", True, "normal", True),
    ("temporary", False, ("exit_status", 1), False),
]


@pytest.mark.parametrize(("restart", "brutal", "reason", "clean"), STOPS, ids=str)
def test_which_ends_of_a_stopped_child_are_clean(restart: str, brutal: bool, reason: ExitReason, clean: bool) -> None:
    assert is_clean_stop(RestartType(restart), brutal=brutal, reason=reason) is clean
