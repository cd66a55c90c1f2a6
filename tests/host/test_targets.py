"""What a spec's target leads to, and what a wrong one says."""

from __future__ import annotations

import inspect
import os
import pickle
import sys
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dspex_runtime.core.child_spec import LaunchSpec
from dspex_runtime.errors import StartError
from dspex_runtime.host.targets import arguments, find, prepend_paths, resolve
from dspex_runtime.types import Kind


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Undo what importing changes in this process."""
    path, modules = list(sys.path), dict(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - set(modules):
        del sys.modules[name]
    sys.modules.update(modules)


@pytest.fixture
def bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python keeps bytecode, as it does where nobody asked it not to."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)


def spec(target: str | None = None, **fields: Any) -> LaunchSpec:
    return LaunchSpec(Kind.MODULE, target=target, **fields)


def write(folder: Path, name: str, source: str) -> str:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(source)
    return str(folder / name)


CLASS = "class It:\n    class Inner:\n        pass\n"


def test_a_dotted_module_is_imported() -> None:
    assert find(spec("collections:OrderedDict")) is OrderedDict


def test_a_name_may_be_dotted(tmp_path: Path) -> None:
    path = write(tmp_path, "target_nested.py", CLASS)
    assert find(spec(f"{path}:It.Inner")).__qualname__ == "It.Inner"


def test_a_file_is_a_module_of_its_own_name_with_its_folder_first(tmp_path: Path) -> None:
    path = write(tmp_path, "target_alone.py", CLASS)
    found = find(spec(f"{path}:It"))
    assert (found.__module__, sys.path[0]) == ("target_alone", str(tmp_path))
    assert sys.modules["target_alone"].It is found


def test_a_relative_file_is_found_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "target_relative.py", CLASS)
    monkeypatch.chdir(tmp_path)
    assert find(spec("target_relative.py:It")).__module__ == "target_relative"
    assert sys.path[0] == str(tmp_path)


def test_a_second_look_finds_the_same_module(tmp_path: Path) -> None:
    path = write(tmp_path, "target_twice.py", CLASS)
    assert find(spec(f"{path}:It")) is find(spec(f"{path}:It"))


def test_a_sibling_that_imports_the_file_back_gets_the_same_module(tmp_path: Path) -> None:
    write(tmp_path, "target_sibling.py", "import target_main\ndef cls():\n    return target_main.It\n")
    path = write(tmp_path, "target_main.py", f"{CLASS}import target_sibling\n")
    assert sys.modules.get("target_main") is None
    found = find(spec(f"{path}:It"))
    assert sys.modules["target_sibling"].cls() is found


TAKEN = {
    "a module of Python": ("random.py", "dspex_file_random"),
    "one of Python that is not loaded": ("antigravity.py", "dspex_file_antigravity"),
    "a package that is loaded": ("pytest.py", "dspex_file_pytest"),
    "no identifier": ("my module-2.py", "dspex_file_my_module_2"),
}


@pytest.mark.parametrize(("name", "module"), TAKEN.values(), ids=TAKEN.keys())
def test_a_file_never_takes_the_name_of_another_module(tmp_path: Path, name: str, module: str) -> None:
    before = sys.modules.get(name.removesuffix(".py"))
    assert find(spec(f"{write(tmp_path, name, CLASS)}:It")).__module__ == module
    assert sys.modules.get(name.removesuffix(".py")) is before


def test_two_files_of_one_name_are_two_modules(tmp_path: Path) -> None:
    first, second = (write(tmp_path / folder, "target_same.py", f"class It:\n    at = {folder!r}\n") for folder in ("a", "b"))
    assert (find(spec(f"{first}:It")).at, find(spec(f"{second}:It")).at) == ("a", "b")


def test_a_file_that_raises_leaves_no_half_module(tmp_path: Path) -> None:
    path = write(tmp_path, "target_broken.py", f"{CLASS}raise OSError('not now')\n")
    with pytest.raises(OSError, match="not now"):
        find(spec(f"{path}:It"))
    assert "target_broken" not in sys.modules


def test_a_pickled_object_wins_over_a_target() -> None:
    assert find(spec("no.such:Name", pickled=pickle.dumps(OrderedDict))) is OrderedDict
    assert find(spec(pickled=pickle.dumps(OrderedDict(a=1)))) == {"a": 1}


ERRORS = {
    "nothing": (None, "neither a target nor a pickled object"),
    "no colon": ("answering", "not of the form"),
    "no name": ("pkg.mod:", "not of the form"),
    "no module": (":Name", "not of the form"),
    "no file": ("/nowhere/it.py:It", "no file '/nowhere/it.py'"),
    "nearly a name": ("fractions:Fractoin", "^'fractions' has no 'Fractoin'; did you mean 'Fraction'[?]$"),
    "no such name": ("fractions:Nothing", "^'fractions' has no 'Nothing'; its classes: Fraction$"),
    "no such inner name": ("collections:OrderedDict.nothing", "OrderedDict has no 'nothing'$"),
}


@pytest.mark.parametrize(("target", "words"), ERRORS.values(), ids=ERRORS.keys())
def test_a_wrong_target_says_what_is_wrong(target: str | None, words: str) -> None:
    with pytest.raises(StartError, match=words):
        find(spec(target))


NAMES = "from typing import Any\nclass One: pass\ndef right(): pass\ndef _hidden(): pass\n"


def test_of_a_file_only_its_own_names_of_the_wanted_kind_are_told(tmp_path: Path) -> None:
    path = write(tmp_path, "target_names.py", NAMES)
    with pytest.raises(StartError, match=r"^target_names\.py has no 'wrong'; its classes: One$"):
        resolve(f"{path}:wrong")
    with pytest.raises(StartError, match=r"^target_names\.py has no 'wrong'; its functions: right$"):
        resolve(f"{path}:wrong", "functions", inspect.isroutine)


def test_no_more_than_ten_names_are_told(tmp_path: Path) -> None:
    path = write(tmp_path, "target_many.py", "".join(f"class C{number}: pass\n" for number in range(12)))
    with pytest.raises(StartError, match=r"its classes: C0, C1, C10, C11, C2, C3, C4, C5, C6, C7, [.]{3}$"):
        resolve(f"{path}:wrong")


def test_a_directory_is_never_taken_for_a_module(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="metadata"):  # of a program that dspy saved
        find(spec(str(tmp_path)))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"args": (1,), "kwargs": {"a": 2}}, ((1,), {"a": 2})),
        ({"pickled_args": pickle.dumps(([1], {"a": {2}}))}, ((1,), {"a": {2}})),
        ({"args": ("first",), "pickled_args": pickle.dumps(([1], {"a": {2}}))}, (("first", 1), {"a": {2}})),
        ({}, ((), {})),
    ],
    ids=["plain", "pickled", "both", "none"],
)
def test_arguments_come_plain_or_pickled(fields: dict[str, Any], expected: Any) -> None:
    assert arguments(spec("m:N", **fields)) == expected


def test_paths_go_first_in_order_and_once() -> None:
    rest = [path for path in sys.path if path != "/b"]
    sys.path.append("/b")
    prepend_paths(("/a", "", "/b", "/a"))
    assert sys.path == ["/a", "/b", *rest]


def test_a_file_written_after_its_folder_was_searched_is_found(tmp_path: Path) -> None:
    prepend_paths((str(tmp_path),))
    with pytest.raises(ModuleNotFoundError):
        resolve("target_late:It")
    info = os.stat(tmp_path)
    write(tmp_path, "target_late.py", CLASS)
    os.utime(tmp_path, ns=(info.st_atime_ns, info.st_mtime_ns))  # the finder's cache is asked for the folder's time
    prepend_paths((str(tmp_path),))
    assert resolve("target_late:It").__module__ == "target_late"


SERVER = """
import dspex_runtime.host.behaviours as dx
{extra}
class It(dx.GenServer):
    def init(self): return {value}
    def handle_call(self, request, from_, state): return dx.Reply(state, state)
