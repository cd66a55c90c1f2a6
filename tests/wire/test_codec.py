"""Values come back as they went, or an error says where it went wrong; hostile bytes give ProtocolError and nothing else."""

from __future__ import annotations

import math
import re
import struct
import subprocess
import sys
import threading
import tracemalloc
from collections import OrderedDict, namedtuple
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dspex_runtime.errors import DspexError, ProtocolError, UnserialisableError
from dspex_runtime.types import Down, Exit, Registered, State, Unregistered
from dspex_runtime.wire import ext
from dspex_runtime.wire.bodies import PIECE_BYTES, check_complete
from dspex_runtime.wire.codec import MAX_DEPTH, MAX_EXT_DEPTH, Codec, Opaque, UndecodableError

PLAIN = Codec()
FULL = Codec(pickle=True)


def through(value: Any, codec: Codec = FULL) -> Any:
    return codec.unpack(codec.pack([7, 1, value]))[2]


def same(a: Any, b: Any) -> bool:
    # By text, which tells -0.0 and any NaN apart; a set has no order.
    return type(a) is type(b) and (a == b if isinstance(a, set | frozenset) else repr(a) == repr(b))


class Text(str):
    __slots__ = ()


class Number(int):
    pass


Point = namedtuple("Point", "x y")

NATIVE = [
    None, True, False, 0, -1, 2**63 - 1, -(2**63), 2**64 - 1, 2**64, -(2**63) - 1, 10**400, -(10**400), 255**8,
    0.0, -0.0, 1e308, math.inf, -math.inf, math.nan, "", "ä€😀", "\x00", "\ud800", "a\udcffb", b"", b"\xff\x00",
    [], {}, [[]], (), (1,), (1, (2, (3,))), [(1, 2)], {"a": (1,)}, {1: 2, None: 3, 2.5: 4, (1, "k"): 5, b"b": 6}, {True: 7},
    set(), {1, "a"}, {(1, 2)}, frozenset(), frozenset({1}), {frozenset({1})}, 1j, complex(math.inf, -0.0),
    Decimal("1.10"), Decimal("-0"), Decimal("sNaN"), Decimal("Infinity"), Decimal("1E+999999"),
    datetime(2024, 2, 29, 1, 2, 3, 4),  # noqa: DTZ001  # naive on purpose
    datetime.max,  # noqa: DTZ901
    datetime(1, 1, 1, tzinfo=UTC), date.min, time(1, 2, 3, 4), time(tzinfo=UTC),
    timedelta(-1, 2, 3), timedelta.max, State.READY, re.IGNORECASE | re.MULTILINE, re.IGNORECASE,
    {"\ud800": ("\udcff", {"x": "\udcff"})},
    Down("a/b", 2, ("error", "E", "m", ""), 5), [Exit("client#7", 0, "normal")], Registered(("k", 1), "a", {"v": (1,)}),
    Unregistered("k", "a"),
]  # fmt: skip


@pytest.mark.parametrize("value", NATIVE, ids=lambda value: repr(value)[:30].encode("ascii", "replace").decode())
@pytest.mark.parametrize("codec", [PLAIN, FULL], ids=["plain", "pickle"])
def test_a_listed_value_comes_back_equal_and_of_its_class(codec: Codec, value: Any) -> None:
    assert same(through(value, codec), value)


@pytest.mark.parametrize(
    "value",
    [Text("x"), Number(3), OrderedDict(a=1), Fraction(1, 3), Point(1, 2), range(3), ValueError("x"), len, Text, {"k": {Text("y")}}],
    ids=repr,
)
def test_any_other_value_comes_back_by_cloudpickle_or_is_refused(value: Any) -> None:
    again = through(value)
    assert type(again) is type(value)
    assert repr(again) == repr(value)
    with pytest.raises(UnserialisableError, match="this process does not pickle"):
        PLAIN.pack([7, 1, value])


def test_a_class_that_no_name_leads_to_travels_by_value() -> None:
    class Local:
        pass

    value = Local()
    value.x = [1]  # type: ignore[attr-defined]
    assert through(value).x == [1]


@pytest.mark.parametrize("value", [bytearray(b"ab"), memoryview(b"ab"), memoryview(bytearray(b"ab"))], ids=repr)
def test_buffers_arrive_as_bytes(value: Any) -> None:
    assert through(value) == b"ab"
    assert type(through(value)) is bytes


