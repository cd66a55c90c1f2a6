"""Why a swap failed, as its caller reads it."""

from __future__ import annotations

from dspex_runtime.core.swap_instructions import Finished
from dspex_runtime.errors import BusyError, SwapError
from dspex_runtime.node.swapping.faults import error_of, told
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.faults import to_fault


def fault(error: Exception) -> dict[str, object]:
    return to_fault(error, id="a", incarnation=1, codec=Codec(pickle=True))


def test_what_the_process_says_itself_is_the_whole_story() -> None:
    own = fault(SwapError("verify returned False", code="verify"))
    assert told(own, "migrate", "the rehearsal failed") == ("verify", "verify returned False")


def test_of_any_other_error_the_step_is_said() -> None:
    assert told(fault(BusyError("silent")), "move", "it could not") == ("move", "it could not: silent")
    assert told(fault(ValueError("boom")), "move", "it could not") == ("move", "it could not: boom")
    assert told(None, "move", "it could not") == ("move", "it could not")


def test_the_users_traceback_is_the_errors() -> None:
    own = SwapError("no", remote_traceback="Traceback: theirs", hint="do this")
    finished = Finished(False, "migrate", "no", fault(own), "a", "killed")
    error = error_of(finished, "'a' serves on as it was")
    assert (error.message, error.code, error.id) == ("no; 'a' serves on as it was", "migrate", "a")
    assert (error.remote_traceback, error.hint, error.reason) == ("Traceback: theirs", "do this", "killed")


def test_a_crash_has_the_traceback_that_it_said() -> None:
    error = error_of(Finished(False, "start", "no", {"message": "boom", "traceback": "Traceback: its"}, "a"), None)
    assert (error.message, error.remote_traceback) == ("no", "Traceback: its")


class Evil:
    """Must never be made in the runtime process."""

    def __reduce__(self) -> tuple[object, ...]:
        return (exec, ("raise SystemExit",))


def test_nothing_of_a_users_is_rebuilt_here() -> None:
    error = SwapError("no", code="verify")
    error.thing = Evil()  # type: ignore[attr-defined]
    assert told(fault(error), "migrate", "x")[0] == "verify"
