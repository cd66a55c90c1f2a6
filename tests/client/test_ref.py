"""References are values: compared, hashed, pickled; they connect where they are used."""

from __future__ import annotations

import asyncio
import copy
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dspex_runtime.client import aio
from dspex_runtime.client.ref import ModuleRef, ServerRef
from dspex_runtime.client.session import session_at
from dspex_runtime.client.signal_ops import exit
from dspex_runtime.client.steps import run
from dspex_runtime.errors import ConfigError, NoProcessError, RuntimeUnreachableError
from dspex_runtime.wire.messages import REPLY


def test_equal_addresses_are_equal_references(session: Any) -> None:
    assert ModuleRef(session, "qa") == ModuleRef(session, "qa")
    assert hash(ModuleRef(session, "qa")) == hash(ModuleRef(session, "qa"))
    assert ModuleRef(session, "qa") != ModuleRef(session, "other")
    assert ModuleRef(session, "qa") != ServerRef(session, "qa")
    assert ModuleRef(session, "qa") != ModuleRef(None, "qa", "/another.sock")


@pytest.mark.parametrize("cls", [ModuleRef, ServerRef, aio.ModuleRef, aio.ServerRef], ids=lambda cls: cls.__module__ + cls.__name__)
def test_a_pickled_reference_is_the_same_reference(session: Any, cls: Any) -> None:
    ref = cls(session, "qa")
    for again in (pickle.loads(pickle.dumps(ref)), copy.deepcopy(ref)):
        assert again == ref
        assert again.session is session
    assert repr(ref) == f"<{cls.__name__} 'qa'>"


def test_a_reference_that_arrives_connects_at_its_first_use(runtime: Any, module: Any, short_dir: Path) -> None:
    path = str(short_dir / "fake.sock")
    listener = runtime.listen(path)
    runtime.start("qa", module())
    ref = pickle.loads(pickle.dumps(ModuleRef(None, "qa", path)))
    assert ref.call("ask", 5) == 5
    assert session_at(path) is ref.session
    ref.session.close()
    listener.shutdown(2)
    listener.close()


def test_a_reference_to_a_runtime_that_is_gone_says_so(short_dir: Path) -> None:
    with pytest.raises(RuntimeUnreachableError, match="no runtime answers at"):
        ModuleRef(None, "qa", str(short_dir / "gone.sock")).call("ask")


def test_names_of_arguments_belong_to_the_module(runtime: Any, session: Any, module: Any) -> None:
    seen: list[Any] = []

    def serve(pipe: Any) -> None:
        while (message := pipe.next()) is not None:
            seen.append(message[2:5])
            pipe.say(7, message[1], None)

    runtime.start("qa", module(serve))
    ModuleRef(session, "qa").call(question="q", method="m", self="s")
    assert seen == [["__call__", [], {"question": "q", "method": "m", "self": "s"}]]


def test_predictors_and_modes_of_a_module_are_calls_of_both_kinds_of_reference(runtime: Any, session: Any, module: Any) -> None:
    seen: list[Any] = []

    def serve(pipe: Any) -> None:
        while (message := pipe.next()) is not None:
            seen.append(message[2:5])
            pipe.say(7, message[1], "done")

    async def awaited() -> Any:
        there = aio.ModuleRef(session, "qa")
        return await there.predict("answer", name="n"), await there.train(), await there.eval()

    runtime.start("qa", module(serve))
    runtime.handlers["info"] = lambda args: {"id": args["id"], "kind": "module", "state": "READY"}
    here = ModuleRef(session, "qa")
    assert (here.predict("answer", name="n"), here.train(), here.eval()) == ("done", None, None)  # type: ignore[func-returns-value]
    assert asyncio.run(awaited()) == ("done", None, None)
    assert seen == [["$predict", ["answer"], {"name": "n"}], ["train", [], {}], ["eval", [], {}]] * 2


@pytest.mark.parametrize("drive", [lambda s: ModuleRef(s, "qa").train(), lambda s: asyncio.run(aio.ModuleRef(s, "qa").train())])
@pytest.mark.parametrize("down", [[], ["qa#1"], ["qa#0", "qa#2"]], ids=str)
def test_the_mode_of_a_group_is_set_in_each_replica_once(
    runtime: Any, session: Any, grouped: Any, drive: Any, down: list[str]
) -> None:
    seen: list[Any] = []

    def serve(pipe: Any) -> None:
        while (message := pipe.next()) is not None:
            seen.append(message[2])
            pipe.say(REPLY, message[1], None)

    grouped(serve, serve, serve)
    replicas = ["qa#0", "qa#1", "qa#2"]
    for id in down:
        del runtime.modules[id]
    runtime.handlers["info"] = lambda args: {"id": "qa", "kind": "module", "state": "READY", "replicas": replicas}
    if down:
        with pytest.raises(NoProcessError, match=f"all replicas but {', '.join(down)} "):
            drive(session)
    else:
        drive(session)
    assert seen == ["train"] * (3 - len(down))


SYS = {
    "get_state": lambda ref: ref.get_state(),
    "replace_state": lambda ref: ref.replace_state(str),
    "status": lambda ref: ref.get_status(),
    "suspend": lambda ref: ref.suspend(),
    "resume": lambda ref: ref.resume(),
    "debug": lambda ref: ref.log("get"),
}


@pytest.mark.parametrize("op", SYS)
def test_2_10_system_functions_wait_five_seconds_unless_told_otherwise(runtime: Any, session: Any, op: str) -> None:
    asked: list[Any] = []
    runtime.handlers["module_op"] = lambda args: asked.append((args["op"], args["timeout"]))
    SYS[op](ServerRef(session, "qa"))
    assert asked == [(op, 5.0)]


@pytest.mark.parametrize(
    "reason", ["killed", "noproc", ("signal", "SEGV"), ("exit_status", 3), ("limit", "memory", "x"), "kill", "custom", 5]
)
def test_2_5_stop_with_a_reason_that_only_happens_is_refused_and_the_allowed_ones_are_named(session: Any, reason: Any) -> None:
    with pytest.raises(ConfigError, match=r"allowed: 'normal', 'shutdown', \('shutdown', x\) or \('error', "):
        ServerRef(session, "qa").stop(reason)


@pytest.mark.parametrize("ask", [lambda ref: ref.install("h", 5), lambda ref: ref.replace_state(5)], ids=["install", "replace"])
def test_2_10_what_is_no_function_is_refused_before_it_is_sent(session: Any, ask: Any) -> None:
    with pytest.raises(ConfigError, match="takes a function, got 5"):
        ask(ServerRef(session, "qa"))


def test_2_7_exit_with_any_other_term_is_an_error(runtime: Any, session: Any) -> None:
    asked: list[Any] = []
    runtime.handlers["exit"] = lambda args: asked.append(args["reason"])
    client: Any = SimpleNamespace(session=session)
    for reason in ("kill", "custom", "killed"):
        run(exit(client, "qa", reason))
    assert asked == ["kill", ("error", "Exit", "custom", ""), ("error", "Exit", "killed", "")]
