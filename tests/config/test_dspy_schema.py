"""What `lm:` and `dspy:` may say: a model, a class or a file; every setting that is one; keys from the environment."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dspex_runtime.config import inspect, normalize
from dspex_runtime.errors import ConfigError

SHORT = {
    "a model": ("openai/gpt-4o-mini", {"model": "openai/gpt-4o-mini"}),
    "a model with a tag": ("ollama_chat/llama3.2:1b", {"model": "ollama_chat/llama3.2:1b"}),
    "a class": ("pkg.mod:MyLM", {"class": "pkg.mod:MyLM"}),
    "a file": ("lm.py:MyLM", {"class": "{folder}/lm.py:MyLM"}),
    "an empty variable": ("${NO_SUCH:-}", None),
    "a variable": ("${MODEL}", {"model": "openai/m"}),
    "null": (None, None),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lm.py").touch()
    return tmp_path


def read(folder: Path, text: str) -> dict[str, Any]:
    (folder / "qa.yaml").write_text(text)
    return normalize(folder / "qa.yaml", environ={"MODEL": "openai/m", "KEY": "sk-a-key-of-some-length\n"})


def problem(folder: Path, text: str) -> str:
    (folder / "qa.yaml").write_text(text)
    (found,) = inspect(folder / "qa.yaml", environ={"BAD": "sk-with\nsomething", "KEY": "sk-a-key-of-some-length"}).problems
    return found


@pytest.mark.parametrize(("text", "lm"), SHORT.values(), ids=SHORT)
def test_an_lm_may_be_text(folder: Path, text: str | None, lm: Any) -> None:
    lm = lm if lm is None else {key: value.format(folder=folder) for key, value in lm.items()}
    written = json.dumps(text)
    child = f"tree: {{children: [{{id: a, module: 'p:M', lm: {written}}}]}}"
    config = read(folder, f"lm: {written}\ndefaults: {{lm: {written}}}\n{child}")
    assert (config["lm"], config["defaults"]["lm"], config["tree"]["children"][0]["lm"]) == (lm, lm, lm)
    assert normalize(config) == config


EVERY_SETTING = """
dspy:
  track_usage: true
  adapter: {class: "lm.py:Mine", args: {strict: true}}
  callbacks: ["lm.py:Mine", {class: "p:C", args: [1]}, "mlflow.dspy:autolog"]
  rm: lm.py:search
  interpreter_factory: dspy:PythonInterpreter
  num_threads: 4
  async_max_workers: 2
  max_errors: 1
  provide_traceback: true
  disable_history: false
  max_history_size: 0
  max_trace_size: 10
  warn_on_type_mismatch: false
  allow_tool_async_sync_conversion: true
  cache: {dir: ./answers, disk_size: 1GiB, memory_entries: 100, disk: true, memory: true}
