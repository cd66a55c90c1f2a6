"""The zygote over its socket: forks, exact exit statuses, acknowledgements, strays, its own end."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from dspex_runtime.osproc.channel import FdChannel
from dspex_runtime.osproc.descendants import children_of
from dspex_runtime.osproc.mark import forked_by, read_mark
from dspex_runtime.osproc.zygote_loop import STRAYS_EVERY_S
from dspex_runtime.wire.codec import Codec
from helpers.fake_runtime import Child, FakeRuntime
from helpers.waiting import PATIENCE_S, is_alive, is_zombie, wait_gone, wait_until

pytestmark = pytest.mark.process

SETSID_EXEC = """
import subprocess
p = subprocess.Popen(["sleep", "1000"], start_new_session=True)
reply(p.pid)
"""
SETSID_FORK = """
import signal
r, w = os.pipe()
pid = os.fork()
if pid == 0:
    os.setsid()
    os.close(control_fd)
    os.write(w, b"x")
    while True:
        signal.pause()
os.read(r, 1)
reply(pid)
"""
# The daemon's parent ends at once, so the daemon is the zygote's child while its module lives.
DAEMON = """
import subprocess
out = subprocess.run(["sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!"], capture_output=True, text=True).stdout
reply(int(out))
"""


@pytest.fixture
def rt() -> Iterator[FakeRuntime]:
    with FakeRuntime() as runtime:
        assert runtime.spawn()[0] == "ready"
        yield runtime


def comm_of(pid: int) -> str:
    with open(f"/proc/{pid}/comm") as file:
        return file.read().strip()


def test_ready_says_what_was_imported_and_that_one_thread_is_left() -> None:
    with FakeRuntime() as rt:
        kind, facts = rt.spawn(["json", "decimal"])
        assert (kind, facts["modules"], facts["threads"], facts["pid"]) == ("ready", ["json", "decimal"], 1, rt.zygote.pid)
        assert facts["seconds"] >= 0


EXITS = [
    ("returns 0", "status = 0", 0),
    ("returns 3", "status = 3", 3),
    ("sys.exit()", "import sys; sys.exit()", 0),
    ("sys.exit(4)", "import sys; sys.exit(4)", 4),
    ("sys.exit(text)", "import sys; sys.exit('an exit text that belongs here')", 1),
    ("os._exit(0)", "os._exit(0)", 0),
    ("os._exit(3)", "os._exit(3)", 3),
    ("raises", "raise RuntimeError('a traceback that belongs here')", 1),
    ("SIGKILL", "os.kill(os.getpid(), 9)", -signal.SIGKILL),
    ("SIGTERM", "os.kill(os.getpid(), 15)", -signal.SIGTERM),
    ("SIGSEGV", "os.kill(os.getpid(), 11)", -signal.SIGSEGV),
    ("os.abort", "os.abort()", -signal.SIGABRT),
]


@pytest.mark.parametrize(("source", "code"), [case[1:] for case in EXITS], ids=[case[0] for case in EXITS])
def test_exit_status_is_exact(rt: FakeRuntime, source: str, code: int) -> None:
    child = rt.fork_one()
    child.run(source)
    assert os.waitstatus_to_exitcode(rt.end(child)) == code


def test_end_of_the_control_pipe_ends_a_child(rt: FakeRuntime) -> None:
    child = rt.fork_one()
    child.sock.close()
    assert rt.end(child) == 0


def test_a_fork_carries_its_warmth(rt: FakeRuntime) -> None:
    assert [child.ask("reply(warmth)") for child in rt.fork(2, warmth=2)] == [2, 2]
    assert [message for message in rt.order if message[0] == "forked"] == [["forked", c.pid, 2] for c in rt.children]


def test_children_that_die_at_once_are_all_reported_once(rt: FakeRuntime) -> None:
    children = rt.fork(300)
    for child in children:
        os.kill(child.pid, signal.SIGKILL)
    assert rt.exited(*children) == [signal.SIGKILL] * 300  # FakeRuntime refuses a second report
    for child in children:
        rt.send("reap", child.pid)
    wait_until(lambda: not any(os.path.exists(f"/proc/{child.pid}") for child in children))


def test_forks_go_on_while_others_die(rt: FakeRuntime) -> None:
    doomed = rt.fork(40)
    rt.send("fork", 40, False)
    for child in doomed:
        child.run("os._exit(5)")
    made = []
    while len(made) < 40 or len(rt.exits) < 40:
        match rt.receive():
            case ["forked", pid, _]:
                made.append(Child(pid, rt.channel.take_fd()))
            case ["exited", pid, status]:
                rt._note(pid, status)
                rt.send("reap", pid)
    rt.children += made
    assert [rt.exits[child.pid] for child in doomed] == [5 << 8] * 40
    assert all(child.ask("reply(1)") == 1 for child in made)


def test_a_pid_is_not_free_before_it_is_acknowledged(rt: FakeRuntime) -> None:
    child, other = rt.fork(2)
    os.kill(child.pid, signal.SIGKILL)
    rt.exited(child)
    other.run("status = 0")
    rt.end(other)  # a later death is served meanwhile
    assert is_zombie(child.pid)
    os.kill(child.pid, signal.SIGTERM)  # still its own number: no error, no stranger
    rt.send("reap", child.pid)
    wait_until(lambda: not os.path.exists(f"/proc/{child.pid}"))


def test_acknowledging_the_living_the_unknown_or_twice_does_nothing(rt: FakeRuntime) -> None:
    child = rt.fork_one()
    for pid in (child.pid, 1, rt.zygote.pid):
        rt.send("reap", pid)
    assert child.ask("reply(os.getpid())") == child.pid
    child.run("status = 0")
    assert rt.end(child) == 0
    rt.send("reap", child.pid)
    assert rt.fork_one().ask("reply(1)") == 1


def test_leftovers_of_the_process_group_die_with_the_module(rt: FakeRuntime) -> None:
    child = rt.fork_one()
    leftover = child.ask("import subprocess; reply(subprocess.Popen(['sleep', '1000']).pid)")
    child.run("os._exit(0)")
    rt.end(child)
    assert wait_gone([leftover]) == []
    wait_until(lambda: not os.path.exists(f"/proc/{leftover}"))  # and no zombie of it stays


@pytest.mark.parametrize("source", [SETSID_EXEC, SETSID_FORK, DAEMON], ids=["exec", "fork", "daemon"])
def test_an_escaped_grandchild_dies_soon_after_its_module(rt: FakeRuntime, source: str) -> None:
    child = rt.fork_one()
    escaped = child.ask(source)
    os.kill(child.pid, signal.SIGKILL)
    rt.end(child)
    assert wait_gone([escaped]) == []
    wait_until(lambda: not os.path.exists(f"/proc/{escaped}"))


def test_a_daemon_of_a_living_module_is_left_alone_when_another_module_dies(rt: FakeRuntime) -> None:
    owner, other, third = rt.fork(3)
    daemon = owner.ask(DAEMON)
    gone = other.ask(SETSID_EXEC)
    for child in (other, third):
        os.kill(child.pid, signal.SIGKILL)
        rt.end(child)
    assert wait_gone([gone]) == []  # the search for strays has been made
    assert is_alive(daemon)


def test_the_end_of_the_zygote_ends_everything_below_it(rt: FakeRuntime) -> None:
    stubborn, other = rt.fork(2)
    stubborn.ask("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); reply(1)")
    pids = [stubborn.pid, other.pid, *(other.ask(source) for source in (SETSID_EXEC, SETSID_FORK, DAEMON))]
    pids.append(other.ask("import subprocess; reply(subprocess.Popen(['sleep', '1000'], env={}, start_new_session=True).pid)"))
    assert rt.close() == 0
    assert wait_gone(pids) == []


def test_quit_ends_the_zygote(rt: FakeRuntime) -> None:
    child = rt.fork_one()
    rt.send("quit")
    assert os.waitpid(rt.zygote.pid, 0)[1] == 0
    assert wait_gone([child.pid]) == []


def test_quit_ends_what_another_zygote_of_the_run_has_made_too(rt: FakeRuntime) -> None:
    escaped = rt.fork_one().ask(SETSID_EXEC)
    rt.kill_zygote()
    rt.spawn()
    assert is_alive(escaped)
    rt.send("quit")
    assert os.waitpid(rt.zygote.pid, 0)[1] == 0
    assert wait_gone([escaped]) == []


@pytest.mark.parametrize("how", ["its socket ends", "its imports fail"])
def test_while_the_runtime_lives_a_zygote_ends_only_what_it_has_made(rt: FakeRuntime, how: str) -> None:
    child, first = rt.fork_one(), (rt.channel, rt.zygote)
    kind, _ = rt.spawn([] if how == "its socket ends" else ["no_such_module_at_all"])
    other = rt.fork_one() if kind == "ready" else None
    rt.channel.close()
    os.waitpid(rt.zygote.pid, 0)
    rt.channel, rt.zygote = first
    assert other is None or wait_gone([other.pid]) == []
    assert child.ask("reply(1)") == 1


def test_the_guard_outlives_the_zygote_that_started_it(rt: FakeRuntime) -> None:
    (guard,) = [pid for pid in children_of(rt.zygote.pid) if comm_of(pid) == "dspex-guard"]
    rt.channel.close()
    os.waitpid(rt.zygote.pid, 0)
    assert is_alive(guard)


@pytest.mark.parametrize("signo", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_from_a_terminal_do_not_end_the_zygote(rt: FakeRuntime, signo: signal.Signals) -> None:
    os.kill(rt.zygote.pid, signo)
    assert rt.fork_one().ask("reply(1)") == 1


def test_an_illegal_message_ends_the_zygote_and_its_children(rt: FakeRuntime) -> None:
    child = rt.fork_one()
    rt.send("frok", 1)
    assert wait_gone([rt.zygote.pid, child.pid]) == []


def test_a_fork_that_fails_says_so_and_the_next_succeeds(rt: FakeRuntime) -> None:
    soft, hard = resource.prlimit(rt.zygote.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(rt.zygote.pid, resource.RLIMIT_NOFILE, (4, hard))
    rt.send("fork", 2, True)  # one may have its descriptors already
    answers = [rt.receive() for _ in range(2)]
    if answers[0][0] == "forked":
        rt.children.append(Child(answers[0][1], rt.channel.take_fd()))
    assert answers[-1][0] == "fork_failed"
    assert "Too many open files" in answers[-1][1]
    assert answers[-1][2] is True
    resource.prlimit(rt.zygote.pid, resource.RLIMIT_NOFILE, (soft, hard))
    assert rt.fork_one().ask("reply(1)") == 1


class Template:
    """A child of the zygote that forks, and what it has forked."""

    def __init__(self, rt: FakeRuntime) -> None:
        self.rt = rt
        self.child = rt.fork_one()
        self.pid = self.child.pid
        rt.send("template", self.pid)
        self.child.run("status = become_template()")
        self.child.sock.settimeout(None)
        self.channel = FdChannel(self.child.sock, Codec())
        assert self.receive() == ["ready", {"pid": self.pid}]

    def receive(self) -> list[Any]:
        return self.channel.recv(time.monotonic() + PATIENCE_S)

    def fork(self, n: int = 1) -> list[Child]:
        self.channel.send(["fork", n, 0])
        made = []
        for _ in range(n):
            kind, pid, _ = self.receive()
            assert kind == "forked"
            made.append(Child(pid, self.channel.take_fd()))
        self.rt.children += made
        return made

    def dies(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        assert self.rt.end(self.child) == signal.SIGKILL


@pytest.fixture
def template(rt: FakeRuntime) -> Template:
    return Template(rt)


class TestTemplates:
    """A child that forks itself: it reports as the zygote does, and its death costs nothing of what it has forked."""

    def test_report_what_they_have_forked(self, template: Template) -> None:
        one, other = template.fork(2)
        assert one.ask("reply(os.getppid())") == template.pid
        other.run("os._exit(3)")
        assert template.receive() == ["exited", other.pid, 3 << 8]
        assert is_zombie(other.pid)
        template.channel.send(["reap", other.pid])
        wait_until(lambda: not os.path.exists(f"/proc/{other.pid}"))

    def test_mark_what_they_have_forked_as_theirs(self, template: Template) -> None:
        (child,) = template.fork()
        mark = child.ask("reply(os.environ['DSPEX_FORK'])")
        assert forked_by(mark) == template.pid
        assert read_mark(child.pid) == mark

    def test_their_children_have_the_signals_that_they_had(self, rt: FakeRuntime) -> None:
        child = rt.fork_one()
        child.ask("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); reply(1)")
        child.run("status = become_template()")
        channel = FdChannel(child.sock, Codec())
        channel.recv(time.monotonic() + PATIENCE_S)
        channel.send(["fork", 1, 0])
        _, pid, _ = channel.recv(time.monotonic() + PATIENCE_S)
        forked = Child(pid, channel.take_fd())
        forked.ask("import signal; had = signal.getsignal; reply(1)")
        assert forked.ask("reply([int(had(s)) for s in (15, 1, 17)])") == [signal.SIG_IGN, signal.SIG_DFL, signal.SIG_DFL]
        assert forked.ask("reply(had(2) is signal.default_int_handler)")
        forked.sock.close()

    def test_end_all_they_have_forked_when_they_are_told_to_quit(self, template: Template) -> None:
        (child,) = template.fork()
        escaped = child.ask(SETSID_EXEC)
        template.channel.send(["quit"])
        assert template.rt.end(template.child) == 0
        assert wait_gone([child.pid, escaped]) == []

    def test_that_died_leave_theirs_to_the_zygote(self, template: Template) -> None:
        rt, (one, other) = template.rt, template.fork(2)
        template.dies()
        rt.send("adopt", template.pid, [one.pid, other.pid])
        assert one.ask("reply(os.getppid())") == rt.zygote.pid
        one.run("os._exit(7)")
        os.kill(other.pid, signal.SIGSEGV)
        assert [rt.end(one), rt.end(other)] == [7 << 8, signal.SIGSEGV]

    def test_what_died_with_them_or_before_it_was_adopted_is_reported_exactly(self, template: Template) -> None:
        rt, (one, other) = template.rt, template.fork(2)
        os.kill(other.pid, signal.SIGKILL)
        template.dies()
        os.kill(one.pid, signal.SIGTERM)
        told = {}
        while len(told) < 2:  # as strangers: each hides the next until it is acknowledged
            _, pid, status = rt.receive()
            told[pid] = status
            rt.send("reap", pid)
        assert told == {one.pid: signal.SIGTERM, other.pid: signal.SIGKILL}
        rt.send("adopt", template.pid, [one.pid, other.pid])
        wait_until(lambda: not any(os.path.exists(f"/proc/{child.pid}") for child in (one, other)))

    def test_a_stranger_that_is_reported_leaves_its_group_alone(self, template: Template) -> None:
        rt, owner = template.rt, template.rt.fork_one()
        source = """
