"""Reload with real processes: what runs becomes what the file says, and nothing that need not stop does."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

import dspex_runtime as dx
from dspex_runtime.errors import ReloadError
from helpers import reloading
from helpers.reloading import Up, Write, counter, done
from helpers.runtimes import kill_module

pytestmark = pytest.mark.process
write, up = reloading.write, reloading.up

CODE = """
import os
import dspex_runtime as dx

class Counter(dx.GenServer):
    def init(self, start=0): return start
    def handle_call(self, request, from_, state):
        match request:
            case "env": return dx.Reply(os.environ.get("A"), state)
            case "step": return dx.Reply(STEP, state)
            case "nice": return dx.Reply(os.getpriority(os.PRIO_PROCESS, 0), state)
        return dx.Reply(state, state + STEP)

class Tuned(dx.GenServer):
    temperature = dx.Parameter(float, default=0.2, min=0.0, max=2.0)
    def init(self): return None
    def handle_call(self, request, from_, state): return dx.Reply([self.temperature, os.getpid()], state)

class Broken(dx.GenServer):
    def init(self, start=0): raise ValueError("cannot open the index")
    def code_change(self, old_version, state, extra): raise ValueError("cannot open the index")

STEP = 1
"""


def test_each_field_takes_the_least_and_state_goes_along(up: Up, write: Write) -> None:
    rt = up(
        counter("live"), counter("swap", "args: [5]"), counter("restart"), counter("gone"), 'id: tuned, server: "code.py:Tuned"'
    )
    before = {id: rt.info(id) for id in ("live", "swap", "restart")}
    assert [rt.server("swap").call("n") for _ in range(3)] == [5, 6, 7]
    rt.server("live").call("n")
    write(
        counter("new"),
        counter("live", "limits: {nice: 3, mailbox: 50}, metadata: {team: x}"),
        counter("swap", 'args: [100], version: "2"'),
        counter("restart", 'env: {A: "1"}'),
        'id: tuned, server: "code.py:Tuned", params: {temperature: 0.9}',
        restarts=7,
    )
    events: list[dict[str, Any]] = []
    assert done(rt.reload(on_progress=events.append)) == [
        *("done remove gone", "done live root", "done add new", "done live live", "done swap swap"),
        *("done restart restart", "done live tuned"),
    ]
    after = {id: rt.info(id) for id in before}
    assert after["live"].pid == before["live"].pid
    assert (rt.server("live").call("nice"), rt.server("live").call("n"), after["live"].metadata) == (3, 1, {"team": "x"})
    assert after["swap"].pid != before["swap"].pid
    assert (after["swap"].incarnation, after["swap"].version, rt.server("swap").call("n")) == (1, "2", 8)
    assert (after["restart"].incarnation, rt.server("restart").call("env")) == (2, "1")
    assert rt.server("tuned").call(None)[0] == 0.9
    assert rt.server("tuned").params.history("temperature")[0]["who"] == "yaml"
    assert rt.tree()["supervisor"]["max_restarts"] == 7
    assert [child["id"] for child in rt.tree()["children"]] == ["new", "live", "swap", "restart", "tuned"]
    assert [version.why for version in rt.versions("swap")] == ["reload", "start"]
    assert {event["type"] for event in events} == {"reload", "swap"}
    assert not rt.reload()
    assert [info.restarts for info in rt.modules()] == [0] * 5


def test_a_plan_does_nothing(up: Up, write: Write) -> None:
    rt = up(counter("a"))
    write(counter("b"))
    plan = rt.reload(plan=True)
    assert (done(plan), plan.applied) == (["planned remove a", "planned add b"], False)
    assert [info.id for info in rt.modules()] == ["a"]


def test_an_edited_module_is_swapped(up: Up, tmp_path: Path) -> None:
    rt = up(counter("a"), counter("b"))
    (tmp_path / "code.py").write_text(CODE.replace("STEP = 1", "STEP = 10"))
    assert set(rt.changed_sources()) == {"a", "b"}
    result = rt.reload()
    assert done(result) == ["done swap a", "done swap b"]
    assert result.steps[0].changes[0]["new"] == "code.py changed"
    assert (rt.server("a").call("step"), rt.changed_sources()) == (10, {})
    assert not rt.reload()


def test_the_first_step_that_fails_ends_it_and_the_next_reload_does_the_rest(up: Up, write: Write, tmp_path: Path) -> None:
    rt = up(counter("a"), counter("b"), counter("gone"))
    pid = rt.info("a").pid
    write('id: a, server: "code.py:Broken"', counter("b", "args: [9]"), counter("c"))
    with pytest.raises(ReloadError, match=r"swap of 'a' failed: .*; 1 of 4 steps done; not done: b, c") as caught:
        rt.reload()
    assert done(caught.value.result) == ["done remove gone", "failed swap a", "not_done swap b", "not_done add c"]
    assert isinstance(caught.value.__cause__, dx.SwapError)
    assert "cannot open the index" in (caught.value.remote_traceback or "")
    assert (rt.info("a").pid, rt.info("a").state) == (pid, "READY")
    write(counter("a"), counter("b", "args: [9]"), counter("c"))
    assert done(rt.reload()) == ["done swap b", "done add c"]
    assert not rt.reload()


def test_a_value_that_is_refused_is_told_and_changes_nothing(up: Up, write: Write) -> None:
    rt = up('id: tuned, server: "code.py:Tuned"')
    write('id: tuned, server: "code.py:Tuned", params: {temperature: 9}, restart: transient')
    with pytest.raises(ReloadError) as caught:
        rt.reload()
    assert isinstance(caught.value.__cause__, dx.ConstraintViolationError)
    assert rt.server("tuned").call(None)[0] == 0.2
    assert rt.get_childspec("root", "tuned")["restart"] == "permanent"


def test_what_a_user_has_set_stays_when_the_file_says_something_else_now(up: Up, write: Write) -> None:
    rt = up('id: tuned, server: "code.py:Tuned", params: {temperature: 0.5}')
    rt.server("tuned").params["temperature"] = 1.5
    write('id: tuned, server: "code.py:Tuned"')
    assert done(rt.reload()) == ["done live tuned"]
    assert rt.server("tuned").params["temperature"] == 1.5
    write('id: tuned, server: "code.py:Tuned", params: {temperature: 0.7}')
    rt.reload()
    assert rt.server("tuned").params["temperature"] == 0.7
    pid = rt.info("tuned").pid
    kill_module(rt, "tuned")
    assert (rt.server("tuned").call(None)[0], rt.info("tuned").pid != pid) == (0.7, True)


def test_what_is_taken_out_is_as_it_was_when_it_comes_back(up: Up, write: Write) -> None:
    rt = up('id: tuned, server: "code.py:Tuned"', counter("a"))
    rt.server("tuned").params["temperature"] = 1.5
    write(counter("a"))
    assert done(rt.reload()) == ["done remove tuned"]
    with pytest.raises(dx.NoProcessError):
        rt.info("tuned")
    write(counter("a"), 'id: tuned, server: "code.py:Tuned"')
    rt.reload()
    assert rt.server("tuned").params["temperature"] == 1.5


def test_another_file_and_a_dict_will_do(up: Up, write: Write, tmp_path: Path) -> None:
    rt = up(counter("a"))
    other = write(counter("b"), name="other.yaml")
    assert done(rt.reload(other)) == ["done remove a", "done add b"]
    assert rt.status()["file"] == str(other)
    assert not rt.reload()
    target = f"{tmp_path}/code.py:Counter"
    same = {
        "version": 1,
        "runtime": {"spares": 1},
        "tree": {"children": [{"id": "b", "server": target}]},
        "base_dir": str(tmp_path),
    }
    assert done(rt.reload(same)) == ["done swap b"], "code is looked for on this program's path, too"
    assert not rt.reload(same)
    assert done(rt.reload()) == ["done swap b"], "the file is the other one still"


def test_what_is_wrong_with_a_file_is_told_with_its_lines(up: Up, write: Write) -> None:
    rt = up(counter("a"))
    path = write(counter("a", "limit: 1"), counter("a"))
    with pytest.raises(dx.ConfigError) as caught:
        rt.reload()
    assert len(caught.value.problems) == 2
    assert all(problem.startswith(f"{path}:") for problem in caught.value.problems)
    path.write_text(path.read_text().replace("name: reloaded", "name: other"))
    write(counter("a"))
    path.write_text(path.read_text().replace("name: reloaded", "name: other"))
    with pytest.raises(dx.ConfigError, match="1 change that a reload cannot make"):
        rt.reload()
    assert rt.info("a").state == "READY"


def test_calls_go_on_while_everything_is_swapped(up: Up, write: Write) -> None:
    rt = up(counter("a"), counter("b"))
    stop, answers, errors = threading.Event(), {"a": 0, "b": 0}, []

    def call(id: str) -> None:
        server = rt.server(id)
        while not stop.is_set():
            try:
                assert server.call("n") == answers[id]
                answers[id] += 1
            except Exception as exc:
                errors.append(exc)
                return

    threads = [threading.Thread(target=call, args=(id,)) for id in answers]
    for thread in threads:
        thread.start()
    try:
        for number in range(1, 6):
            write(counter("a", f"args: [{number}]"), counter("b", f'limits: {{mailbox: {100 + number}}}, version: "{number}"'))
            assert done(rt.reload()) == ["done swap a", "done swap b"]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert errors == []
    assert min(answers.values()) > 10


def test_tasks_reload_too(up: Up, write: Write) -> None:
    rt = up(counter("a"))
    write(counter("a"), counter("b"))

    async def reload() -> dx.ReloadResult:
        connected = await dx.aio.connect("reloaded")
        try:
            return await connected.reload()
        finally:
            await connected.close()

    assert done(asyncio.run(reload())) == ["done add b"]
    assert not rt.reload()


READY = """
    - id: checked
      module: "program.py:Echo"
      readiness: {{command: {command}, timeout: 20s}}
