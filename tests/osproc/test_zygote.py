"""The zygote over its socket: forks, exact exit statuses, acknowledgements, strays, its own end."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator

import pytest

from dspex_runtime.osproc.descendants import children_of
from helpers.fake_runtime import Child, FakeRuntime
from helpers.waiting import is_alive, is_zombie, wait_gone, wait_until

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
