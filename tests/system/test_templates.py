"""Processes of a spec with `template: true`: built once, forked then; each its own; nothing lost when anything dies."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import dspex_runtime as dx
from helpers.system import Start, again
from helpers.waiting import wait_gone, wait_until

pytestmark = pytest.mark.process

PROGRAM = """
import os
import random

import dspy
import numpy
import dspex_runtime as dx

with open(__file__ + ".imports", "a") as file:
    file.write("x")
os.environ["SAID_BY_THE_FILE"] = "yes"
VERSION = 1


class Echo(dx.Module):
    k = dx.Parameter(int, default=2)
    answer = dx.predictor("question -> answer")

    def __init__(self, n=1):
        super().__init__()
        with open(__file__ + ".built", "a") as file:
            file.write("x")
        self.n = n
        self.made = random.random()

    def forward(self, what="facts"):
        if what == "k":
            self.k += 1
        if what == "demo":
            self.answer.demos = [{"question": "q", "answer": "a"}]
        return dspy.Prediction(
            n=self.n, k=self.k, version=VERSION, ppid=os.getppid(), made=self.made, demos=len(self.answer.demos),
            drawn=[random.random(), float(numpy.random.rand())], id=dx.self_id(), cwd=os.getcwd(),
            env=[os.environ.get("DSPEX_ID"), os.environ.get("SAID_BY_THE_FILE"), os.environ.get("OWN")],
        )
"""
SERVER = """
import os
import dspex_runtime as dx

with open(__file__ + ".imports", "a") as file:
    file.write("x")

class Holds(dx.GenServer):
    def init(self, *args):
        return list(args)
    def handle_call(self, request, from_, state):
        return dx.Reply([state, os.getppid(), dx.self_id()], state)
"""


class Program:
    """A file of the user's, and a runtime that runs what is in it."""

    def __init__(self, start: Start, path: Path, text: str, name: str) -> None:
        self.path = path
        path.write_text(text)
        self.word = "module" if name == "Echo" else "server"
        self.target = f"{path}:{name}"
        self._start = start

    def child(self, id: str, **keys: Any) -> dict[str, Any]:
        return {"id": id, self.word: self.target, "template": True, "backoff": "none", **keys}

    def runtime(self, *children: dict[str, Any], **options: Any) -> dx.Runtime:
        """Return a runtime with these children, or one called "a", and its template."""
        self.rt = self._start(*(children or (self.child("a"),)), **options)
        self.ready()
        return self.rt

    def ready(self, but: int | None = None) -> int:
        """Wait for the template, another than `but`; return its pid."""
        return wait_until(lambda: next((pid for pid in templates(self.rt).values() if pid != but), 0), what="a template")

    def add(self, id: str, **keys: Any) -> dx.Runtime:
        self.rt.start_child("root", self.child(id, **keys))
        return self.rt

    def count(self, what: str) -> int:
        return len(Path(f"{self.path}.{what}").read_text())


def templates(rt: dx.Runtime) -> dict[str, int]:
    return {name: pid for name, pid in rt.status()["zygote_pids"].items() if name.startswith("template of ")}


def parent_of(pid: int | None) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("PPid"))


def facts(rt: dx.Runtime, id: str, what: str = "facts") -> Any:
    return again(lambda: rt.module(id)(what=what))


def crash(rt: dx.Runtime, id: str, signo: int = signal.SIGSEGV) -> Any:
    """Kill a child's process; return why the runtime says it ended, once the next one is there."""
    pid, down = rt.info(id).pid, rt.monitor(id)
    assert pid is not None
    os.kill(pid, signo)
    notice = down.wait(10)
    assert notice is not None
    wait_until(lambda: rt.info(id).state == "READY" and rt.info(id).pid != pid)
    return notice.reason


@pytest.fixture
def program(runtime: Start, tmp_path: Path) -> Program:
    return Program(runtime, tmp_path / "echoes.py", PROGRAM, "Echo")


@pytest.fixture
def served(runtime: Start, tmp_path: Path) -> Program:
    return Program(runtime, tmp_path / "holds.py", SERVER, "Holds")


