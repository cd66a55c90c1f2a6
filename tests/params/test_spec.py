"""A spec as plain data and back."""

from __future__ import annotations

import pytest

from dspex_runtime.params.declaration import make_spec
from dspex_runtime.params.spec import Constraint, ParameterSpec, ParameterType
from dspex_runtime.wire.codec import Codec

FULL = make_spec(
    float,
    0.5,
    limits={"min": 0.0, "max": 1.0},
    requires_grad=True,
    learning_rate=0.1,
    momentum=0.9,
    metadata={"team": "search"},
    durability="fsync",
    doc="how warm",
)


@pytest.mark.parametrize(
    "spec",
    [FULL, make_spec(str), make_spec(str, "a", limits={"choices": ["a", "b"]}), make_spec(list, [1], limits={"max_length": 3})],
)
def test_a_spec_crosses_processes_as_plain_data(spec: ParameterSpec) -> None:
    codec = Codec()
    (meta,) = codec.unpack(codec.pack([spec.to_meta()]))
    assert ParameterSpec.from_meta(meta) == spec


def test_of_a_custom_check_only_its_name_crosses() -> None:
    def even(value: int) -> bool:
        return value % 2 == 0

    meta = make_spec(int, check_with=even).to_meta()
    assert meta["check"].endswith("even")
    there = ParameterSpec.from_meta(meta)
    assert (there.custom, there.custom_name) == (None, meta["check"])


def test_a_predictors_first_state_stays_at_home() -> None:
    assert "default" not in ParameterSpec(ParameterType.PREDICTOR, default={"demos": []}).to_meta()


def test_keys_of_a_newer_version_are_ignored() -> None:
    assert ParameterSpec.from_meta({"type": "int", "default": 3, "unit": "seconds"}) == make_spec(int, 3)


def test_a_limit_is_found_by_its_name() -> None:
    assert FULL.limit(Constraint.MAX) == 1.0
    assert FULL.limit(Constraint.SHAPE) is None