"""


def test_a_module_is_ready_when_its_command_says_so(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import dspy\nclass Echo(dspy.Module):\n    def forward(self, x): return dspy.Prediction(x=x)\n"
    )
    tree = "version: 1\nname: ready\nruntime: {spares: 0}\ntree:\n  children:\n"
    path = tmp_path / "tree.yaml"
    path.write_text(tree + READY.format(command='"test -f program.py && test -n \\"$DSPEX_SOCKET\\""'))
    with dx.Runtime(path) as rt:
        assert rt.ref("checked").call("forward", x=1)["x"] == 1
        path.write_text(tree + READY.format(command='[sh, -c, "echo the index is stale; exit 3"]'))
        assert [change["field"] for change in rt.reload().steps[0].changes] == ["readiness.command"]
        with pytest.raises(
            dx.StartError, match=r"(?s)readiness command 'sh -c echo the index is stale; exit 3' ended with status 3"
        ):
            rt.restart("checked")
        path.write_text(tree + READY.format(command='"true"'))
        assert done(rt.reload()) == ["done restart checked"]
        path.write_text(tree + READY.format(command='"exit 1"').replace("readiness", 'version: "2"\n      readiness'))
        with pytest.raises(ReloadError, match="readiness command 'exit 1' ended with status 1"):
            rt.reload()
        assert rt.info("checked").version is None, "what was there serves on"


def test_clients_that_have_a_pipe_go_by_the_new_time_out(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import dspy, threading\nclass Slow(dspy.Module):\n    def forward(self, wait): return threading.Event().wait(wait)\n"
    )
    tree = "version: 1\nname: slow\nruntime: {spares: 0}\ntree:\n  children:\n    - {id: slow, module: 'slow.py:Slow'%s}\n"
    path = tmp_path / "tree.yaml"
    path.write_text(tree % "")
    with dx.Runtime(path) as rt:
        ref = rt.ref("slow")
        assert ref.call("forward", wait=0.0) is False
        path.write_text(tree % ", limits: {call_timeout: 200ms}, shutdown: brutal_kill")
        assert done(rt.reload()) == ["done live slow"]
        with pytest.raises(dx.CallTimeoutError):
            ref.call("forward", wait=20.0)