class TestBuilt:
    """What the file and the constructor do is done once; what is one process's is its own."""

    def test_once_for_all_that_are_built_alike(self, program: Program) -> None:
        rt = program.runtime()
        built, imported = program.count("built"), program.count("imports")
        for id in ("b", "c"):
            program.add(id)
            assert facts(rt, id).ppid == program.ready()
        assert crash(rt, "a") == ("signal", "SEGV")
        assert facts(rt, "a").ppid == program.ready()
        now = program.count("built"), program.count("imports")
        assert now == (built, imported) == (2, 2)  # the first one's, and the template's

    def test_and_each_is_itself(self, program: Program) -> None:
        rt = program.runtime()
        program.add("b", env={}), program.add("c")
        one, other = facts(rt, "b"), facts(rt, "c")
        assert (one.id, other.id, one.env[0], other.env[0]) == ("b", "c", "b", "c")
        assert one.made == other.made  # the constructor's doing
        assert not set(one.drawn) & set(other.drawn)
        assert [one.env[1], one.cwd] == ["yes", facts(rt, "a").cwd]

    def test_with_other_arguments_or_surroundings_is_another(self, program: Program) -> None:
        rt = program.runtime(program.child("a"), program.child("b", args={"n": 5}), program.child("c", env={"OWN": "c"}))
        wait_until(lambda: len(templates(rt)) == 3)
        assert crash(rt, "b") == ("signal", "SEGV")
        assert crash(rt, "c") == ("signal", "SEGV")
        pids = templates(rt)
        assert (facts(rt, "b").n, facts(rt, "b").ppid) == (5, pids["template of b"])
        assert (facts(rt, "c").env[2], facts(rt, "c").ppid) == ("c", pids["template of c"])

    def test_servers_share_one_whatever_their_inits_arguments_are(self, served: Program) -> None:
        rt = served.runtime(served.child("a", args=[1]))
        for number, id in enumerate("bcd"):
            served.add(id, args=[number])
            assert rt.server(id).call("?") == [[number], served.ready(), id]
        assert served.count("imports") == 2

    def test_and_no_template_is_made_for_who_wants_none(self, served: Program) -> None:
        rt = served.runtime(served.child("a", template=False), served.child("b"))
        assert list(templates(rt)) == ["template of b"]
        assert crash(rt, "a") == ("signal", "SEGV")
        assert rt.server("a").call("?")[1] != served.ready()

    def test_the_first_start_does_not_wait_for_it(self, served: Program) -> None:
        with served.path.open("a") as file:
            file.write("\nimport time, sys\nif 'DSPEX_ID' not in os.environ: time.sleep(1000)\n")
        rt = served._start(served.child("a"))
        begun = time.monotonic()
        rt.start_child("root", served.child("b"))
        assert rt.server("b").call("?")[2] == "b"
        assert time.monotonic() - begun < 10
        assert rt.status()["zygote_pids"]["all"] == rt.server("b").call("?")[1]

    def test_parameters_and_predictors_are_those_of_the_process_before(self, program: Program) -> None:
        rt = program.runtime()
        program.add("b")
        facts(rt, "a", "k"), facts(rt, "a", "k"), facts(rt, "b", "demo")
        for id in ("a", "b"):
            crash(rt, id, signal.SIGKILL)
        assert [(facts(rt, id).k, facts(rt, id).demos, facts(rt, id).ppid == program.ready()) for id in "ab"] == [
            (4, 0, True),
            (2, 1, True),
        ]


class TestEdited:
    """A change of a file is seen by the next process, and by the template after it."""

    def test_file_is_what_the_next_process_runs(self, program: Program) -> None:
        rt = program.runtime()
        old = program.ready()
        program.path.write_text(PROGRAM.replace("VERSION = 1", "VERSION = 2"))
        crash(rt, "a")
        assert facts(rt, "a").version == 2
        program.ready(but=old)
        crash(rt, "a")
        assert (facts(rt, "a").version, facts(rt, "a").ppid) == (2, program.ready())

    def test_file_leaves_those_alone_that_run(self, served: Program) -> None:
        rt = served.runtime()
        old = served.ready()
        served.add("b")
        served.path.write_text(SERVER.replace("list(args)", "['new']"))
        served.add("c")
        assert [rt.server(id).call("?")[:2] for id in "bc"] == [[[], old], [["new"], old]]
        served.ready(but=old)
        for id in "bc":
            assert crash(rt, id) == ("signal", "SEGV")  # reported by the old one, which then has nothing left to be there for
        assert wait_gone([old]) == []

    def test_file_that_is_broken_is_told_as_ever(self, served: Program) -> None:
        rt = served.runtime()
        served.path.write_text("raise LookupError('half an edit')")
        with pytest.raises(dx.StartError, match="half an edit"):
            served.add("b")
        served.path.write_text(SERVER)
        assert served.add("c").server("c").call("?")[2] == "c"
        assert rt.info("a").state == "READY"


