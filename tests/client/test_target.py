"""From what a user hands to `start` to the plain spec that travels."""

from __future__ import annotations

import importlib.util
import os
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dspex_runtime as dx
from dspex_runtime.client.target import base_name, caller_path, child_spec, described, is_known_id, prepared
from dspex_runtime.errors import ConfigError, UnserialisableError


class Local(dx.GenServer):
    """A class at the top of a file."""


@pytest.fixture
def loaded_by_hand(tmp_path: Path) -> Iterator[type]:
    """A class of a file under a name that no other process can import, as pytest and notebooks load them."""
    path = tmp_path / "by_hand.py"
    path.write_text("import dspex_runtime as dx\nclass Found(dx.GenServer): pass\n")
    spec = importlib.util.spec_from_file_location("loaded_by_hand", path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["loaded_by_hand"] = module
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    yield module.Found
    del sys.modules["loaded_by_hand"]


def test_an_importable_class_travels_by_name() -> None:
    from dspex_runtime.host.behaviours import GenServer

    assert described(GenServer) == {"server": "dspex_runtime.host.behaviours:GenServer"}


def test_a_class_that_only_this_process_can_find_travels_by_value(loaded_by_hand: type) -> None:
    class Inner(dx.GenServer):
        pass

    for cls in (loaded_by_hand, Inner):
        spec = described(cls)
        assert spec["server"].endswith(f":{cls.__name__}")
        assert pickle.loads(spec["pickled"]).__name__ == cls.__name__


def test_a_class_by_value_is_found_by_a_process_that_cannot_import_its_file(loaded_by_hand: type) -> None:
    data = described(loaded_by_hand)["pickled"]
    code = "import sys, pickle; print(pickle.loads(sys.stdin.buffer.read()).__name__)"
    environment = {**os.environ, "PYTHONPATH": str(Path(dx.__file__).parents[1])}
    found = subprocess.run(
        [sys.executable, "-P", "-c", code], input=data, capture_output=True, cwd="/", env=environment, check=True
    )
    assert found.stdout.strip() == b"Found"


def test_an_instance_travels_by_value_and_says_what_it_is() -> None:
    class Thing:
        def __init__(self) -> None:
            self.n = 3

        def forward(self) -> int:
            return self.n

    spec = described(Thing())
    assert spec["module"].endswith(":Thing")
    assert pickle.loads(spec["pickled"]).forward() == 3


def test_forward_is_not_taken_from_an_instance() -> None:
    class Shy:
        def forward(self) -> None: ...

        def __call__(self) -> None: ...

        def __getattribute__(self, name: str) -> Any:
            assert name != "forward"  # a dspy.Module logs a warning then
            return super().__getattribute__(name)

    assert described(Shy())["module"].endswith(":Shy")


def test_a_file_is_found_on_the_callers_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text("class Mine: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert described("mine.py:Mine") == {"module": f"{tmp_path}/mine.py:Mine"}
    assert described("pkg.mod:Name") == {"module": "pkg.mod:Name"}
    with pytest.raises(ConfigError, match="there is no file"):
        described("absent.py:Mine")


@pytest.mark.parametrize("target", [len, lambda: None, 3, None], ids=["builtin", "lambda", "number", "none"])
def test_what_cannot_be_hosted_is_refused_with_what_can(target: Any) -> None:
    with pytest.raises(ConfigError, match=r"pkg\.mod:Name"):
        described(target)


def test_an_instance_with_a_lock_gets_a_new_one_and_one_with_a_connection_is_refused() -> None:
    class Held:
        def __init__(self, held: Any) -> None:
            self.held = held

        def forward(self) -> None: ...

    assert pickle.loads(described(Held(threading.Lock()))["pickled"]).held.acquire(blocking=False)
    with socket.socket() as connection, pytest.raises(UnserialisableError, match=r"Held\.held, a socket\.socket, cannot be sent"):
        described(Held(connection))


def test_a_saved_state_is_found_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "qa.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    for load in ("qa.json", Path("qa.json")):
        assert child_spec("p:N", id="n", args=(), kwargs={}, keys={"load": load})["load"] == str(tmp_path / "qa.json")
        assert prepared({"id": "n", "module": "p:N", "load": load})["load"] == str(tmp_path / "qa.json")
    with pytest.raises(ConfigError, match=r"load: found 'absent\.json', but there is no file"):
        child_spec("p:N", id="n", args=(), kwargs={}, keys={"load": "absent.json"})
    assert not is_known_id("qa.json")
    with pytest.raises(ConfigError, match=r'a saved state is no program: .* write load: "qa\.json" beside it'):
        described("qa.json")


NAMES = [
    (Local, "local"),
    ("web.py:WebSearch", "web_search"),
    ("pkg.mod:HTTPServer", "http_server"),
    ("programs/qa", "qa"),
    ("/saved/my program/", "my_program"),
]


@pytest.mark.parametrize(("target", "name"), NAMES)
def test_an_id_is_made_from_the_targets_name(target: Any, name: str) -> None:
    assert base_name(target) == name


def test_text_without_colon_is_an_id_unless_it_is_a_directory(tmp_path: Path) -> None:
    assert is_known_id("qa")
    assert is_known_id("sup/qa")
    assert not is_known_id("pkg:Name")
    assert not is_known_id(str(tmp_path))
    assert not is_known_id(Local)


ARGUMENTS = [
    ((), {}, {}),
    ((1, "a"), {}, {"args": [1, "a"]}),
    ((), {"k": [1, {"x": None}]}, {"args": {"k": [1, {"x": None}]}}),
]


@pytest.mark.parametrize(("args", "kwargs", "keys"), ARGUMENTS)
def test_plain_arguments_stay_readable(args: Any, kwargs: Any, keys: Any) -> None:
    spec = child_spec("p:N", id="n", args=args, kwargs=kwargs, keys={})
    assert spec == {"id": "n", "module": "p:N", "sys_path": caller_path(), **keys}


@pytest.mark.parametrize(("args", "kwargs"), [((1,), {"k": 2}), ((), {"k": {1, 2}}), (((1, 2),), {}), ((), {"k": {3: 4}})])
def test_other_arguments_travel_pickled_and_unchanged(args: Any, kwargs: Any) -> None:
    spec = child_spec("p:N", id="n", args=args, kwargs=kwargs, keys={})
    assert pickle.loads(spec["pickled_args"]) == (args, kwargs)
    assert "args" not in spec


def test_classes_in_a_tree_written_as_a_dict_are_made_ready_at_any_depth() -> None:
    class Inner(dx.GenServer):
        pass

    children = [{"id": "a", "server": Inner, "args": [1]}, {"id": "b", "module": "p:N", "args": {"s": {1}}}]
    spec = prepared({"id": "s", "supervisor": {"strategy": "one_for_all", "children": children}})
    a, b = spec["supervisor"]["children"]
    assert pickle.loads(a["pickled"]).__name__ == "Inner"
    assert a["args"] == [1]
    assert pickle.loads(b["pickled_args"]) == ((), {"s": {1}})
    assert children[0]["server"] is Inner


def test_a_spec_that_is_no_dict_is_left_for_the_validation_to_refuse() -> None:
    assert prepared(3) == 3
    assert prepared({"id": "s", "supervisor": 7}) == {"id": "s", "supervisor": 7}


def test_a_spec_with_a_module_and_a_server_is_refused() -> None:
    with pytest.raises(ConfigError, match="either a module: or a server:"):
        prepared({"id": "a", "module": "pkg.mod:M", "server": "pkg.mod:S"})
