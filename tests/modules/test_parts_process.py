"""Sub-modules that are to be processes: who has them, what is asked for, and what they are where there is no runtime."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import dspy
import pytest

import dspex_runtime as dx
from dspex_runtime.core.child_spec import LaunchSpec
from dspex_runtime.core.launch_map import to_map
from dspex_runtime.errors import StartError
from dspex_runtime.host import sub_modules
from dspex_runtime.host.context import Process
from dspex_runtime.modules import parts_process
from dspex_runtime.modules.hosting import ModuleHost
from dspex_runtime.modules.mirror.following import Remote
from dspex_runtime.types import Kind


class Inner(dx.Module):
    k = dx.Parameter(int, default=1)

    def __init__(self, prefix: str = "") -> None:
        super().__init__()
        self.prefix = prefix

    def forward(self, x: str) -> dspy.Prediction:
        return dspy.Prediction(y=self.prefix + x)


class Owner(dx.Module):
    parts = dx.Parts(strategy="rest_for_one", max_restarts=1, max_seconds=2)
    one = dx.sub_module(Inner, prefix="1", process={"concurrency": 2})
    two = dx.sub_module(f"{__file__}:Inner")
    here = dx.sub_module(Inner, inline=True)

    def forward(self, x: str) -> Any:
        return self.one(x=x)


class Outer(dx.Module):
    deep = dx.sub_module(Owner)

    def forward(self, x: str) -> Any:
        return self.deep(x=x)


class Stand(Remote):
    """Stands for a proxy."""

    def __init__(self, id: str) -> None:
        self.dx = SimpleNamespace(id=id)


class Runtime:
    """Answers what a process asks, in the place of the runtime."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.kind = "module"

    def ask(self, op: str, args: dict[str, Any], *, timeout_s: float | None) -> Any:
        assert (op, timeout_s) == ("attach_parts", None)
        self.asked.append(args)
        return [{"name": part["name"], "id": f"qa/{part['name']}", "kind": self.kind, "new": True} for part in args["parts"]]


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    """This process is a module's, `qa`."""
    runtime = Runtime()
    monkeypatch.setattr(parts_process, "ask", runtime.ask)
    monkeypatch.setattr(sub_modules, "reference", Stand)
    monkeypatch.setattr(Process, "assignment", SimpleNamespace(id="qa", launch=LaunchSpec(Kind.MODULE)))
    yield runtime
    parts_process._new.clear()


def hosted(found: Any, *args: Any, **kwargs: Any) -> Any:
    host = ModuleHost(found)
    host.build(args, kwargs)
    return host.program[0]


def test_without_a_runtime_they_are_in_their_owners_process() -> None:
    owner = Owner()
    assert [type(part).__name__ for part in (owner.one, owner.two, owner.here)] == ["Inner"] * 3
    assert owner(x="a").y == "1a"
    assert [name for name, _ in owner.named_parameters()] == ["one.k", "two.k", "here.k"]
    assert Owner.one_opts() == {"inline": False, "process": {"concurrency": 2}, "prefix": "1"}


def test_a_hosted_module_asks_for_all_of_them_at_once(runtime: Runtime) -> None:
    owner = hosted(Owner)
    (asked,) = runtime.asked
    assert {key: value for key, value in asked.items() if key != "parts"} == {
        "strategy": "rest_for_one",
        "max_restarts": 1,
        "max_seconds": 2,
    }
    specs = {part["name"]: part["spec"] for part in asked["parts"]}
    assert list(specs) == ["one", "two"]
    assert (specs["one"]["args"], specs["one"]["concurrency"]) == ({"prefix": "1"}, 2)
    assert specs["two"]["module"] == f"{__file__}:Inner"
    assert (owner.one.dx.id, owner.two.dx.id, type(owner.here)) == ("qa/one", "qa/two", Inner)
    assert parts_process.new_parts() == {"one", "two"}


def test_only_the_hosted_one_has_them(runtime: Runtime) -> None:
    class Around(dx.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = Owner()

        def forward(self, x: str) -> Any:
            return self.inside(x=x)

    assert type(hosted(Around).inside.one) is Inner
    assert type(Owner().one) is Inner
    assert runtime.asked == []


def test_those_of_a_hosted_instance_are_sent_as_they_are(runtime: Runtime) -> None:
    mine = Owner()
    mine.one.prefix = "mine"
    owner = hosted(mine)
    (asked,) = runtime.asked
    assert [part["name"] for part in asked["parts"]] == ["one", "two"]
    assert all("pickled" in part["spec"] for part in asked["parts"])
    assert owner.one.dx.id == "qa/one"


def test_a_server_is_no_part(runtime: Runtime) -> None:
    runtime.kind = "server"
    with pytest.raises(StartError, match=r"the sub-module 'one' is a GenServer; expected a dspy\.Module"):
        hosted(Owner)


def test_for_a_compile_they_are_built_here_of_what_they_are_made_of(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    def launch(name: str, **kwargs: Any) -> LaunchSpec:
        return LaunchSpec(Kind.MODULE, target=f"{__file__}:{name}", **kwargs)

    one = to_map(launch("Inner", kwargs={"prefix": "other"}))
    deep = to_map(launch("Owner", inline={"one": one}))
    copy = SimpleNamespace(id="qa$compile", launch=LaunchSpec(Kind.MODULE, inline={"deep": deep}))
    monkeypatch.setattr(Process, "assignment", copy)
    outer = hosted(Outer)
    assert (outer.deep.one.prefix, outer.deep.two.prefix) == ("other", "")
    assert runtime.asked == []


def test_what_is_a_part_is_told_by_its_id(runtime: Runtime) -> None:
    assert [parts_process.is_part(Stand(id)) for id in ("qa/one", "qa/one/deep", "other", "qa", "qab/x")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert not parts_process.is_part(Inner())


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"strategy": "all"}, r"strategy is one of one_for_one, one_for_all, rest_for_one; got 'all'"),
        ({"max_restarts": -1}, r"max_restarts is a whole number, at least 0; got -1"),
        ({"max_seconds": 0}, r"max_seconds is a number above 0; got 0"),
    ],
)
def test_parts_that_are_wrong_are_refused_where_they_are_written(how: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dx.Parts(**how)
