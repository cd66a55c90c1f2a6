"""kill -9 of the runtime, the zygote, or both: nothing stays, no exit status is lost. The killed runtime is a real process."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from helpers.stand_in import StandIn
from helpers.waiting import is_alive, is_zombie, wait_gone, wait_until

pytestmark = pytest.mark.process

GONE_WITHIN_S = 5.0

# Each makes one module and what it started, and says their pids.
MODULES = {
    "idle": "c = rt.fork_one(); say([c.pid])",
    "stuck in C with the GIL held": """
c = rt.fork_one()
c.ask("reply(1); import re; re.match(r'(a+)+$', 'a' * 40 + 'b')")
say([c.pid])
""",
    "ignores SIGTERM": """
c = rt.fork_one()
c.ask("import signal; [signal.signal(s, signal.SIG_IGN) for s in (1, 2, 15, signal.SIGIO)]; reply(1)")
say([c.pid])
""",
    # A stopped process whose group is orphaned by its parent's death gets SIGHUP from the kernel; a module has a handler for it.
    "stopped": """
c = rt.fork_one()
c.ask("import signal; signal.signal(signal.SIGHUP, lambda *_: None); reply(1)")
os.kill(c.pid, signal.SIGSTOP)
say([c.pid])
""",
    "forked grandchildren": """
c = rt.fork_one()
say([c.pid, c.ask('''
import signal
pid = os.fork()
if pid == 0:
    os.close(control_fd)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True: signal.pause()
reply(pid)
''')])
""",
    "exec'ed grandchildren": """
c = rt.fork_one()
say([c.pid, c.ask("import subprocess; reply(subprocess.Popen(['sleep', '1000']).pid)")])
""",
    "setsid'ed exec'ed grandchildren": """
c = rt.fork_one()
say([c.pid, c.ask("import subprocess; reply(subprocess.Popen(['sleep', '1000'], start_new_session=True).pid)")])
""",
    "setsid'ed forked grandchildren": """