"""


@pytest.mark.process
def test_a_file_changed_between_two_processes_is_picked_up(fork: Any, tmp_path: Path, bytecode: None) -> None:
    seen = []
    changed = int(time.time()) + 3600  # of any second that is not long over
    for value in (1, 2):  # the same size and within the same second: nothing that a bytecode file could tell the two by
        path = write(tmp_path, "target_changes.py", SERVER.format(extra="", value=value))
        os.utime(path, (changed, changed))
        process = fork()
        process.start(f"{path}:It", kind=Kind.SERVER)
        seen.append(process.client().call("$call", None))
    assert seen == [1, 2]


@pytest.mark.process
def test_a_sibling_changed_between_two_processes_is_picked_up(fork: Any, tmp_path: Path, bytecode: None) -> None:
    seen = []
    changed = int(time.time()) + 3600
    for value in (1, 2):
        os.utime(write(tmp_path, "target_beside.py", f"VALUE = {value}"), (changed, changed))
        path = write(tmp_path, "target_uses.py", SERVER.format(extra="import target_beside", value="target_beside.VALUE"))
        process = fork()
        process.start(f"{path}:It", kind=Kind.SERVER)
        seen.append(process.client().call("$call", None))
    assert seen == [1, 2]


def test_bytecode_is_kept_of_old_files_and_of_new_ones(tmp_path: Path, bytecode: None) -> None:
    old, young = write(tmp_path, "target_old.py", CLASS), write(tmp_path, "target_young.py", CLASS)
    os.utime(old, (0, 1_000_000_000))
    find(spec(f"{old}:It"))
    find(spec(f"{young}:It"))
    kept = sorted(path.name.partition(".")[0] for path in (tmp_path / "__pycache__").iterdir())
    assert kept == ["target_old", "target_young"]


def test_a_folder_made_after_it_was_searched_for_is_searched(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    prepend_paths((str(folder),))
    with pytest.raises(ModuleNotFoundError):
        resolve("target_in_new_folder:It")
    write(folder, "target_in_new_folder.py", CLASS)
    prepend_paths((str(folder),))
    assert resolve("target_in_new_folder:It").__module__ == "target_in_new_folder"
