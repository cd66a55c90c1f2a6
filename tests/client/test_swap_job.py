"""What a swap sends: the new version as a start would, its code in a form that the new process opens, and nothing that is wrong."""

from __future__ import annotations

import math
import os
import pickle
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from client.servers import Counter

import dspex_runtime as dx
from dspex_runtime.client.swap_job import member, seconds
from dspex_runtime.client.target import caller_path, child_spec
from dspex_runtime.errors import ConfigError, UnserialisableError


class Local(dx.GenServer):
    def init(self, start: int = 0) -> int:
        return start


def plus(state: int) -> int:
    return state + 1


def spec(*args: Any, **kwargs: Any) -> Any:
    return member("qa", *args, **kwargs)["spec"]


# -- the new version


def test_without_anything_it_is_the_same_again() -> None:
    assert member("sup/qa") == {"id": "sup/qa", "spec": None, "version": None, "migrate": None, "verify": None, "extra": None}


@pytest.mark.parametrize("to", ["pkg.mod:Name", f"{Path(__file__).parent}/servers.py:Counter", Counter, Local])
def test_a_target_is_what_a_start_takes_and_the_arguments_stay(to: Any) -> None:
    assert spec(to) == child_spec(to, id=None, args=(), kwargs={}, keys={})
    assert "args" not in spec(to)


def test_an_instance_and_a_saved_program_have_no_arguments(tmp_path: Path) -> None:
    assert spec(Local())["args"] == []
    assert spec(str(tmp_path))["args"] == []
    assert spec(str(tmp_path))["module"] == str(tmp_path)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"args": [1, "a"]}, {"args": [1, "a"]}),
        ({"args": {"k": 3}}, {"args": {"k": 3}}),
        ({"kwargs": {"k": 3}}, {"args": {"k": 3}}),
        ({"args": {"k": 3}, "kwargs": {"m": 4}}, {"args": {"k": 3, "m": 4}}),
        ({"args": ()}, {"args": []}),
        ({"kwargs": {}}, {"args": []}),
    ],
)
def test_arguments_take_the_place_of_all_that_there_were(given: Any, told: Any) -> None:
    assert spec(**given) == told
    assert spec("pkg.mod:Name", **given) == {"module": "pkg.mod:Name", **told, "sys_path": caller_path()}


def test_arguments_that_yaml_cannot_say_are_found_without_another_place_for_the_code(tmp_path: Path, monkeypatch: Any) -> None:
    found = spec(args=[1], kwargs={"k": {2}})
    assert found.keys() == {"pickled_args"}
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != caller_path()[0]])
    assert pickle.loads(found["pickled_args"]) == ((1,), {"k": {2}})
    assert caller_path()[-1] not in ("", ".")
    assert spec("pkg.mod:Name", args=[{2}]).keys() == {"module", "pickled_args", "sys_path"}


# -- its code


def test_functions_travel_by_value_and_find_what_goes_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "only_of_this_client.py").write_text("def minus(state):\n    return state - 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import only_of_this_client  # type: ignore[import-not-found]

    found = member("qa", migrate=plus, verify=only_of_this_client.minus, extra=[1])
    del sys.modules["only_of_this_client"]
    sys.path.remove(str(tmp_path))
    assert pickle.loads(found["migrate"])(1) == 2
    assert pickle.loads(found["verify"]["pickled"])(1) == 0
    assert pickle.loads(found["extra"]) == [1]


def test_functions_are_named_by_file_or_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "moves_of_a_test.py").write_text("def up(state):\n    return state + 1\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    found = member("qa", migrate="moves_of_a_test.py:up", verify="operator:not_")
    monkeypatch.chdir("/")
    assert pickle.loads(found["migrate"])(1) == 2
    assert pickle.loads(found["verify"]["pickled"])(0) is True
    with pytest.raises(ConfigError, match=r"no file .*nowhere\.py"):
        member("qa", migrate="nowhere.py:up")


def test_verify_may_be_a_method_or_a_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert member("qa", verify="selftest")["verify"] == {"call": "selftest"}
    assert member("qa", verify=["curl", "-f", "./x"])["verify"] == {"command": ["curl", "-f", "./x"]}
    assert member("qa", verify=("./check.sh", "-v"))["verify"] == {"command": [os.path.join(tmp_path, "check.sh"), "-v"]}


# -- what is wrong


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"to": 3}, "a target is"),
        ({"to": print}, "is a function"),
        ({"to": "nowhere.py:Name"}, "no file"),
        ({"args": "abc"}, "args is a list of positional arguments, or a map of named ones; got 'abc'"),
        ({"args": 3}, "args is a list"),
        ({"kwargs": [1]}, "kwargs is a map"),
        ({"version": 2}, 'version is text, such as "2.1.0"; got 2'),
        ({"migrate": 3}, 'migrate is a function, or "file.py:fn" or "pkg.mod:fn"; got 3'),
        ({"migrate": "up"}, "migrate is a function"),
        ({"verify": "curl -f x"}, "the name of a method, or a command as a list of words; got 'curl -f x'"),
        ({"verify": []}, "verify is"),
        ({"verify": ["curl", 3]}, "verify is"),
    ],
)
def test_what_is_wrong_is_said_before_the_runtime_is_asked(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        member("qa", **wrong)
    assert message in str(caught.value)


def test_what_cannot_travel_is_named() -> None:
    thread = threading.current_thread()
    with pytest.raises(UnserialisableError, match="extra"):
        member("qa", extra=[thread])


@pytest.mark.parametrize(
    ("given", "found"), [(None, None), (math.inf, None), (3, 3.0), (0, 0.0), ("5s", 5.0), ("1m30s", 90.0), (0.25, 0.25)]
)
def test_durations_are_seconds_or_text(given: Any, found: float | None) -> None:
    assert seconds("drain", given) == found


@pytest.mark.parametrize("wrong", [-1, "soon", True, math.nan, [], "5 s"])
def test_what_is_no_duration_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="drain is a duration such as 100ms"):
        seconds("drain", wrong)
    with pytest.raises(ConfigError, match="above 0"):
        seconds("timeout", 0, least=", above 0")