c = rt.fork_one()
say([c.pid, c.ask('''
import signal
r, w = os.pipe()
pid = os.fork()
if pid == 0:
    os.setsid()
    os.close(control_fd)
    os.write(w, b"x")
    while True: signal.pause()
os.read(r, 1)
reply(pid)
''')])
""",
}


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with StandIn() as process:
        yield process


def start_all(stand_in: StandIn) -> dict[str, list[int]]:
    return {name: stand_in.ask(source) for name, source in MODULES.items()}


def still_there(pids: dict[str, list[int]]) -> dict[str, list[int]]:
    left = set(wait_gone([pid for group in pids.values() for pid in group], timeout_s=GONE_WITHIN_S))
    return {name: [pid for pid in group if pid in left] for name, group in pids.items() if left & set(group)}


@pytest.mark.parametrize("zygote", ["alive", "dead", "replaced"])
def test_killing_the_runtime_ends_every_process_below_it(stand_in: StandIn, zygote: str) -> None:
    pids = start_all(stand_in)
    if zygote != "dead":
        pids["zygote"] = [stand_in.ask("say(rt.zygote.pid)")]
    if zygote != "alive":
        stand_in.ask("rt.kill_zygote(); say(1)")
    if zygote == "replaced":
        assert stand_in.ask("say(rt.spawn()[0])") == "ready"
        pids["zygote"] = [stand_in.ask("say(rt.zygote.pid)")]
    assert all(is_alive(pid) for group in pids.values() for pid in group), "the death of a zygote must touch no module"
    stand_in.kill()
    assert still_there(pids) == {}


def test_killing_runtime_and_zygote_together_ends_every_process(stand_in: StandIn) -> None:
    pids = start_all(stand_in)
    zygote = stand_in.ask("say(rt.zygote.pid)")
    for pid in (zygote, stand_in.pid):
        os.kill(pid, signal.SIGKILL)
    assert still_there({**pids, "zygote": [zygote]}) == {}


def test_a_runtime_killed_while_its_zygote_imports_takes_it_along(stand_in: StandIn, tmp_path: Any) -> None:
    (tmp_path / "slow_import.py").write_text("import signal\nwhile True: signal.pause()\n")
    zygote = stand_in.ask(
        "from dspex_runtime.osproc.zygote_client import Zygote\n"
        f"z = Zygote.spawn(['slow_import'], {{}}, rt.lifeline_fd, rt.board.fd, 'x:y', 2, path=[{str(tmp_path)!r}])\n"
        "say(z.pid)"
    )
    stand_in.kill()
    assert wait_gone([zygote], timeout_s=GONE_WITHIN_S) == []


def test_exit_statuses_reach_the_runtime_when_the_zygote_dies_first(stand_in: StandIn) -> None:
    stand_in.run("from dspex_runtime.osproc.subreaper import reap_exited")
    statuses: dict[int, int] = {}

    def reap(n: int) -> None:
        while len(statuses) < n:
            stand_in.ask("os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT); say(1)")
            for pid, status in stand_in.ask(f"say(reap_exited({pids}))"):
                assert pid not in statuses
                statuses[pid] = os.waitstatus_to_exitcode(status)

    # Two dead ones that were reported and never acknowledged; the others outlive the zygote.
    pids = stand_in.ask("cs = rt.fork(6); say([c.pid for c in cs])")
    stand_in.ask("cs[0].run('os._exit(7)'); os.kill(cs[1].pid, signal.SIGKILL); say(rt.exited(*cs[:2]))")
    assert all(is_zombie(pid) for pid in pids[:2])
    stand_in.ask("rt.kill_zygote(); say(1)")
    reap(2)
    assert statuses == {pids[0]: 7, pids[1]: -signal.SIGKILL}
    assert stand_in.ask("say([c.ask('reply(os.getppid())') for c in cs[2:]])") == [stand_in.pid] * 4
    stand_in.run(
        "cs[2].run('os._exit(3)'); cs[3].run('os.abort()'); cs[4].run('os.kill(os.getpid(), 11)'); cs[5].run('status = 0')"
    )
    reap(6)
    assert [statuses[pid] for pid in pids[2:]] == [3, -signal.SIGABRT, -signal.SIGSEGV, 0]
    assert stand_in.ask(f"say(reap_exited({pids}))") == []


def test_an_exit_seen_by_nobody_before_the_zygote_died_is_not_lost(stand_in: StandIn) -> None:
    pid = stand_in.ask("c = rt.fork_one(); say(c.pid)")
    zygote = stand_in.ask("os.kill(rt.zygote.pid, signal.SIGSTOP); os.kill(c.pid, signal.SIGKILL); say(rt.zygote.pid)")
    wait_until(lambda: is_zombie(pid))
    stand_in.ask("rt.kill_zygote(); say(1)")
    assert not is_alive(zygote)
    stand_in.run("from dspex_runtime.osproc.subreaper import reap_exited")
    stand_in.run(f"os.waitid(os.P_PID, {pid}, os.WEXITED | os.WNOWAIT)")
    assert stand_in.ask(f"say(reap_exited([{pid}]))") == [[pid, signal.SIGKILL]]


def test_modules_of_a_dead_zygote_and_of_its_successor_are_told_apart(stand_in: StandIn) -> None:
    old = stand_in.ask("old = rt.fork_one(); say(old.pid)")
    stand_in.ask("rt.kill_zygote(); say(rt.spawn()[0])")
    assert stand_in.ask("say(rt.fork_one().ask('reply(os.getppid())') == rt.zygote.pid)") is True
    assert stand_in.ask("say(old.ask('reply(os.getpid())'))") == old
    # The successor's death takes neither.
    stand_in.ask("rt.kill_zygote(); say(1)")
    assert stand_in.ask("say([c.ask('reply(1)') for c in rt.children])") == [1, 1]


def test_nobody_but_the_runtime_holds_the_lifelines_write_end(stand_in: StandIn) -> None:
    source = (
        "c = rt.fork_one(); g = c.ask(\"import subprocess; reply(subprocess.Popen(['sleep', '1000'], close_fds=False).pid)\"); "
    )
    child, grandchild, zygote, pipe = stand_in.ask(
        source + "say([c.pid, g, rt.zygote.pid, os.readlink('/proc/self/fd/%d' % rt.lifeline_fd)])"
    )
    holders = {pid: modes for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if (modes := ends_of(pid, pipe))}
    writers = [pid for pid, modes in holders.items() if os.O_WRONLY in modes or os.O_RDWR in modes]
    assert writers == [stand_in.pid]
    assert {stand_in.pid, zygote, child} <= set(holders)
    assert grandchild not in holders


def ends_of(pid: int, target: str) -> list[int]:
    """Return the access modes of a process's descriptors on `target`."""
    modes = []
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            if os.readlink(f"/proc/{pid}/fd/{fd}") == target:
                with open(f"/proc/{pid}/fdinfo/{fd}") as file:
                    flags = next(int(line.split()[1], 8) for line in file if line.startswith("flags:"))
                modes.append(flags & os.O_ACCMODE)
    except OSError:
        pass
    return modes