class TestTogether:
    """With what else starts processes."""

    def test_replicas_come_from_one(self, served: Program) -> None:
        rt = served.runtime(served.child("a", replicas={"count": 2}))
        rt.scale("a", 4)
        parents = {parent_of(rt.info(f"a#{number}").pid) for number in (2, 3)}
        assert parents == {served.ready()}

    def test_a_new_version_has_its_own_and_takes_the_state(self, program: Program) -> None:
        rt = program.runtime()
        old = program.ready()
        facts(rt, "a", "k")
        rt.swap("a", args={"n": 7})
        assert (facts(rt, "a").n, facts(rt, "a").k) == (7, 3)
        new = program.ready(but=old)
        crash(rt, "a")
        assert (facts(rt, "a").n, facts(rt, "a").k, facts(rt, "a").ppid) == (7, 3, new)
        rt.rollback("a")
        assert (facts(rt, "a").n, facts(rt, "a").k) == (1, 3)

    def test_one_that_is_swapped_for_what_is_on_the_disk_is_built_anew(self, program: Program) -> None:
        rt = program.runtime()
        program.path.write_text(PROGRAM.replace("VERSION = 1", "VERSION = 2"))
        rt.swap("a")
        assert facts(rt, "a").version == 2
        rt.rollback("a")
        assert facts(rt, "a").version == 1
        crash(rt, "a")
        assert facts(rt, "a").version == 1

    def test_a_reload_switches_it_on_for_the_next_start(self, served: Program, tmp_path: Path) -> None:
        text = f"version: 1\nname: y\ntree: {{children: [{{id: a, server: '{served.target}', backoff: none, template: {{}}}}]}}\n"
        (tmp_path / "y.yaml").write_text(text.replace("{}", "false"))
        with dx.Runtime(str(tmp_path / "y.yaml")) as rt:
            pid = rt.info("a").pid
            (tmp_path / "y.yaml").write_text(text.replace("{}", "true"))
            rt.reload()
            assert (rt.info("a").pid, rt.get_childspec("root", "a")["template"], templates(rt)) == (pid, True, {})
            crash(rt, "a")
            served.rt = rt
            served.ready()
            crash(rt, "a")
            assert rt.server("a").call("?")[1] == served.ready()

    def test_checkpoints_are_restored(self, program: Program) -> None:
        rt = program.runtime()
        facts(rt, "a", "k")
        made = rt.checkpoint("a")
        facts(rt, "a", "k"), crash(rt, "a"), rt.restore("a", made)
        crash(rt, "a")
        assert (facts(rt, "a").k, facts(rt, "a").ppid) == (3, program.ready())


class TestDeath:
    """Of whatever dies, everything else lives on, and how it ended is told exactly."""

    def test_of_a_template_costs_nothing(self, served: Program) -> None:
        rt = served.runtime()
        old = served.ready()
        served.add("b"), served.add("c")
        pid = rt.info("b").pid
        os.kill(old, signal.SIGKILL)
        served.ready(but=old)
        assert (rt.info("b").pid, rt.server("b").call("?")[1]) == (pid, rt.status()["zygote_pids"]["all"])
        assert crash(rt, "b") == ("signal", "SEGV")
        assert crash(rt, "c", signal.SIGKILL) == "killed"
        assert rt.server("b").call("?")[1] == served.ready()

    def test_of_a_template_and_a_process_at_once_is_told_of_both(self, served: Program) -> None:
        rt = served.runtime()
        served.add("b"), served.add("c")
        old, pid = served.ready(), rt.info("b").pid
        assert pid is not None
        downs = [rt.monitor(id) for id in "bc"]
        os.kill(old, signal.SIGSTOP)
        os.kill(pid, signal.SIGSEGV)
        os.kill(rt.info("c").pid or 0, signal.SIGABRT)
        os.kill(old, signal.SIGKILL)
        assert [getattr(down.wait(10), "reason", None) for down in downs] == [("signal", "SEGV"), ("signal", "ABRT")]
        wait_until(lambda: rt.server("b").call("?")[2] == "b" and rt.server("c").call("?")[2] == "c")

    def test_of_the_zygote_and_then_the_template(self, served: Program) -> None:
        rt = served.runtime()
        served.add("b"), served.add("c"), served.add("d")
        old, zygote = served.ready(), rt.status()["zygote_pids"]["all"]
        os.kill(zygote, signal.SIGKILL)
        wait_until(lambda: rt.status()["zygote_pids"]["all"] not in (None, zygote))
        assert crash(rt, "b") == ("signal", "SEGV")
        assert rt.server("b").call("?")[1] == old  # it forks on
        os.kill(old, signal.SIGKILL)
        wait_until(lambda: rt.server("c").call("?")[1] == rt.pid)
        assert crash(rt, "c") == ("signal", "SEGV")
        assert crash(rt, "d", signal.SIGKILL) == "killed"

    def test_of_both_and_a_process_at_once(self, served: Program) -> None:
        rt = served.runtime()
        served.add("b")
        pid, down = rt.info("b").pid, rt.monitor("b")
        for each in (served.ready(), rt.status()["zygote_pids"]["all"]):
            os.kill(each, signal.SIGSTOP)
        os.kill(pid or 0, signal.SIGSEGV)
        for each in (served.ready(), rt.status()["zygote_pids"]["all"]):
            os.kill(each, signal.SIGKILL)
        notice = down.wait(10)
        assert notice is not None
        assert notice.reason == ("signal", "SEGV")
        wait_until(lambda: rt.info("b").state == "READY")

    def test_of_the_runtime_is_that_of_all(self, served: Program) -> None:
        rt = served.runtime()
        served.add("b")
        pids = [served.ready(), rt.info("a").pid, rt.info("b").pid, *(pid for pid in rt.status()["zygote_pids"].values())]
        os.kill(rt.pid, signal.SIGKILL)
        assert wait_gone([pid for pid in pids if pid is not None]) == []

    def test_of_the_last_process_is_some_time_later_that_of_its_template(self, served: Program) -> None:
        rt = served.runtime()
        served.add("b")
        pid = served.ready()
        rt.delete("a"), rt.delete("b")
        assert served.ready() == pid  # whoever is started in the next minute has it
        assert served.add("c").server("c").call("?")[1] == pid