import subprocess
double = "import os; os.setsid(); r = os.fork(); os._exit(0) if r else os.execlp('sleep', 'sleep', '1000')"
subprocess.run([__import__("sys").executable, "-c", double])
reply(1)
"""
        owner.ask(source)
        rt.fork(1)  # whatever was to be reported is
        wait_until(lambda: any(comm_of(pid) == "sleep" for pid in children_of(rt.zygote.pid) if os.path.exists(f"/proc/{pid}")))
        (daemon,) = [pid for pid in children_of(rt.zygote.pid) if comm_of(pid) == "sleep"]
        assert is_alive(daemon)

    @pytest.mark.parametrize("source", [SETSID_EXEC, SETSID_FORK, DAEMON], ids=["exec", "fork", "daemon"])
    def test_escaped_grandchildren_die_with_their_module_and_not_with_the_template(self, template: Template, source: str) -> None:
        rt, (child,) = template.rt, template.fork()
        escaped = child.ask(source)
        template.dies()
        other = rt.fork_one()
        other.run("status = 0")
        rt.end(other)  # has strays looked for
        rt.send("adopt", template.pid, [child.pid])
        time.sleep(2 * STRAYS_EVERY_S)
        assert is_alive(escaped)
        os.kill(child.pid, signal.SIGKILL)
        rt.end(child)
        assert wait_gone([escaped]) == []

    def test_leave_nothing_behind_when_the_runtime_dies(self, rt: FakeRuntime) -> None:
        template = Template(rt)
        (child,) = template.fork()
        escaped = child.ask(SETSID_EXEC)
        rt.kill_zygote()
        os.close(rt.lifeline_write_fd)
        assert wait_gone([template.pid, child.pid, escaped]) == []
        rt.lifeline_write_fd = os.dup(rt.lifeline_fd)
