"""dspy's values in a client: their own types, or plain dicts where dspy must not be loaded."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from dspex_runtime.client.values import as_received, as_sent, client_codec
from dspex_runtime.errors import UnserialisableError
from dspex_runtime.wire.codec import Opaque

PACK = """
import dspy
from dspex_runtime.client.values import client_codec
import sys
sys.stdout.buffer.write(client_codec(plain=False).pack([dspy.Prediction(answer="a"), dspy.Example(q=1).with_inputs("q")]))
"""
UNPACK = """
import sys
from dspex_runtime.client.values import client_codec
codec = client_codec(plain={plain})
assert "dspy" not in sys.modules
body = sys.stdin.buffer.read()
values = codec.unpack(body)
again = codec.unpack(body)
print(type(values[0]).__name__, type(again[0]).__name__, values[0]["answer"], values[1]["q"], "dspy" in sys.modules)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("plain", "said"), [(False, "Prediction Prediction a 1 True"), (True, "dict dict a 1 False")])
def test_dspy_is_imported_at_the_first_prediction_and_never_in_plain_mode(plain: bool, said: str) -> None:
    packed = subprocess.run([sys.executable, "-c", PACK], capture_output=True, check=True).stdout
    code = UNPACK.format(plain=plain)
    found = subprocess.run([sys.executable, "-c", code], input=packed, capture_output=True, check=True)
    assert found.stdout.decode().strip() == said


def test_plain_mode_neither_pickles_nor_unpickles() -> None:
    class Mine:
        pass

    with pytest.raises(UnserialisableError):
        client_codec(plain=True).pack([Mine()])
    packed = client_codec(plain=False).pack([Mine()])
    assert type(client_codec(plain=True).unpack(packed)[0]).__name__ == "Opaque"


class Own:
    """Only a pickle carries it."""


def test_what_only_a_pickle_carries_passes_the_runtime_closed() -> None:
    codec = client_codec(plain=False)
    sent = as_sent(codec, [Own(), 1])
    assert [type(item) for item in sent] == [Opaque, int]
    own, one = as_received(codec, sent)
    assert (type(own).__name__, one) == ("Own", 1)
    with pytest.raises(UnserialisableError):
        as_sent(codec, threading.Lock())