ARRAYS = [
    np.arange(6).reshape(2, 3), np.arange(6.0).reshape(2, 3).T, np.zeros((0, 3)), np.array(5.0),
    np.array(["a", "bcd"]), np.array([b"x"]),
    np.array([True]),
    np.array([1j]), np.array(["2024-01-01"], dtype="M8[ns]"), np.array([3], dtype=">i2"), np.array([1, 2])[::-1],
    np.array([1.5], dtype=np.float16), np.array([""]),
]  # fmt: skip


@pytest.mark.parametrize("value", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
def test_an_array_comes_back_with_dtype_shape_and_bytes(value: Any) -> None:
    again = through(value, PLAIN)
    assert (again.dtype, again.shape, again.tobytes(), type(again)) == (value.dtype, value.shape, value.tobytes(), np.ndarray)
    assert again.flags.writeable


@pytest.mark.parametrize(
    "value", [np.float64(1.5), np.float32(0.1), np.int64(3), np.bool_(True), np.str_(""), np.str_("a")], ids=repr
)
def test_a_numpy_scalar_keeps_its_class(value: Any) -> None:
    assert same(through(value, PLAIN), value)


def test_an_object_array_travels_by_cloudpickle() -> None:
    assert through(np.array([None, "x"], dtype=object)).tolist() == [None, "x"]
    with pytest.raises(UnserialisableError):
        PLAIN.pack([1, np.array([None])])


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.decimals()
    | st.datetimes()
    | st.timedeltas(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text() | st.integers() | st.tuples(st.integers(), st.text()), inner, max_size=4)
        | st.frozensets(st.integers() | st.text(), max_size=4)
    ),
    max_leaves=12,
)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(values)
def test_any_nesting_of_listed_values_comes_back(value: Any) -> None:
    # Signalling NaNs cannot be compared; the text of both sides can. Sets have no order.
    again = through(value, PLAIN)
    assert type(again) is type(value)
    assert PLAIN.unpack(PLAIN.pack([again])) is not None
    if "frozenset" not in repr(value):
        assert repr(again) == repr(value)


# ---- what is not understood is forwarded

FOREIGN = [
    ext.CLOUDPICKLE, ext.PREDICTION, ext.EXAMPLE, 77, 127,
]  # fmt: skip


@pytest.mark.parametrize("code", FOREIGN)
def test_without_pickle_a_foreign_value_is_opaque_and_packs_to_the_same_bytes(code: int) -> None:
    data = msgpack.packb({"fields": {"a": 1}})
    body = msgpack.packb([7, 1, {"x": [msgpack.ExtType(code, data)]}])
    message = PLAIN.unpack(body)
    assert message[2]["x"] == [Opaque(data, code)]
    assert PLAIN.pack(message) == body
    assert FULL.pack(message) == body


def test_what_one_process_pickles_another_forwards_and_a_third_rebuilds() -> None:
    body = FULL.pack([4, 1, Fraction(1, 3), (Number(2),), np.array([None])])
    forwarded = PLAIN.pack(PLAIN.unpack(body))
    assert forwarded == body
    assert FULL.unpack(forwarded)[2] == Fraction(1, 3)


