from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.config.sizes import parse_size, size_hint


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("512MiB", 512 * 2**20),
        ("1GiB", 2**30),
        ("500MB", 500_000_000),
        ("1.5KiB", 1536),
        ("10B", 10),
        ("4 GiB", 2**32),
        ("2kB", 2000),
        ("1TiB", 2**40),
        (4096, 4096),
        (1e9, 1_000_000_000),
        (0, 0),
    ],
)
def test_sizes_are_bytes(value: Any, size: int) -> None:
    assert parse_size(value) == size


@pytest.mark.parametrize(
    "value",
    ["", "512", "512M", "1gib", "-1MiB", True, None, -1, 1.5, float("inf"), float("nan"), 2**70, 10**400, "9" * 50 + "GiB", []],
    ids=repr,
)
def test_everything_else_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"not a size|out of range"):
        parse_size(value)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("512M", "write 512MiB"),
        ("1gb", "write 1GB"),
        ("1 g", "write 1GiB"),
        ("512", "write 512B, or 512 without quotes"),
        ("big", ""),
    ],
)
def test_a_wrong_unit_is_corrected(value: str, hint: str) -> None:
    assert size_hint(value) == hint
