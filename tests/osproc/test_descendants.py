"""The tree below a process, and its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from dspex_runtime.osproc.descendants import children_of, descendants_of, kill

pytestmark = pytest.mark.process

# A shell whose child has a child, and which waits.
TREE = "sh -c 'sleep 1000 & echo $!; wait' & echo $!; wait"


def test_descendants_are_all_levels_children_one() -> None:
    with subprocess.Popen(["sh", "-c", TREE], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        pids = sorted(int(process.stdout.readline()) for _ in range(2))
        assert process.pid in children_of(os.getpid())
        assert sorted(descendants_of(process.pid)) == pids
        assert len(children_of(process.pid)) == 1
        for pid in (process.pid, *pids):
            assert kill(pid)


def test_a_process_that_is_gone_has_no_descendants_and_takes_no_signal() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    assert descendants_of(process.pid) == []
    assert not kill(process.pid)


def test_end_all_ends_what_escaped_and_keeps_what_is_kept() -> None:
    source = """
import json, os, signal, subprocess
from dspex_runtime.osproc.descendants import descendants_of, end_all
from dspex_runtime.osproc.signals import Wakeup
from dspex_runtime.osproc.subreaper import set_subreaper
set_subreaper()
wakeup = Wakeup([signal.SIGCHLD])
kept = subprocess.Popen(["sleep", "1000"])
# Two levels that left their session; the first ignores everything it can.
subprocess.run(["sh", "-c", "trap '' TERM HUP INT; setsid sh -c 'setsid sleep 1000 & setsid sleep 1001 & wait' & "])
done = end_all(run="none", wakeup_fd=wakeup.fileno(), timeout_s=20, keep=(kept.pid,))
print(json.dumps([done, descendants_of(os.getpid()) == [kept.pid], kept.poll()]))
kept.kill(); kept.wait()
"""
    out = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, timeout=60).stdout
    assert json.loads(out) == [True, True, None]