REFUSED: dict[str, tuple[str, str]] = {
    "a thread": (
        "import threading, time; threading.Thread(target=time.sleep, args=(100,), daemon=True, name='t9').start()",
        "'t9'",
    ),
    "a child process": ("import subprocess; child = subprocess.Popen(['sleep', '100'])", "left child process(es)"),
    "an open file": ("kept = open(__file__)", "building it left open"),
    "a socket": ("import socket; kept = socket.socket()", "building it left open: a socket"),
    "an exception": ("import os\nif 'DSPEX_ID' not in os.environ: raise LookupError('not here')", "LookupError: not here"),
    "its end": ("import os\nif 'DSPEX_ID' not in os.environ: os._exit(3)", "it ended while it was built: exit status 3"),
}


def refusal(rt: dx.Runtime, start: Callable[[], Any]) -> str:
    """Return why there is no template of what `start` starts."""
    with rt.events() as events:
        start()
        return next(str(event["message"]) for event in events if event["type"] == "template_failed")


@pytest.mark.parametrize(("line", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_shared_is_refused_and_processes_start_as_ever(served: Program, line: str, said: str) -> None:
    served.path.write_text(f"{line}\n{SERVER}")
    rt = served.rt = served._start()
    assert said in refusal(rt, partial(served.add, "a"))
    assert served.add("b").server("b").call("?")[1] == rt.status()["zygote_pids"]["all"]
    assert crash(rt, "a") == ("signal", "SEGV")
    assert templates(rt) == {}


ASKS = """
import dspy
from dspy.utils import DummyLM

class Asks(dspy.Module):
    def __init__(self):
        super().__init__()
        with dspy.context(lm=DummyLM([{"answer": "yes"}])):
            self.said = dspy.Predict("question -> answer")(question="?").answer
    def forward(self):
        return self.said
"""


def test_one_that_asked_an_lm_is_refused(runtime: Start, tmp_path: Path) -> None:
    (tmp_path / "asks.py").write_text(ASKS)
    rt = runtime(runtime={"preload": ["dspy"]})
    child = {"id": "a", "module": f"{tmp_path}/asks.py:Asks", "template": True}
    assert "building it asked an LM" in refusal(rt, lambda: rt.start_child("root", child))
    assert rt.module("a")() == "yes"


def test_an_owner_of_processes_is_refused(runtime: Start) -> None:
    rt = runtime(runtime={"preload": ["dspy"]})
    owner = {"id": "a", "module": f"{Path(__file__).parent}/programs_parts.py:Answerer", "template": True}
    assert "cannot have a template" in refusal(rt, lambda: rt.start_child("root", owner))
    assert rt.info("a").state == "READY"
