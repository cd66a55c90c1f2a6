"""What is said of a parameter that is not there."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.params.missing import no_parameter, of

KNOWN = {"target": 1, "k": 2}


@pytest.mark.parametrize(
    ("name", "id", "text", "hint"),
    [
        ("targt", "therm", "'therm' has no parameter 'targt'; it has k, target", "did you mean 'target'?"),
        ("other", "therm", "'therm' has no parameter 'other'; it has k, target", None),
        (5, "therm", "'therm' has no parameter 5; it has k, target", None),
        ("targt", "$shared", "the runtime has no shared parameter 'targt'; it has k, target", "did you mean 'target'?"),
        ("targt", None, "there is no parameter 'targt'; there are k, target", "did you mean 'target'?"),
    ],
)
def test_the_error_says_whose_it_would_be_and_what_there_is(name: Any, id: str | None, text: str, hint: str | None) -> None:
    error = no_parameter(name, KNOWN, id)
    assert (str(error), error.hint, error.id, error.name) == (text, hint, id, str(name))


def test_many_names_are_cut() -> None:
    assert len(str(no_parameter("x" * 5000, [f"name{n}" for n in range(1000)], "qa"))) < 1400
    assert str(no_parameter("x", [], "qa")) == "'qa' has no parameter 'x'; it has none"


def test_a_parameter_is_named_with_its_module() -> None:
    assert [of("qa"), of("$shared"), of(None)] == [" of 'qa'", " of the runtime", ""]
