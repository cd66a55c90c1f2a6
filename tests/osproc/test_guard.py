"""The guard: one per runtime, in a session of its own, gone with the runtime. What it kills is in test_death."""

from __future__ import annotations

import os

import pytest

from dspex_runtime.osproc.descendants import children_of
from helpers.fake_runtime import FakeRuntime
from helpers.waiting import wait_gone, wait_until

pytestmark = pytest.mark.process


def guards_of(pid: int) -> list[int]:
    """Return the guards among the children of a process."""
    found = []
    for child in children_of(pid):
        try:
            with open(f"/proc/{child}/comm") as file:
                if file.read() == "dspex-guard\n":
                    found.append(child)
        except OSError:
            continue
    return found


def test_a_zygote_has_one_guard_which_holds_only_lifeline_and_lock() -> None:
    with FakeRuntime() as rt:
        rt.spawn()
        (guard,) = guards_of(rt.zygote.pid)
        assert os.getsid(guard) == guard
        targets = [os.readlink(f"/proc/{guard}/fd/{fd}") for fd in os.listdir(f"/proc/{guard}/fd") if int(fd) > 2]
        assert sorted(target.split(":")[0] for target in targets) == ["/memfd", "pipe"]
        rt.close()
        assert wait_gone([guard]) == []


def test_a_replaced_zygotes_guard_leaves_while_the_first_lives() -> None:
    with FakeRuntime() as rt:
        rt.spawn()
        (first,) = guards_of(rt.zygote.pid)
        rt.kill_zygote()
        assert rt.spawn()[0] == "ready"
        wait_until(lambda: guards_of(rt.zygote.pid) == [])
        assert wait_gone([first], timeout_s=0) == [first]
        rt.close()
        assert wait_gone([first]) == []


def test_a_zygote_whose_guard_was_killed_serves_on_and_ends_in_order() -> None:
    with FakeRuntime() as rt:
        rt.spawn()
        (guard,) = guards_of(rt.zygote.pid)
        os.kill(guard, 9)  # its zombie is reaped as a stray; the zygote serves on and ends in order
        assert wait_gone([guard]) == []
        assert rt.fork_one().ask("reply(1)") == 1
        assert rt.close() == 0
