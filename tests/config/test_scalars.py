from __future__ import annotations

import math
from typing import Any

import pytest

from dspex_runtime.config.scalars import TAGS, construct, resolve

WORDS = [
    ("", None),
    ("~", None),
    ("null", None),
    ("true", True),
    ("False", False),
    ("1", 1),
    ("-7", -7),
    ("+7", 7),
    ("010", 10),
    ("0x1f", 31),
    ("0o17", 15),
    ("1.5", 1.5),
    (".5", 0.5),
    ("1e9", 1e9),
    ("-1.5E-3", -0.0015),
    (".inf", math.inf),
    ("-.Inf", -math.inf),
    # what YAML 1.1 reads differently
    ("yes", "yes"),
    ("no", "no"),
    ("on", "on"),
    ("off", "off"),
    ("1:30", "1:30"),
    ("1_000", "1_000"),
    ("2024-01-01", "2024-01-01"),
    ("=", "="),
    ("text", "text"),
    ("1.2.3", "1.2.3"),
    ("5s", "5s"),
    ("0b1", "0b1"),
    ("nan", "nan"),
    ("9" * 30, "9" * 30),
]


@pytest.mark.parametrize(("text", "value"), WORDS)
def test_unquoted_words_mean_what_yaml_1_2_says(text: str, value: Any) -> None:
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


def test_not_a_number_is_a_number() -> None:
    assert math.isnan(resolve(".nan"))


@pytest.mark.parametrize(
    ("tag", "text", "message"),
    [
        ("tag:yaml.org,2002:python/object:os.system", "x", "found the tag !!python/object:os.system; allowed: plain values only"),
        ("!mine", "x", "found the tag !mine; allowed: plain values only"),
        (TAGS["int"], "five", "found !!int 'five'"),
        (TAGS["int"], "9" * 30, "found a number of 30 digits"),
        (TAGS["int"], "18446744073709551616", "allowed: whole numbers from"),
    ],
)
def test_other_tags_and_numbers_are_refused(tag: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        construct(tag, text)
    assert message in str(caught.value)
