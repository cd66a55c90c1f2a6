"""A state goes into a program and its parts, all of it or nothing."""

from __future__ import annotations

from typing import Any

import dspy
import pytest

from dspex_runtime.modules.mirror.remote_state import load_all, of_part


class Part(dspy.Module):  # type: ignore[misc]
    """Stands for the proxy of a part."""

    def __init__(self, refuses: bool = False) -> None:
        super().__init__()
        self.p = dspy.Predict("a -> b")
        self.refuses = refuses

    def load_state(self, state: Any, *, allow_unsafe_lm_state: bool = False) -> Any:
        if self.refuses:
            raise ValueError("refused")
        return super().load_state(state, allow_unsafe_lm_state=allow_unsafe_lm_state)


def state_of(*names: str) -> dict[str, Any]:
    changed = dspy.Predict("a -> b")
    changed.demos = [{"a": "1", "b": "2"}]
    return {name: changed.dump_state() for name in names}


def test_each_gets_what_is_behind_its_name() -> None:
    one, two, loaded = Part(), Part(), []
    assert load_all({"one": one, "two": two}, state_of("one.p", "two.p", "own"), lambda: loaded.append("own") or "done") == "done"
    assert ([len(part.p.demos) for part in (one, two)], loaded) == ([1, 1], ["own"])


def test_a_predict_has_its_state_under_its_own_name() -> None:
    predict = dspy.Predict("a -> b")
    load_all({"x": predict}, state_of("x"), lambda: None)
    assert len(predict.demos) == 1


@pytest.mark.parametrize("missing", ["one.p", "x"])
def test_what_is_missing_is_found_before_anything_changes(missing: str) -> None:
    one, predict = Part(), dspy.Predict("a -> b")
    state = {name: value for name, value in state_of("one.p", "x").items() if name != missing}
    with pytest.raises(KeyError, match=missing):
        load_all({"one": one, "x": predict}, state, lambda: None)
    assert (one.p.demos, predict.demos) == ([], [])


def test_when_one_refuses_the_others_have_again_what_they_had() -> None:
    one, two = Part(), Part(refuses=True)
    with pytest.raises(ValueError, match="refused"):
        load_all({"one": one, "two": two}, state_of("one.p", "two.p"), lambda: None)
    assert one.p.demos == []


def test_when_the_program_itself_refuses_so_do_its_parts() -> None:
    one = Part()

    def fails() -> None:
        raise ValueError("own")

    with pytest.raises(ValueError, match="own"):
        load_all({"one": one}, state_of("one.p"), fails)
    assert one.p.demos == []


def test_a_state_of_a_part_is_named_from_there() -> None:
    assert list(of_part(state_of("one.p", "one.more", "onep"), "one", Part())) == ["p", "more"]
