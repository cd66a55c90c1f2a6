"""Frames come out as they went in, however the bytes were split; a bad header is refused before anything is kept."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dspex_runtime.errors import ProtocolError, UnserialisableError
from dspex_runtime.wire.framing import HEADER, MAX_FRAME_BYTES, FrameReader, frame

BODIES = [b"", b"a", b"hello", b"\x00" * 5000, b"x" * 70_000, b""]


def read_all(reader: FrameReader, pieces: list[bytes]) -> list[bytes]:
    bodies = []
    for piece in pieces:
        reader.feed(piece)
        while (body := reader.next()) is not None:
            bodies.append(body)
    return bodies


def test_a_frame_is_the_length_big_endian_and_the_body() -> None:
    assert frame(b"abc") == b"\x00\x00\x00\x03abc"


def test_frames_survive_arriving_all_at_once() -> None:
    reader = FrameReader()
    assert read_all(reader, [b"".join(map(frame, BODIES))]) == BODIES
    assert reader.pending_bytes == 0


def test_frames_survive_arriving_byte_by_byte() -> None:
    stream = b"".join(map(frame, BODIES))
    assert read_all(FrameReader(), [stream[i : i + 1] for i in range(len(stream))]) == BODIES


@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.lists(st.binary(max_size=40), max_size=8), st.data())
def test_frames_survive_any_split(bodies: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(frame, bodies))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read_all(FrameReader(), pieces) == bodies


@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.lists(st.binary(max_size=40), max_size=8), st.data())
def test_taking_whole_frames_gives_what_feeding_gives(bodies: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(frame, bodies))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    reader, got = FrameReader(), []
    for piece in (stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)):
        body = reader.feed_or_take(piece)
        while body is not None or (body := reader.next()) is not None:
            got.append(body)
            body = None
    assert got == bodies


@pytest.mark.parametrize("length", [-1, -(2**31), MAX_FRAME_BYTES + 1, 2**31 - 1])
def test_an_illegal_length_is_refused_at_the_header_and_ever_after(length: int) -> None:
    reader = FrameReader()
    reader.feed(HEADER.pack(length) + b"some of the body")
    for _ in range(2):
        with pytest.raises(ProtocolError, match=str(length)):
            reader.next()


def test_the_largest_frame_is_accepted_on_both_sides() -> None:
    data = frame(bytes(MAX_FRAME_BYTES))
    assert [len(body) for body in read_all(FrameReader(), [data[:100_000], data[100_000:]])] == [MAX_FRAME_BYTES]


def test_a_larger_frame_is_refused_on_send_with_size_limit_and_advice() -> None:
    with pytest.raises(UnserialisableError, match=rf"{MAX_FRAME_BYTES + 1} bytes .* {MAX_FRAME_BYTES} bytes") as info:
        frame(bytes(MAX_FRAME_BYTES + 1))
    assert info.value.hint is not None
    assert "stream" in info.value.hint


def test_an_announced_length_reserves_nothing() -> None:
    reader = FrameReader()
    tracemalloc.start()
    try:
        reader.feed(HEADER.pack(MAX_FRAME_BYTES) + b"x")
        assert reader.next() is None
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_pending_bytes_tell_whether_the_stream_may_end_here() -> None:
    reader = FrameReader()
    for piece, pending in [(b"\x00\x00", 2), (b"\x00\x05", 4), (b"ab", 6), (b"cde", 0)]:
        reader.feed(piece)
        body = reader.next()
        assert reader.pending_bytes == pending
    assert body == b"abcde"


@settings(deadline=None)
@given(bodies=st.lists(st.binary(max_size=300), min_size=1, max_size=4), cut=st.integers(0, 1300), looks=st.booleans())
def test_what_one_reader_has_not_returned_is_to_another_what_it_was_to_this_one(bodies: list[bytes], cut: int, looks: bool) -> None:
    stream = b"".join(frame(body) for body in bodies)
    first, second, found = FrameReader(), FrameReader(), []
    first.feed(stream[:cut])
    while looks and (body := first.next()) is not None:
        found.append(body)
    second.feed(first.unread)
    while (body := second.next()) is not None:
        found.append(body)
    second.feed(stream[cut:])
    while (body := second.next()) is not None:
        found.append(body)
    assert found == bodies
