"""What a caller means by its arguments is what travels; what cannot travel or be read is said before anything is started."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path
from typing import Any

import pytest

from dspex_runtime.client.compile_job import job_of
from dspex_runtime.errors import ConfigError, UnserialisableError


class Locked:
    def __init__(self, k: int) -> None:
        self.k, self.lock = k, threading.Lock()


class Threaded:
    def __init__(self, k: int) -> None:
        self.k, self.thread = k, threading.Thread()


class Hopeless:
    def __init__(self, k: int) -> None:
        self.thread = threading.Thread()


def read(data: bytes) -> dict[str, Any]:
    path, job = pickle.loads(data)
    assert all(Path(entry).is_absolute() for entry in path)
    found: dict[str, Any] = pickle.loads(job)
    return found


def job(optimizer: Any = "COPRO", trainset: Any = ({"q": 1},), metric: Any = None, **options: Any) -> dict[str, Any]:
    valset, inputs = options.pop("valset", None), options.pop("inputs", None)
    return read(job_of(optimizer, trainset, metric, valset, inputs, options))


def test_names_data_and_options_travel_as_they_are() -> None:
    found = job("COPRO", iter([{"q": 1}, {"q": 2}]), valset=[{"q": 3}], inputs=("q",), depth=1)
    assert (found["optimizer"], found["options"], found["inputs"], found["metric"]) == ("COPRO", {"depth": 1}, ["q"], None)
    assert (found["trainset"], found["valset"]) == ([{"q": 1}, {"q": 2}], [{"q": 3}])


def test_a_lock_is_a_new_one_there_and_what_holds_more_is_built_again() -> None:
    assert job(Locked(3))["optimizer"].k == 3
    found = job(Threaded(4))["optimizer"]
    assert (found["class"].__name__, found["arguments"]) == ("Threaded", {"k": 4})
    assert job(Locked)["optimizer"]["arguments"] == {}
    with pytest.raises(
        UnserialisableError, match="Hopeless cannot be built again from its arguments: it keeps none that is called 'k'"
    ):
        job(Hopeless(5))


def test_a_file_is_found_where_the_caller_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "metrics.py").write_text("def exact(e, p, t=None): ...\n")
    monkeypatch.chdir(tmp_path)
    assert job(metric="metrics.py:exact")["metric"] == f"{tmp_path}/metrics.py:exact"
    assert job(metric="pkg.mod:exact")["metric"] == "pkg.mod:exact"
    with pytest.raises(ConfigError, match=r"nowhere\.py"):
        job(metric="nowhere.py:exact")


def test_jsonl_is_a_map_a_line(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"q": "é"}\n\n{"q": 2}\n')
    assert job(trainset=path)["trainset"] == [{"q": "é"}, {"q": 2}]


@pytest.mark.parametrize(
    ("text", "why"),
    [('{"q": 1}\n{"q"\n', "line 2: not JSON"), ("[1]\n", "line 1: expected an object with the fields of an example, got list")],
)
def test_what_is_no_jsonl_is_named_by_its_line(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(text)
    with pytest.raises(ConfigError, match=f"train.jsonl, {why}"):
        job(trainset=str(path))


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"trainset": {"q": 1}}, "trainset is a list of Examples or maps"),
        ({"trainset": 3}, "trainset is a list of Examples or maps"),
        ({"trainset": "nowhere.jsonl"}, "trainset cannot be read"),
        ({"valset": "nowhere.jsonl"}, "valset cannot be read"),
        ({"inputs": "question"}, "inputs is a list of names; got the text 'question'"),
    ],
)
def test_arguments_of_another_kind_are_refused(arguments: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        job(**arguments)
