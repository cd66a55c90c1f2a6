"""A checkpoint's bytes: everything comes back, and what is no checkpoint is refused by name."""

from __future__ import annotations

import pytest

from dspex_runtime.errors import CheckpointError
from dspex_runtime.params.image import FORMAT, Image, decode, encode
from dspex_runtime.wire.codec import Codec

WHOLE = Image(
    id="sup/qa",
    kind="manual",
    when=1.5,
    version="2.1",
    incarnation=3,
    parameters={"temperature": {"version": 7, "data": b"\x91\xcb"}},
    facts={"mode": "eval"},
    metrics={"calls": 9},
    rest={"demo_count": 4},
    user=b"\x91\x01",
)
EMPTY = Image(id="sup/qa", kind="periodic", when=0.0, version=None, incarnation=1)


@pytest.mark.parametrize("image", [WHOLE, EMPTY])
def test_an_image_comes_back_as_it_was(image: Image) -> None:
    assert decode(encode(image)) == image
    assert decode(memoryview(encode(image))) == image


def test_it_is_one_plain_map_that_any_reader_understands() -> None:
    (found,) = Codec().unpack(encode(WHOLE))
    assert (found["format"], found["user"], found["facts"]) == (FORMAT, WHOLE.user, {"mode": "eval"})


NONE = {
    "nothing": b"",
    "garbage": b"\xc1\xc1",
    "a list of two": Codec().pack([1, 2]),
    "no map": Codec().pack([5]),
    "a map without its format": Codec().pack([{"id": "x"}]),
    "a map without the rest": Codec().pack([{"format": FORMAT, "id": "x"}]),
    "more than is known": Codec().pack([{"format": FORMAT, "id": "x", "kind": "", "when": 0.0, "version": None, "colour": 1}]),
}


@pytest.mark.parametrize("data", NONE.values(), ids=NONE.keys())
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(CheckpointError):
        decode(data)


def test_one_that_was_cut_short_is_refused() -> None:
    with pytest.raises(CheckpointError):
        decode(encode(WHOLE)[:-3])


def test_a_newer_format_is_named() -> None:
    newer = Codec().pack([{"format": FORMAT + 1}])
    with pytest.raises(CheckpointError, match=f"has format {FORMAT + 1}; this version reads format {FORMAT}"):
        decode(newer)
