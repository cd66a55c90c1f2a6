from __future__ import annotations

import pytest

from dspex_runtime.config import suggest


@pytest.mark.parametrize(
    ("word", "allowed", "meant"),
    [
        ("permanant", ["permanent", "transient"], "permanent"),
        ("max-restarts", ["max_restarts", "max_seconds"], "max_restarts"),
        ("Strategy", ["strategy"], "strategy"),
        ("always", ["permanent", "transient", "temporary"], "permanent"),
        ("on-failure", ["permanent", "transient", "temporary"], "transient"),
        ("intensity", ["max_restarts", "max_seconds"], "max_restarts"),
        ("any", ["never", "any_significant", "all_significant"], "any_significant"),
        ("extra_args", ["max_children", "extra_arguments"], "extra_arguments"),
        ("zzz", ["permanent", "transient"], None),
        ("", ["permanent"], None),
        ("x" * 100_000, ["permanent"], None),
        ("anything", [], None),
    ],
)
def test_the_closest_word_is_suggested(word: str, allowed: list[str], meant: str | None) -> None:
    assert suggest(word, allowed) == (f"did you mean {meant!r}?" if meant else "")


def test_a_key_at_the_wrong_level_is_found_below() -> None:
    assert suggest("memory", ["metadata", "limits"], nested=["limits.memory"]) == "did you mean 'limits.memory'?"
