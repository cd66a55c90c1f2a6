"""What is asked before a module counts as ready, and what is said when it does not."""

from __future__ import annotations

from dspex_runtime.core.child_spec import Readiness
from dspex_runtime.node.readiness import GRACE_S, asked, refused


def test_a_call_is_asked_for_its_time() -> None:
    assert asked(Readiness("selftest", 3.0)) == ("call", {"method": "selftest", "timeout_s": 3.0}, 3.0)


def test_a_command_ends_in_its_process_before_anybody_gives_up_here() -> None:
    args = {"command": "true", "timeout_s": 3.0}
    assert asked(Readiness(command="true", timeout_s=3.0)) == ("command", args, 3.0 + GRACE_S)


def test_a_refusal_names_what_was_asked() -> None:
    call = Readiness("selftest")
    assert refused(call, None) == "readiness call 'selftest': returned False"
    assert refused(call, {"message": "no index\nand more"}) == "readiness call 'selftest': no index"


def test_that_of_a_command_has_the_end_of_its_output() -> None:
    fault = {"message": "ended with status 3:\nno\nindex"}
    assert refused(Readiness(command=("check", "-q")), fault) == "readiness command 'check -q' ended with status 3:\nno\nindex"
