"""Parameters that no module writes: set, rolled back and reset as a module would, and given up when there is one."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dspex_runtime.errors import CheckpointError, ConstraintViolationError, ParameterError
from dspex_runtime.params import image, values
from dspex_runtime.params.view import View
from dspex_runtime.state.health import Health
from dspex_runtime.state.protocol import SHARED
from dspex_runtime.state.service import Service
from dspex_runtime.state.store import Store
from dspex_runtime.state.vault import Vault, memfd
from dspex_runtime.state.writing import Writing
from dspex_runtime.wire.codec import Codec
from helpers.kept_module import SPECS, KeptModule

SHARED_SPECS = {"style": SPECS["style"], "k": {"type": "int", "default": 3}}


class Runtime:
    """The parts of one keeper, in this thread."""

    def __init__(self, state_dir: Path, shared: dict[str, Any] = SHARED_SPECS) -> None:
        self.state_dir = state_dir
        self.told: list[dict[str, Any]] = []
        self.vault = Vault()
        self.service = Service(self.vault, Health(self.told.append))
        self.ask("open", state_dir=str(state_dir))
        self.writing = Writing(self.vault, self._ask, self._tell, state_dir=state_dir, shared=shared)

    def _tell(self, facts: dict[str, Any], fd: int | None = None) -> None:
        self.told.append(facts)

    def ask(self, op: str, /, **args: Any) -> Any:
        return self._ask(op, args)

    def _ask(self, op: str, args: dict[str, Any]) -> Any:
        value, fds = self.service.handle(op, args, [])
        for fd in fds:
            os.close(fd)
        return value

    def start(self, id: str = "a", **options: Any) -> KeptModule:
        info, fds = self.vault.give(id)
        module = KeptModule(self.state_dir, id, partial(self._take, id), **options)
        self.vault.of(id).incarnation = module.incarnation
        self.writing.release(id)
        return module.open(info, [os.dup(fd) for fd in fds])

    def stop(self, module: KeptModule) -> None:
        module.die()
        self.vault.of(module.id).incarnation = 0

    def _take(self, id: str, kind: str, facts: dict[str, Any], fd: int) -> None:
        match kind:
            case "table":
                self.vault.take_table(id, fd)
            case "blob":
                self.vault.take_blob(id, facts["name"], facts["version"], fd)
            case _:
                self.vault.take_volatile(id, fd)

    def write(self, op: str, /, id: str = "a", **args: Any) -> Any:
        if "value" in args:
            args["value"] = bytes(values.encode(Codec(), args["value"]))
        return self.writing.handle(op, {"id": id, "who": "test", **args}, [])[0]

    def read(self, name: str, id: str = "a") -> Any:
        _, (fd,) = self.writing.reader({"id": id}, [])
        view = View(fd, Codec(), lambda name, version: self.vault.blob(id, name, version))
        try:
            return view.get(name)
        finally:
            view.close()

    def checkpoint(self, module: KeptModule) -> None:
        fd = memfd("image", module.image(b"user"))
        self.service.handle("checkpoint", {"id": module.id, "kind": "manual", "keep": 10}, [fd])
        os.close(fd)

    def close(self) -> None:
        self.writing.close()
        self.service._access.close()
        self.vault.close()


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    runtime = Runtime(tmp_path)
    yield runtime
    runtime.close()


def test_a_stopped_modules_parameter_is_set_and_its_next_incarnation_has_it(runtime: Runtime) -> None:
    runtime.stop(runtime.start())
    version, _ = runtime.write("set", name="temperature", value=0.9, expect=None)
    assert runtime.read("temperature") == 0.9
    module = runtime.start(incarnation=2)
    assert (module.owner.get("temperature"), module.owner.version("temperature")) == (0.9, version)
    runtime.stop(module)


def test_it_is_told_to_whoever_watches(runtime: Runtime) -> None:
    runtime.stop(runtime.start())
    runtime.write("set", name="temperature", value=0.9, expect=None)
    (told,) = [each for each in runtime.told if each["type"] == "changed"]
    assert (told["id"], told["name"], told["version"], told["who"]) == ("a", "temperature", 2, "test")
    assert values.decode(Codec(), told["value"]) == 0.9


def test_its_limits_hold_and_what_is_refused_changes_nothing(runtime: Runtime) -> None:
    runtime.stop(runtime.start())
    with pytest.raises(ConstraintViolationError, match="at most 2"):
        runtime.write("set", name="temperature", value=9.0, expect=None)
    with pytest.raises(ParameterError) as caught:
        runtime.write("set", name="temperature", value=1.0, expect=7)
    assert caught.value.code == "conflict"
    assert runtime.read("temperature") == 0.2


def test_it_goes_back_to_a_version_and_to_its_default(runtime: Runtime) -> None:
    runtime.stop(runtime.start())
    for value in (0.5, 0.6):
        runtime.write("set", name="temperature", value=value, expect=None)
    assert runtime.write("rollback", name="temperature", version=2)[0] == 4
    assert runtime.read("temperature") == 0.5
    runtime.write("reset", name="temperature")
    assert runtime.read("temperature") == 0.2
    with pytest.raises(ParameterError):
        runtime.write("rollback", name="temperature", version=77)


def test_while_a_process_lives_it_writes_itself(runtime: Runtime) -> None:
    module = runtime.start()
    with pytest.raises(ParameterError, match="a process of 'a' runs: it writes its parameters itself"):
        runtime.write("set", name="temperature", value=0.9, expect=None)
    runtime.stop(module)


def test_what_was_set_in_memory_stays_with_the_runtime(runtime: Runtime) -> None:
    runtime.stop(runtime.start())
    runtime.write("set", name="notes", value="remember", expect=None)
    module = runtime.start(incarnation=2)
    assert module.owner.get("notes") == "remember"
    runtime.stop(module)


def test_what_a_stopped_module_has_is_readable_in_the_next_runtime(runtime: Runtime, tmp_path: Path) -> None:
    module = runtime.start()
    module.owner.set("temperature", 0.7, who="test")
    runtime.ask("history", id="a", name="temperature", n=1)  # folded while its table, with the specs, is held
    runtime.stop(module)
    runtime.close()
    again = Runtime(tmp_path)
    assert again.read("temperature") == 0.7
    again.write("set", name="temperature", value=0.8, expect=None)
    assert again.read("temperature") == 0.8
    again.close()


def test_of_what_never_had_parameters_there_is_no_table(runtime: Runtime) -> None:
    assert runtime.writing.reader({"id": "nobody"}, []) == (None, [])
    with pytest.raises(ParameterError, match="cannot be had while it does not run: it has none"):
        runtime.write("set", id="nobody", name="x", value=1, expect=None)


def test_the_runtimes_own_parameters_outlive_it(runtime: Runtime, tmp_path: Path) -> None:
    assert runtime.read("style", SHARED) == "brief"
    runtime.write("shared_set", id=SHARED, name="style", value="full", expect=None)
    assert (runtime.read("style", SHARED), runtime.read("k", SHARED)) == ("full", 3)
    with pytest.raises(ConstraintViolationError):
        runtime.write("shared_set", id=SHARED, name="style", value="other", expect=None)
    runtime.close()
    again = Runtime(tmp_path)
    assert again.read("style", SHARED) == "full"
    assert [each["value"] for each in again.ask("history", id=SHARED, name="style", n=1)]
    again.close()


def test_a_stopped_module_is_put_back_to_a_checkpoint(runtime: Runtime) -> None:
    module = runtime.start()
    module.owner.set("temperature", 0.5, who="test")
    runtime.checkpoint(module)
    module.owner.set("temperature", 1.5, who="test")
    runtime.stop(module)
    infos = runtime.write("restore_stopped", members=[["a", 1]], keep=10)
    assert [info["number"] for info in infos["restored"]] == [1]
    assert [(info["number"], info["kind"]) for info in infos["newest"]] == [(2, "restored")]
    assert runtime.read("temperature") == 0.5
    assert runtime.vault.give("a")[0]["rest"], "what its next incarnation has to do itself"
    module = runtime.start(incarnation=2)
    assert module.owner.get("temperature") == 0.5
    runtime.stop(module)
    with pytest.raises(CheckpointError, match="no checkpoint 9"):
        runtime.write("restore_stopped", members=[["a", 9]], keep=10)


def test_several_are_put_back_all_or_none(runtime: Runtime) -> None:
    modules = [runtime.start(id) for id in ("a", "a/b")]
    for module in modules:
        module.owner.set("temperature", 0.5, who="test")
        runtime.checkpoint(module)
        module.owner.set("temperature", 1.5, who="test")
    runtime.stop(modules[0])
    both = [["a", 1], ["a/b", 1]]
    with pytest.raises(ParameterError, match="a process of 'a/b' runs"):
        runtime.write("restore_stopped", members=both, keep=10)
    assert runtime.read("temperature") == 1.5
    runtime.stop(modules[1])
    with pytest.raises(CheckpointError, match="'a/b' has no checkpoint 9"):
        runtime.write("restore_stopped", members=[["a", 1], ["a/b", 9]], keep=10)
    assert runtime.read("temperature") == 1.5
    infos = runtime.write("restore_stopped", members=both, keep=10)
    assert [info["id"] for info in infos["restored"]] == ["a", "a/b"]
    assert infos["newest"][0]["parts"] == {"a/b": 2}
    assert [runtime.read("temperature", id) for id in ("a", "a/b")] == [0.5, 0.5]


def two_put_back(runtime: Runtime) -> list[list[Any]]:
    """Have two stopped modules, and return a checkpoint of each, of other values than they have."""
    for id in ("a", "a/b"):
        module = runtime.start(id)
        module.owner.set("temperature", 0.5, who="test")
        runtime.checkpoint(module)
        module.owner.set("temperature", 1.5, who="test")
        runtime.stop(module)
    return [["a", 1], ["a/b", 1]]


def test_where_the_last_of_several_cannot_be_noted_all_of_them_are_what_they_were(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = two_put_back(runtime)
    note = Store.set_unapplied

    def refused(store: Store, id: str, number: int) -> None:
        note(store, id, number)
        if id == "a/b":
            raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "set_unapplied", refused)
        with pytest.raises(CheckpointError, match="disk I/O error"):
            runtime.write("restore_stopped", members=both, keep=10)
    for id in ("a", "a/b"):
        assert runtime.read("temperature", id) == 1.5
        assert [info["number"] for info in runtime.ask("checkpoints", id=id)] == [1]
        assert not runtime.vault.give(id)[0]["rest"]


@pytest.mark.parametrize("is_released", [True, False], ids=["it runs again", "its disk is full"])
def test_what_cannot_be_undone_of_one_is_told_and_the_others_are_undone(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, is_released: bool
) -> None:
    both = two_put_back(runtime)
    ask = runtime.writing._from_disk

    def fails(op: str, args: dict[str, Any]) -> Any:
        if op != "restored":
            return ask(op, args)
        if is_released:
            runtime.writing.release("a/b")  # an incarnation is about to write
        else:
            patch.setattr(runtime.writing._open["a/b"].owner, "restore", full)
        raise CheckpointError("the disk is full")

    def full(*_: Any, **__: Any) -> None:
        raise ParameterError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(runtime.writing, "_from_disk", fails)
        with pytest.raises(CheckpointError, match="the disk is full"):
            runtime.write("restore_stopped", members=both, keep=10)
    assert [runtime.read("temperature", id) for id in ("a", "a/b")] == [1.5, 0.5]
    (report,) = [each for each in runtime.told if each["type"] == "report"]
    assert report["id"] == "a/b"
    assert report["text"].startswith("'a/b' was not put back to its checkpoint, but its parameters have the values of that: ")


def test_a_writer_that_was_given_up_writes_no_more(runtime: Runtime) -> None:
    runtime.stop(runtime.start())
    writer = runtime.writing._owner("a")
    runtime.writing.release("a")
    assert writer.closed
    runtime.write("set", name="temperature", value=0.9, expect=None)
    assert runtime.read("temperature") == 0.9


def test_a_stored_value_that_todays_limits_refuse_costs_that_value_only(tmp_path: Path) -> None:
    before = Runtime(tmp_path)
    before.write("shared_set", name="k", value=9)
    before.write("shared_set", name="style", value="full")
    before.close()
    after = Runtime(tmp_path, shared={**SHARED_SPECS, "k": {"type": "int", "default": 3, "max": 5}})
    assert (after.read("k", SHARED), after.read("style", SHARED)) == (3, "full")
    (report,) = [each for each in after.told if each["type"] == "report"]
    assert "k: the kept version 2 cannot be used and is dropped: " in report["text"]
    assert after.write("shared_set", name="k", value=4)[0] > 2
    assert after.read("k", SHARED) == 4
    after.close()


def test_parameters_that_cannot_be_read_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime(tmp_path)

    def broken(*_: Any) -> None:
        raise ParameterError("no memory")

    monkeypatch.setattr(runtime.writing, "_made", broken)
    assert runtime.writing.reader({"id": SHARED}, []) == (None, [])
    assert runtime.told[-1]["text"] == f"the parameters of {SHARED!r} cannot be read: no memory"
    runtime.close()


def test_a_stopped_module_without_parameters_is_put_back_too(runtime: Runtime) -> None:
    data = image.encode(image.Image("a", "manual", 1.0, None, 1, user=b"before"))
    fd = memfd("image", data)
    runtime.service.handle("checkpoint", {"id": "a", "kind": "manual", "keep": 10}, [fd])
    os.close(fd)
    assert runtime.write("restore_stopped", members=[["a", 1]], keep=10)["newest"][0]["number"] == 2
    runtime.vault.of("a").incarnation = 2
    with pytest.raises(ParameterError, match="a process of 'a' runs"):
        runtime.write("restore_stopped", members=[["a", 1]], keep=10)


def test_what_only_a_running_module_can_check_is_put_back_without_a_word(tmp_path: Path) -> None:
    specs = {"p": {"type": "dict", "default": {"demos": 0}, "check": "its fields"}}
    runtime = Runtime(tmp_path)
    module = runtime.start(specs=specs)
    runtime.checkpoint(module)
    runtime.stop(module)
    runtime.write("restore_stopped", members=[["a", 1]], keep=10)
    assert [each for each in runtime.told if each["type"] == "report"] == []
    runtime.close()
