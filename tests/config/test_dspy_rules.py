"""Files of `lm:` and `dspy:` exist and become absolute, a key that would have no effect is refused; nothing is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dspex_runtime.config import parse, parse_child

WRONG = {
    "a file that is not there": (
        "dspy: {callbacks: ['lm.py:A', 'no.py:C']}",
        "dspy.callbacks[1]: found 'no.py:C', but there is no file",
    ),
    "a class in a file that is not there": ("dspy: {rm: {class: 'no.py:C'}}", "dspy.rm.class: found 'no.py:C', but there"),
    "a callback of an LM": ("lm: {model: m, callbacks: ['no.py:C']}", "lm.callbacks[0]: found 'no.py:C', but there is no file"),
    "a directory for no disk": ("dspy: {cache: {disk: false, dir: x}}", "dspy.cache.dir: found with disk: false"),
    "entries for no memory": ("dspy: {cache: {memory: false, memory_entries: 1}}", "memory_entries: found with memory: false"),
    "a directory for all under a child without disk": (
        "dspy: {cache: {disk: false}}\ntree: {children: [{id: a, module: 'p:M', dspy: {cache: {dir: x}}}]}",
        "tree.children[0].dspy.cache.dir: found with disk: false",
    ),
    "in defaults": ("defaults: {dspy: {rm: 'no.py:R'}}", "defaults.dspy.rm: found 'no.py:R', but there is no file"),
    "in a child": (
        "tree: {children: [{id: a, module: 'p:M', dspy: {callbacks: ['no.py:C']}}]}",
        "tree.children[0].dspy.callbacks[0]: found 'no.py:C', but there is no file",
    ),
}


@pytest.mark.parametrize(("text", "words"), WRONG.values(), ids=WRONG)
def test_what_cannot_work_is_named_with_its_place(check: Any, text: str, words: str) -> None:
    (found,) = check(text).problems
    assert words in found


@pytest.mark.parametrize(("written", "absolute"), [("answers", "{folder}/answers"), ("~/a", "{home}/a"), ("/tmp/a", "/tmp/a")])
def test_the_directory_of_the_cache_starts_from_the_files_own(
    check: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, written: str, absolute: str
) -> None:
    monkeypatch.setenv("HOME", "/home/x")
    text = f"dspy: {{cache: {{dir: {written}}}}}\ntree: {{children: [{{id: a, module: 'p:M', dspy: {{cache: {{disk: true}}}}}}]}}"
    spec = parse(check(text).config)
    launch = spec.tree.children[0].launch
    assert launch is not None
    assert launch.dspy == {"cache": {"dir": absolute.format(folder=folder, home="/home/x"), "disk": True}}


def test_a_child_of_a_client_finds_its_files_on_the_clients_path(check: Any, folder: Path, tmp_path_factory: Any) -> None:
    own = tmp_path_factory.mktemp("own")
    (own / "mine.py").touch()
    spec = parse(check("{}\n").config)
    given = {
        "id": "a",
        "module": "p:M",
        "sys_path": [str(own)],
        "lm": "mine.py:LM",
        "dspy": {"callbacks": ["lm.py:C", "mine.py:C"]},
    }
    launch = parse_child(given, spec=spec).launch
    assert launch is not None
    assert launch.lm == {"class": f"{own}/mine.py:LM"}
    assert launch.dspy == {"callbacks": [f"{folder}/lm.py:C", f"{own}/mine.py:C"]}
