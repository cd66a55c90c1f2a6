from __future__ import annotations

import pytest

from dspex_runtime.config.interpolation import interpolate

ENVIRON = {"BROKEN": "a\nb\r\n\n", "HOST": "db", "EMPTY": "", "BYTES": "a\udc80"}


@pytest.mark.parametrize(
    ("text", "result", "used"),
    [
        ("plain", "plain", False),
        ("${HOST}", "db", True),
        ("x${BROKEN}x", "xa\nbx", True),
        ("http://${HOST}:1/${HOST}", "http://db:1/db", True),
        ("${EMPTY}", "", True),
        ("${EMPTY:-x}", "x", True),
        ("${NOPE:-}", "", True),
        ("${NOPE:-a b:-c}", "a b:-c", True),
        ("${HOST:-x}", "db", True),
        ("$$", "$", False),
        ("$${HOST}", "${HOST}", False),
        ("$$${HOST}", "$db", True),
        ("$5 and $HOME", "$5 and $HOME", False),
        ("$", "$", False),
    ],
)
def test_variables_are_replaced(text: str, result: str, used: bool) -> None:
    assert interpolate(text, ENVIRON) == (result, used)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${NOPE}", "the environment variable NOPE is not set; set it, or write ${NOPE:-default}"),
        ("${1x}", r"found ${1x}; allowed: ${VAR} or ${VAR:-default}, and $$ for a plain $"),
        ("${HOST", r"found ${HOST; allowed"),
        ("${}", r"found ${}; allowed"),
        ("${HOST-x}", r"found ${HOST-x}; allowed"),
        ("${BYTES}", "the environment variable BYTES is not UTF-8 text"),
    ],
)
def test_what_cannot_be_replaced_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        interpolate(text, ENVIRON)
    assert message in str(caught.value)


def test_all_missing_variables_are_named_once() -> None:
    with pytest.raises(ValueError, match=r"A is not set.*; the environment variable B") as caught:
        interpolate("${A} ${B} ${A}", {})
    assert str(caught.value).count("variable A") == 1