def test_without_pickle_nothing_is_unpickled_or_imported() -> None:
    trap = b"cos\n_exit\n(I3\ntR."  # os._exit(3)
    script = f"""
import sys
from dspex_runtime.wire.codec import Codec, Opaque
import msgpack
codec = Codec()
enum = msgpack.packb(["tabnanny", "NannyNag", "A"])
array = msgpack.packb(["<i4", [1], bytes(4)])
body = msgpack.packb([7, 1, [msgpack.ExtType(20, {trap!r}), msgpack.ExtType(11, enum), msgpack.ExtType(12, array)]])
message = codec.unpack(body)
assert [type(v) for v in message[2]] == [Opaque] * 3, message
assert codec.pack(message) == body
assert not {{"tabnanny", "numpy", "cloudpickle"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_with_pickle_and_nothing_registered_predictions_and_examples_are_their_fields() -> None:
    payload = msgpack.packb({"fields": {"a": 1}, "completions": None, "usage": None})
    body = msgpack.packb([7, 1, msgpack.ExtType(ext.PREDICTION, payload), msgpack.ExtType(ext.EXAMPLE, payload)])
    assert FULL.unpack(body)[2:] == [{"a": 1}, {"a": 1}]


class Answer:
    def __init__(self, text: str) -> None:
        self.text = text


class SubAnswer(Answer):
    pass


def test_a_registered_class_travels_as_its_payload_and_its_subclass_does_not() -> None:
    codec = Codec(pickle=True)
    codec.register(Answer, ext.PREDICTION, lambda a: {"fields": {"text": a.text}}, lambda p: Answer(p["fields"]["text"]))
    again = through((Answer("x"), Answer("y")), codec)
    assert [type(a) for a in again] == [Answer, Answer]
    assert [a.text for a in again] == ["x", "y"]
    assert type(through(SubAnswer("z"), codec)) is SubAnswer
    codec.on_ext(ext.PREDICTION, lambda payload: payload["fields"])
    assert through(Answer("x"), codec) == {"text": "x"}
    with pytest.raises(UnserialisableError) as info:
        codec.pack([7, 1, Answer(threading.Lock())])  # type: ignore[arg-type]
    assert info.value.path == "result['fields']['text']"


def test_an_encoder_may_leave_a_value_to_the_pickle() -> None:
    codec = Codec(pickle=True)
    codec.register(Answer, 14, lambda _: NotImplemented, lambda _: pytest.fail("not asked"))
    assert through(Answer("x"), codec).text == "x"


@pytest.mark.parametrize("code", [0, 1, 12, 15, 20, 128, -1])
def test_a_code_that_is_taken_cannot_be_registered(code: int) -> None:
    with pytest.raises(ValueError, match=str(code)):
        Codec().register(Answer, code, vars, vars)


# ---- limits


def nested(levels: int, wrap: Any) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = wrap(value)
    return value


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {"k": v}, lambda v: (v,)], ids=["list", "dict", "tuple"])
def test_nesting_beyond_the_limit_is_refused_and_up_to_it_is_not(wrap: Any) -> None:
    limit = MAX_EXT_DEPTH if isinstance(wrap(1), tuple) else 500
    through(nested(limit, wrap))
    with pytest.raises(UnserialisableError, match=f"nested more than ({MAX_EXT_DEPTH}|{MAX_DEPTH})") as info:
        FULL.pack([7, 1, nested(MAX_DEPTH + 8, wrap)])
    assert info.value.path.startswith("result")


@pytest.mark.parametrize("depth", [MAX_EXT_DEPTH + 1, 5000])
def test_received_nesting_is_bounded(depth: int) -> None:
    body = b"\x01"
    for _ in range(depth):
        body = msgpack.packb(msgpack.ExtType(ext.TUPLE, b"\x91" + body))
    with pytest.raises(ProtocolError, match="nested more than"):
        PLAIN.unpack(b"\x91" + body)
    with pytest.raises(ProtocolError, match="nested more than"):
        PLAIN.unpack(b"\x91" * (MAX_DEPTH + 1) + b"\x01")


@pytest.mark.parametrize(
    "body",
    [
        b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff\x01",
        b"\xdc\xdc\xdc" * 40_000, b"\xdd\x00\x03\x00\x00" * 40_000,
        b"\x91" + msgpack.packb(msgpack.ExtType(1, b"\xdd\x00\x00\xff\xff" * 900)),
    ],
    ids=lambda body: body[:5].hex(),
)  # fmt: skip
def test_what_is_announced_but_not_there_takes_no_memory(body: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError):
            PLAIN.unpack(body)
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()


def test_a_large_packer_is_not_kept() -> None:
    codec = Codec()
    codec.pack([1, bytes(2**20)])
    assert codec._idle == []
    codec.pack([1, b""])
    assert len(codec._idle) == 1


# ---- failures


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\xc0", b"\x01", b"\xa1x", b"\x80", b"\x90", b"\xc1", b"\x91", b"\x91\x01\x01", b"\x91\xa1\xff",
        b"\x91\x81\x90\x01", b"\x91\xd4\x01\x01", b"\x91\xd4\x02\x91", b"\x91\xd4\xff\x00", b"\x91\xd4\x80\x00",
        b"\x91\xc7\x00\x06", b"\x91\xd5\x0b\x91\x01",
    ],
    ids=bytes.hex,
)  # fmt: skip
@pytest.mark.parametrize("codec", [PLAIN, FULL], ids=["plain", "pickle"])
def test_bytes_that_are_no_message_are_a_protocol_error(codec: Codec, body: bytes) -> None:
    with pytest.raises(ProtocolError):
        codec.unpack(body)
    with pytest.raises(ProtocolError):
        codec.unpack(memoryview(body))


def list_or_protocol_error(codec: Codec, body: bytes) -> None:
    try:
        message = codec.unpack(body)
    except ProtocolError:
        return
    assert type(message) is list


LEAVES = st.none() | st.integers(-3, 3) | st.floats() | st.text(max_size=5) | st.binary(max_size=9)
PAYLOADS = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3))


@settings(derandomize=True, deadline=None, max_examples=600)
@given(st.binary(max_size=80))
@example(b"\x91\xc7\x0c\x07" + msgpack.packb(["9999", 3, "../../x"]))
def test_random_bytes_give_a_list_or_a_protocol_error(body: bytes) -> None:
    list_or_protocol_error(PLAIN, body)


@settings(derandomize=True, deadline=None, max_examples=400)
@given(st.integers(1, 15), PAYLOADS)
def test_any_payload_of_an_ext_type_gives_a_value_or_a_protocol_error(code: int, payload: Any) -> None:
    body = msgpack.packb([7, 1, msgpack.ExtType(code, msgpack.packb(payload))])
    for codec in (PLAIN, FULL):
        list_or_protocol_error(codec, body)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.data())
def test_a_damaged_message_gives_a_list_or_a_protocol_error(data: st.DataObject) -> None:
    body = bytearray(
        PLAIN.pack([4, 1, "ask", [(1, {2, 3}), 2**70, 1j], {"d": Decimal(1), "t": datetime(2024, 1, 1, tzinfo=UTC)}, 1.5])
    )
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    list_or_protocol_error(PLAIN, bytes(body[: data.draw(st.integers(1, len(body)))]))


@pytest.mark.parametrize(
    "value",
    [msgpack.ExtType(20, b"garbage"), msgpack.ExtType(77, b""), msgpack.ExtType(11, msgpack.packb(["no.such", "E", "A"])),
     msgpack.ExtType(11, msgpack.packb(["dspex_runtime.types", "State", "NOPE"]))],
    ids=lambda value: f"ext {value.code}",
)  # fmt: skip
def test_a_value_that_cannot_be_rebuilt_costs_one_request_not_the_channel(value: Any) -> None:
    with pytest.raises(UndecodableError) as info:
        FULL.unpack(msgpack.packb([7, 42, {"x": value}]))
    assert (info.value.kind, info.value.request) == (7, 42)
    with pytest.raises(UndecodableError) as info:
        FULL.unpack(msgpack.packb([value]))
    assert (info.value.kind, info.value.request) == (None, None)


def test_peers_know_an_undecodable_value_as_a_protocol_error() -> None:
    error = DspexError.from_wire(UndecodableError("m", kind=7, request=1).to_wire())
    assert type(error) is ProtocolError


def test_a_users_error_while_pickling_is_the_cause() -> None:
    class Refuses:
        def __reduce__(self) -> Any:
            raise KeyError("no")

    with pytest.raises(UnserialisableError, match="KeyError: 'no'") as info:
        FULL.pack([7, 1, [Refuses()]])
    assert info.value.path == "result[0]"
    assert isinstance(info.value.__cause__, KeyError)


def test_a_codec_is_safe_in_many_threads_that_switch_inside_a_hook() -> None:
    codec, failures = Codec(pickle=True), []
    start = threading.Barrier(6)

    class Slow:
        def __init__(self, n: int) -> None:
            self.n = n

    def encode(value: Slow) -> Any:
        sum(range(200))
        return [value.n, (value.n,)]

    codec.register(Slow, 30, encode, lambda payload: payload)

    def work(n: int) -> None:
        start.wait()
        for i in range(200):
            message = [4, n, Slow(n), (i, (n,)), "x" * (n * 50)]
            if codec.unpack(codec.pack(message)) != [4, n, [n, (n,)], (i, (n,)), "x" * (n * 50)]:
                failures.append((n, i))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert failures == []


def test_a_failed_message_leaves_nothing_in_the_next() -> None:
    for _ in range(3):
        with pytest.raises(UnserialisableError):
            PLAIN.pack([1, "a" * 100, threading.Lock()])
        assert PLAIN.unpack(PLAIN.pack([1, 2])) == [1, 2]


def test_a_nan_keeps_its_bits() -> None:
    odd = struct.unpack("!d", b"\x7f\xf8\x00\x00\x00\x00\x00\x05")[0]
    assert struct.pack("!d", through(odd)) == b"\x7f\xf8\x00\x00\x00\x00\x00\x05"


def test_a_body_of_many_pieces_is_looked_through_wherever_a_piece_ends() -> None:
    codec = Codec()
    for extra in range(PIECE_BYTES - 40, PIECE_BYTES + 40):
        body = codec.pack([1, {"a": "x" * extra, "b": [None] * 9000, "c": b"y" * (2 * PIECE_BYTES)}])
        check_complete(body)
        assert codec.unpack(body)[1]["c"] == b"y" * (2 * PIECE_BYTES)
        for cut in (len(body) - 1, PIECE_BYTES, PIECE_BYTES + 1, extra):
            with pytest.raises(ValueError, match="incomplete input"):
                check_complete(memoryview(body)[:cut])
