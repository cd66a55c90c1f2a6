"""get_x, set_x, x_type, x_opts."""

from __future__ import annotations

from typing import Any

import pytest

import dspex_runtime as dx


class Tuned(dx.Module):
    rate = dx.Parameter(float, default=0.5, min=0.0, requires_grad=True, metadata={"unit": "1/s"}, doc="How fast.")
    name = dx.Parameter(str, default="x", check=str.isalpha)

    def get_name(self) -> str:
        return "mine"


def test_getter_and_setter_are_the_attribute() -> None:
    module = Tuned()
    module.set_rate(2)
    assert (module.get_rate(), module.rate) == (2.0, 2.0)
    with pytest.raises(dx.ConstraintViolationError):
        module.set_rate(-1.0)
    assert module.rate == 2.0


def test_type_and_options_are_known_without_an_instance() -> None:
    assert (Tuned.rate_type(), Tuned().name_type()) == ("float", "str")
    options: dict[str, Any] = Tuned.rate_opts()
    assert options["default"] == 0.5
    assert options["min"] == 0.0
    assert options["requires_grad"] is True
    assert options["metadata"] == {"unit": "1/s"}
    assert "type" not in options


def test_one_of_the_users_own_stays() -> None:
    assert Tuned().get_name() == "mine"
    assert Tuned().name == "x"


def test_they_look_like_methods_of_the_class() -> None:
    assert Tuned.get_rate.__qualname__ == "Tuned.get_rate"
    assert Tuned.set_rate.__doc__ == "Set the parameter rate: checked, versioned, for everybody."