"""


def test_every_setting_may_be_given_for_all_and_for_one(folder: Path) -> None:
    config = read(folder, EVERY_SETTING + "tree: {children: [{id: a, module: 'p:M', dspy: {num_threads: 1}}]}")
    settings = config["dspy"]
    assert settings["adapter"] == {"class": f"{folder}/lm.py:Mine", "args": {"strict": True}}
    assert settings["callbacks"] == [f"{folder}/lm.py:Mine", {"class": "p:C", "args": [1]}, "mlflow.dspy:autolog"]
    assert settings["rm"] == f"{folder}/lm.py:search"
    assert settings["cache"]["dir"] == f"{folder}/answers"
    assert settings["cache"]["disk_size"] == 2**30
    assert config["tree"]["children"][0]["dspy"] == {"num_threads": 1}
    assert normalize(config) == config


WRONG = {
    "a typo": ("dspy: {num_thread: 4}", "did you mean 'num_threads'?"),
    "a typo in the cache": ("dspy: {cache: {directory: x}}", "allowed: dir, disk, memory, disk_size, memory_entries"),
    "of a running call": ("dspy: {usage_tracker: true}", "found the unknown key 'usage_tracker'"),
    "no number": ("dspy: {num_threads: many}", "dspy.num_threads: found 'many' (text); allowed: a whole number >= 1"),
    "callbacks that are no list": ("dspy: {callbacks: 'p:C'}", "dspy.callbacks: found 'p:C' (text); allowed: a list of callbacks"),
    "an adapter without its module": ("dspy: {adapter: JSONAdapter}", "dspy.adapter: found 'JSONAdapter' (text)"),
    "an object without a class": ("dspy: {adapter: {args: {}}}", "an adapter needs class:"),
    "an LM that is a number": ("lm: 4", "lm: found 4 (a whole number); allowed: a map with model"),
    "an empty LM": ("lm: ''", "lm: found '' (text); allowed: a map with model"),
    "a key in the file": ("lm: {model: m, api_key: sk-a-key-of-some-length}", 'keys come from the environment: write "${NAME}"'),
    "a key among the arguments": (
        "lm: {class: 'p:L', args: {api_key: sk-a-key-of-some-length}}",
        "lm.args.api_key: found a value (not",
    ),
    "a key in a header": (
        "lm: {model: m, headers: {Authorization: 'Bearer sk-a-key-of-some-length'}}",
        "lm.headers.Authorization: found a value (not shown) in the file",
    ),
    "a key of a callback": (
        "dspy: {callbacks: [{class: 'p:C', args: {secret_key: sk-a-key-of-some-length}}]}",
        "args.secret_key: found",
    ),
    "a key of two lines": ("lm: {model: m, api_key: '${BAD}'}", "lm.api_key: found a value (not shown) with a line break"),
}


@pytest.mark.parametrize(("text", "words"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_named_with_its_place(folder: Path, text: str, words: str) -> None:
    found = problem(folder, text)
    assert words in found
    assert "sk-" not in found


@pytest.mark.parametrize("key", ["none", "sk-local", "", "${KEY}", "x${KEY}"])
def test_placeholders_and_variables_are_keys(folder: Path, key: str) -> None:
    lm = read(folder, f"lm: {{model: m, api_key: '{key}'}}")["lm"]
    assert lm.get("api_key", "") == key.replace("${KEY}", "sk-a-key-of-some-length")


def test_what_only_sounds_like_a_key_may_stand_in_a_file(folder: Path) -> None:
    text = "lm: {model: m, max_tokens: 100, stop: ['<|end_of_the_text_marker|>'], headers: {Authorization: 'Bearer ${KEY}'}}"
    assert read(folder, text)["lm"]["headers"] == {"Authorization": "Bearer sk-a-key-of-some-length"}


def test_a_program_may_give_a_key_as_it_has_it() -> None:
    assert normalize({"lm": {"model": "m", "api_key": "sk-a-key-of-some-length"}})["lm"]["api_key"].startswith("sk-")


def test_what_only_clients_write_is_unknown_in_a_file(folder: Path) -> None:
    assert "found the unknown key 'pickled'" in problem(folder, "dspy: {adapter: {class: 'p:A', pickled: x}}")
    adapter = {"class": "no.py:A", "pickled": b"x"}
    assert normalize({"dspy": {"adapter": adapter}, "lm": adapter})["dspy"] == {"adapter": adapter}


@pytest.mark.process
def test_settings_are_checked_without_dspy(folder: Path) -> None:
    (folder / "qa.yaml").write_text(EVERY_SETTING + "  num_thread: 4\n")
    code = "import sys\nfrom dspex_runtime.config import inspect\nprint(*inspect('qa.yaml').problems)\nprint('dspy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert "dspy.num_thread: found the unknown key 'num_thread'" in done.stdout
    assert done.stdout.endswith("False\n")


def test_mistakes_of_a_dict_are_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"lm: found text; allowed: model: or class:|lm\.args: found without class:"):
        normalize({"lm": {"args": {}}})
