"""An owner's image with its parts' in it, and what of such a one is whose."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.host.composite_image import OWNER, Share, merged, share
from dspex_runtime.params.image import Image

PATHS = ["near", "far", "far.rank", "nearer"]


def image(parameters: dict[str, Any], compiled: list[str], attributes: dict[str, Any], **rest: Any) -> Image:
    kept = {"compiled": compiled, "attributes": attributes, **rest}
    return Image("qa", "compile", 1.0, None, 1, parameters=parameters, rest=kept, user=b"own")


OWN = image({"t": 1, "answer": 2, "inner.x": 3}, ["", "inner"], {"": {"a": 1}, "inner": {"b": 2}}, config={"answer": {}}, frozen={})
PARTS = {
    "near": image({"self": 4}, [""], {"": {"c": 3}}, config={"self": {"n": 1}}, frozen={}),
    "far": image({"k": 5}, [], {}, config={}, frozen={"old": "state"}),
    "far.rank": image({"k": 6, "list[0]": 7}, ["list[0]"], {"": {"d": 4}}, config={}, frozen={}),
    "nearer": image({"k": 8}, [], {}, config={}, frozen={}),
}


def test_what_is_a_parts_is_called_by_the_path_at_which_the_owner_has_it() -> None:
    found = merged(OWN, PARTS)
    assert found.parameters == {
        "t": 1, "answer": 2, "inner.x": 3, "near": 4, "far.k": 5, "far.rank.k": 6, "far.rank.list[0]": 7, "nearer.k": 8,
    }  # fmt: skip
    assert found.rest == {
        "compiled": ["", "inner", "near", "far.rank.list[0]"],
        "attributes": {"": {"a": 1}, "inner": {"b": 2}, "near": {"c": 3}, "far.rank": {"d": 4}},
        "config": {"answer": {}, "near": {"n": 1}},
        "frozen": {"far.old": "state"},
    }
    assert (found.user, found.id) == (b"own", "qa")


@pytest.mark.parametrize("path", [OWNER, *PATHS])
def test_each_has_its_own_back(path: str) -> None:
    whole = merged(OWN, PARTS)
    assert share(whole, Share(path, PATHS)) == (OWN if path == OWNER else PARTS[path])


def test_one_that_holds_a_little_only_has_a_little_for_each() -> None:
    patch = Image("qa", "compile", 1.0, None, 0, parameters={"far.rank.k": 1}, rest={"compiled": ["far"]})
    found = {path: share(patch, Share(path, PATHS)) for path in (OWNER, *PATHS)}
    assert {path: each.parameters for path, each in found.items() if each.parameters} == {"far.rank": {"k": 1}}
    assert {path: each.rest["compiled"] for path, each in found.items()} == {
        "": [],
        "near": [],
        "far": [""],
        "far.rank": [],
        "nearer": [],
    }
